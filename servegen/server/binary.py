"""Tensors as bytes: little-endian items without gaps, each item of BYTES behind its length in 4 bytes.

An item of BYTES is the text that the JSON form would hold, in UTF-8.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

from servegen.server import encoding
from servegen.server.datatypes import DTYPES
from servegen.server.errors import bad_request

_LENGTH = struct.Struct("<I")


def decoded(name: str, datatype: str, raw: bytes) -> Any:
    """The items in `raw` of the input `name`: texts, or an array of numbers that has one dimension."""
    if datatype == "BYTES":
        return texts(name, _split(name, raw))
    if datatype not in DTYPES:
        # Whoever reads it says that there is no such datatype.
        return []
    import numpy as np

    dtype = np.dtype(DTYPES[datatype]).newbyteorder("<")
    size = dtype.itemsize
    if len(raw) % size:
        msg = f"input {name!r} has {len(raw)} bytes of data, no multiple of {size}"
        raise bad_request(msg)
    if datatype == "BOOL" and raw.strip(b"\0\1"):
        msg = f"input {name!r} needs the bytes 0 and 1"
        raise bad_request(msg)
    return np.frombuffer(raw, dtype)


def encoded(data: Any, datatype: str) -> bytes:
    """The items `data` as bytes; a missing one is NaN, or empty text."""
    if datatype == "BYTES":
        contents = items(data, datatype)
        return b"".join(part for item in contents for part in (_LENGTH.pack(len(item)), item))
    import numpy as np

    return np.asarray(data, np.dtype(DTYPES[datatype]).newbyteorder("<")).tobytes()


def items(data: Any, datatype: str) -> Sequence[Any]:
    """The items `data` as Python's values, text as UTF-8; a missing one is NaN, or empty text."""
    if encoding.is_array(data):
        return list(data.tolist())
    if datatype == "BYTES":
        return [b"" if item is None else str(item).encode() for item in data]
    return [float("nan") if item is None else item for item in data]


def texts(name: str, contents: Sequence[bytes]) -> list[str]:
    """The items `contents` of the input `name` as text; raises RefusedError when one is not UTF-8."""
    try:
        return [item.decode() for item in contents]
    except UnicodeDecodeError:
        msg = f"input {name!r} needs text in UTF-8"
        raise bad_request(msg) from None


def _split(name: str, raw: bytes) -> list[bytes]:
    parts, place, end = [], 0, len(raw)
    while place < end:
        start = place + _LENGTH.size
        if start > end:
            break
        (length,) = _LENGTH.unpack_from(raw, place)
        place = start + length
        parts.append(raw[start:place])
    if place != end:
        msg = f"input {name!r} needs every item behind its length in 4 bytes"
        raise bad_request(msg)
    return parts
