"""One HTML page with everything it needs inside: no other host and no other route is asked for anything."""

from __future__ import annotations

import base64
import hashlib
import html
import json
from pathlib import Path
from typing import Any

_HERE = Path(__file__).parent


def page(openapi: dict[str, Any]) -> bytes:
    """The page that shows the document `openapi` and sends requests to the server it came from."""
    style, script = _asset("docs.css"), _asset("docs.js")
    # `</script>` in a text of the model must not end the block.
    document = json.dumps(openapi).replace("<", "\\u003c")
    parts = {
        "title": html.escape(openapi["info"]["title"]),
        "policy": (
            f"default-src 'none'; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; "
            f"style-src {_source(style)}; script-src {_source(script)}"
        ),
        "style": style,
        "script": script,
        "document": document,
    }
    text = _asset("docs.html")
    pieces = text.split("@@")
    # Every second piece is a name; replacing one by one would look into what was put in before.
    return "".join(parts[piece] if i % 2 else piece for i, piece in enumerate(pieces)).encode()


def _asset(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8")


def _source(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
