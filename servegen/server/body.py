"""JSON text of a request to Python values, as `json.loads(bytes)` reads it."""

from __future__ import annotations

import json
import re
from typing import Any

import orjson

from servegen.server.errors import bad_request

# orjson turns integers beyond 64 bits into floats; only text with that many digits can hold one.
# The first digit apart lets the search skip to it, which halves its time.
_HUGE = re.compile(rb"[0-9][0-9]{18}")


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
    except (ValueError, RecursionError):
        pass
    msg = "The request body is not valid JSON text in UTF-8."
    raise bad_request(msg)


def plain(value: Any) -> Any:
    """`value` with every Overflow turned into the infinity that MLflow would see."""
    if type(value) is Overflow:
        return float(value)
    if type(value) is list:
        return [plain(item) for item in value]
    if type(value) is dict:
        return {key: plain(item) for key, item in value.items()}
    return value
