"""What a model returned, as the JSON bytes that MLflow writes; NaN and infinities become null."""

from __future__ import annotations

import base64
import datetime
import json
import math
from typing import Any

from servegen.server.errors import internal
from servegen.server.imported import imported


class _NullError(Exception):
    """The value holds something that only the thorough way writes as null."""


def dumps(value: Any) -> bytes:
    """`value` with the bytes of `json.dumps`; raises RefusedError when a part of it has no JSON form."""
    try:
        try:
            return _FAST.encode(_outer(value)).encode()
        except (ValueError, _NullError):
            # NaN, an infinity or pandas' NA somewhere.
            return _FAST.encode(_clean(_outer(value))).encode()
    except (TypeError, ValueError, RecursionError, OverflowError) as exc:
        msg = "the model's answer has no JSON form"
        raise internal(msg) from exc


def predictions(value: Any) -> bytes:
    """The body of an answer to one of the four data keys."""
    return b'{"predictions": ' + dumps(value) + b"}"


def text(value: Any) -> str:
    """JSON text of a value of one's own making, such as an error."""
    return _FAST.encode(value)


def _outer(value: Any) -> Any:
    """Arrays and frames, which MLflow takes apart only at the outermost level."""
    if isinstance(value, (list, dict, str, int, float)) or value is None:
        return value
    if is_array(value):
        return value.tolist()
    pandas = imported("pandas")  # a frame exists only where someone has imported pandas
    if pandas is not None:
        if isinstance(value, pandas.Series):
            value = pandas.DataFrame(value)
        if isinstance(value, pandas.DataFrame):
            return value.to_dict(orient="records")
    return value


def is_array(value: Any) -> bool:
    """Whether `value` is a numpy array."""
    numpy = imported("numpy")
    return numpy is not None and isinstance(value, numpy.ndarray)


def _inner(value: Any) -> Any:
    """What stands for `value`, which is no JSON type; raises TypeError when nothing does."""
    numpy = imported("numpy")
    if numpy is not None:
        if isinstance(value, numpy.ndarray):
            # MLflow iterates over objects, also over the one of a 0-d array.
            return list(value.tolist()) if value.dtype == object else value.tolist()
        if isinstance(value, numpy.generic):
            return value.item()
    if isinstance(value, (bytes, bytearray)):
        return base64.encodebytes(value).decode("ascii")
    if isinstance(value, (datetime.date, datetime.time)):
        return value.isoformat()
    pandas = imported("pandas")
    if pandas is not None:
        if value is pandas.NaT:
            return "NaT"
        if value is pandas.NA:
            raise _NullError
    pydantic = imported("pydantic")
    if pydantic is not None and isinstance(value, pydantic.BaseModel):
        return value.model_dump()
    msg = f"{type(value).__name__} has no JSON form"
    raise TypeError(msg)


def _clean(value: Any) -> Any:
    """A copy of `value` in which every NaN, infinity and NA is None."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, (str, int)) or value is None:
        return value
    if isinstance(value, (list, tuple)):
        return [_clean(item) for item in value]
    if isinstance(value, dict):
        return {_key(key): _clean(item) for key, item in value.items()}
    try:
        return _clean(_inner(value))
    except _NullError:
        return None


def _key(key: Any) -> Any:
    # json.dumps writes such a key as text, and would refuse it under allow_nan=False.
    if isinstance(key, float) and not math.isfinite(key):
        return json.dumps(float(key))
    return key


_FAST = json.JSONEncoder(allow_nan=False, check_circular=True, default=_inner)
