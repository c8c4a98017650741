"""The `lossy-cast` rule for requests that MLflow's own parser reads: which values it would change silently.

Values that MLflow refuses anyway pass here; its answer follows.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from servegen.server.body import Overflow
from servegen.server.casting import FLOAT_LIMITS, INFINITY, INTEGER_LIMITS
from servegen.server.errors import LossyError
from servegen.server.signature import Column, Tensor

_BASE64 = re.compile(r"[A-Za-z0-9+/]*={0,2}")
_BLANKS = re.compile(r"[ \t\r\n\f\v]")
_BELOW_NANOSECONDS = re.compile(r"\.\d{9}\d*[1-9]")
# What datetime64[ns] holds, in whole seconds.
_SECONDS = 2**63 // 10**9

Check = Callable[[Any], str]
"""Why the value would change in the cast; empty when it would not."""


def _integer(low: int, high: int) -> Check:
    def check(value: Any) -> str:
        if isinstance(value, str):
            try:
                value = int(value)
            except ValueError:
                return ""
        if isinstance(value, float):
            if math.isnan(value):
                return ""
            if not value.is_integer():
                return "has a fraction or is not finite"
        if isinstance(value, (int, float)) and not low <= value <= high:
            return "is out of range"
        return ""

    return check


def _float(limit: float) -> Check:
    def check(value: Any) -> str:
        if type(value) is Overflow:
            return "is too large"
        if isinstance(value, str):
            if "inf" in value.lower():
                return ""
            try:
                value = float(value)
            except ValueError:
                return ""
            return "is too large" if abs(value) >= limit else ""
        if isinstance(value, int):
            try:
                value = float(value)
            except OverflowError:
                return "is too large"
        return "is too large" if isinstance(value, float) and limit <= abs(value) < INFINITY else ""

    return check


def _boolean(value: Any) -> str:
    is_number = type(value) in (bool, int, float)
    return "" if is_number and value in (0, 1) else "is not true, false, 0 or 1"


def _base64(value: Any) -> str:
    if not isinstance(value, str):
        return ""
    digits = _BLANKS.sub("", value)
    if _BASE64.fullmatch(digits):
        return ""
    return "has characters outside of base64"


def _datetime(value: Any) -> str:
    if isinstance(value, str):
        return "is finer than nanoseconds" if _BELOW_NANOSECONDS.search(value) else ""
    if isinstance(value, float) and math.isfinite(value) and not value.is_integer():
        return "is finer than nanoseconds"
    return ""


def _datetime64(value: Any) -> str:
    """As `_datetime`, and the range: numpy wraps around where pandas refuses."""
    import numpy as np

    if isinstance(value, str):
        try:
            seconds = int(np.datetime64(value, "s").astype("int64"))
        except ValueError:
            return ""
        # NaT is the smallest integer.
        if seconds != -(2**63) and not -_SECONDS <= seconds <= _SECONDS:
            return "is outside of 1677 to 2262"
    return _datetime(value)


_FRAME: dict[str, Check] = {
    "long": _integer(*INTEGER_LIMITS["int64"]),
    "integer": _integer(*INTEGER_LIMITS["int32"]),
    "double": _float(FLOAT_LIMITS["float64"]),
    "float": _float(FLOAT_LIMITS["float32"]),
    "boolean": _boolean,
    "binary": _base64,
    "datetime": _datetime,
}
_ARRAY: dict[str, Check] = {t: c for t, c in _FRAME.items() if t != "binary"} | {"datetime": _datetime64}
_TENSOR: dict[str, Check] = (
    {dtype: _integer(*limits) for dtype, limits in INTEGER_LIMITS.items()}
    | {dtype: _float(limit) for dtype, limit in FLOAT_LIMITS.items()}
    | {"bool": _boolean, "datetime64[ns]": _datetime64}
)


def lossy_column(key: str, value: Any, columns: Sequence[Column]) -> LossyError | None:
    """What to say of a value in the tabular form `value` that a cast would change; None without one."""
    checks = _FRAME if key.startswith("dataframe_") else _ARRAY
    return _first(key, value, [c.name for c in columns], [checks.get(c.type) for c in columns])


def lossy_tensor(key: str, value: Any, tensors: Sequence[Tensor]) -> LossyError | None:
    """What to say of a number in the form `value` that its tensor's dtype would change; None without one."""
    return _first(key, value, [t.name for t in tensors], [_TENSOR.get(t.dtype) for t in tensors])


def lossy_tensor_value(dtype: str, values: Any) -> str:
    """Why a number in the nested lists `values` would change as `dtype`; empty when none would."""
    check = _TENSOR.get(dtype)
    if check is None:
        return ""
    return next((reason for _, v in _flat(values) if (reason := check(v))), "")


def _first(key: str, value: Any, names: list[str | None], checks: list[Check | None]) -> LossyError | None:
    for position, (label, cells) in enumerate(_columns(key, value)):
        if names[0] is None:
            # By position; an unnamed tensor covers every column.
            place = position if len(names) > 1 or key == "dataframe_split" else 0
            check = checks[min(place, len(checks) - 1)] if place < len(checks) or len(checks) == 1 else None
        else:
            # A bare list belongs to the first, that is the only, column.
            check = checks[0] if label is None else checks[names.index(label)] if label in names else None
        if check is None:
            continue
        for row, cell in _flat(cells):
            reason = check(cell)
            if reason:
                what = f"column {label!r}" if label is not None else "the input"
                return LossyError(f"{what}: the value in row {row} {reason}")
    return None


def _columns(key: str, value: Any) -> Iterator[tuple[str | None, Any]]:
    """Label and cells of every column of a form, as far as it has the expected shape."""
    if key == "dataframe_split":
        if not isinstance(value, dict) or not isinstance(value.get("data"), list):
            return
        rows = [row if isinstance(row, list) else [row] for row in value["data"]]
        names = value.get("columns")
        width = max(map(len, rows), default=0)
        labels = names if isinstance(names, list) else [None] * width
        for place, label in enumerate(labels[:width]):
            yield label, [row[place] for row in rows if place < len(row)]
    elif isinstance(value, list) and any(isinstance(row, dict) for row in value):
        objects = [row for row in value if isinstance(row, dict)]
        for label in dict.fromkeys(name for row in objects for name in row):
            yield label, [row.get(label) for row in objects]
    elif isinstance(value, dict):
        yield from value.items()
    else:
        yield None, value


def _flat(value: Any) -> Iterator[tuple[int, Any]]:
    """Every scalar in nested lists, with its place in the outermost one."""
    if not isinstance(value, list):
        yield 0, value
        return
    for row, item in enumerate(value):
        if isinstance(item, list):
            for _, cell in _flat(item):
                yield row, cell
        else:
            yield row, item
