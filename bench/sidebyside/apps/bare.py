"""What an ASGI server costs when it reads a body, parses it and writes it again: the limit of Python.

uvicorn bare:app
"""

from __future__ import annotations

from typing import Any

import orjson

_HEADERS = [(b"content-type", b"application/json")]


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Answer with the body, parsed and encoded."""
    body = b""
    if scope["method"] == "POST":
        more = True
        while more:
            message = await receive()
            body += message["body"]
            more = message.get("more_body", False)
        body = orjson.dumps(orjson.loads(body))
    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": 200, "headers": [*_HEADERS, length]})
    await send({"type": "http.response.body", "body": body})
