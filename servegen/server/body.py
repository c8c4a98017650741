"""JSON text of a request to Python values, as `json.loads(bytes)` reads it."""

from __future__ import annotations

import json
import re
from typing import Any

import orjson

from servegen.server.errors import RefusedError, bad_request

# orjson turns integers beyond 64 bits into floats; only text with that many digits can hold one.
# The first digit apart lets the search skip to it, which halves its time.
_HUGE = re.compile(rb"[0-9][0-9]{18}")


# Half a pair without the other one, escaped or as bytes.
_HALF = re.compile(
    rb"\\u[dD][89abAB]..(?!\\u[dD][c-fC-F])|(?<!\\u[dD][89abAB]..)\\u[dD][c-fC-F]|\xed[\xa0-\xbf]", re.DOTALL
)


class Overflow(float):
    """A finite number of the text that is too large for a float; its value is an infinity."""

    __slots__ = ()


def _number(text: str) -> float:
    value = float(text)
    return Overflow(value) if value in (_INFINITY, -_INFINITY) else value


_INFINITY = float("inf")
_MARKING = json.JSONDecoder(parse_float=_number)


def loads(body: bytes) -> Any:
    """The values of `body`, overflowing literals as Overflow; raises RefusedError when it is not JSON."""
    if not _HUGE.search(body):
        try:
            return orjson.loads(body)
        except orjson.JSONDecodeError:
            # Not JSON, or one of the texts that only Python's parser takes: NaN, a byte order
            # mark, lone surrogates, overflowing literals. It decides.
            pass
    try:
        return _MARKING.decode(body.decode(json.detect_encoding(body), "surrogatepass"))
    except RecursionError:
        raise too_deep() from None
    except (json.JSONDecodeError, UnicodeDecodeError):
        msg = "The request body is not valid JSON text in UTF-8."
    except ValueError:
        # The only other one: Python reads 4300 digits at most.
        msg = "An integer in the request body has too many digits."
    raise bad_request(msg)


def too_deep() -> RefusedError:
    """What to say of JSON with more levels than Python's stack has room for."""
    msg = "The request body is nested too deep."
    return bad_request(msg)


def has_lone_surrogate(body: bytes) -> bool:
    """Whether a text in the JSON `body` may hold half of a surrogate pair; False is certain."""
    return (b"\\ud" in body or b"\\uD" in body or b"\xed" in body) and _HALF.search(body) is not None


def plain(value: Any) -> Any:
    """`value` with every Overflow turned into the infinity that MLflow would see."""
    made = [value]
    # No recursion: MLflow reads values that are nested as deep as Python's stack.
    pending: list[Any] = [made]
    while pending:
        container = pending.pop()
        for key, item in container.items() if type(container) is dict else enumerate(container):
            kind = type(item)
            if kind is list or kind is dict:
                container[key] = copied = item.copy()
                pending.append(copied)
            elif kind is Overflow:
                container[key] = float(item)
    return made[0]
