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

_BASE64 = re.compile(r"[A-Za-z0-9+/]*=*")
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


def _whole(integer: Check) -> Check:
    def check(value: Any) -> str:
        # In a frame's column of lists, numpy makes some number of it.
        return "is missing" if value is None or value != value else integer(value)

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
    {dtype: _whole(_integer(*limits)) for dtype, limits in INTEGER_LIMITS.items()}
    | {dtype: _float(limit) for dtype, limit in FLOAT_LIMITS.items()}
    | {"bool": _boolean, "datetime64[ns]": _datetime64}
)


_WHOLE = frozenset(("long", "integer", "datetime", *INTEGER_LIMITS))
"""Types that are exact, so that no cell of theirs may pass through a float."""


def lossy_column(key: str, value: Any, columns: Sequence[Column]) -> LossyError | None:
    """What to say of a value in the tabular form `value` that a cast would change; None without one."""
    in_frame = key.startswith("dataframe_")
    checks = _FRAME if in_frame else _ARRAY
    names = [c.name for c in columns]
    for place, (label, cells) in enumerate(_columns(key, value)):
        # A list is a cell like any other, except in the one array of unnamed columns.
        flat = _cells(cells)
        if names[0] is not None:
            kind = _kind_of(label, names, [c.type for c in columns])
        elif in_frame or label is not None:
            kind = columns[place].type if place < len(columns) else ""
        else:
            # They are of one type, or MLflow refuses them; it drops those beyond.
            kind = columns[0].type
            flat = _flat([row[: len(names)] if isinstance(row, list) else row for _, row in flat])
        found = _lossy(label, list(flat), checks.get(kind), exact=in_frame and kind in _WHOLE)
        if found is not None:
            return found
    return None


def lossy_tensor(key: str, value: Any, tensors: Sequence[Tensor]) -> LossyError | None:
    """What to say of a number in the form `value` that its tensor's dtype would change; None without one."""
    names, kinds = [t.name for t in tensors], [t.dtype for t in tensors]
    for label, cells in _columns(key, value):
        # An unnamed tensor covers every column.
        kind = kinds[0] if names[0] is None else _kind_of(label, names, kinds)
        in_frame = key.startswith("dataframe_")
        # The first cell says whether a frame's column is one of lists.
        is_flat = in_frame and isinstance(cells, list) and not isinstance(next(iter(cells), []), list)
        flat = list(_cells(cells) if is_flat else _flat(cells))
        found = _lossy(label, flat, _TENSOR.get(kind), exact=in_frame and kind in _WHOLE)
        if found is not None:
            return found
    return None


def lossy_tensor_value(dtype: str, values: Any) -> str:
    """Why a number in the nested lists `values` would change as `dtype`; empty when none would."""
    check = _TENSOR.get(dtype)
    if check is None:
        return ""
    return next((reason for _, v in _flat(values) if (reason := check(v))), "")


def _kind_of(label: Any, names: list[str | None], kinds: list[str]) -> str:
    if label is None:
        # A bare list belongs to the first, that is the only, column.
        return kinds[0]
    return kinds[names.index(label)] if label in names else ""


def _lossy(
    label: Any, cells: list[tuple[int, Any]], check: Check | None, *, exact: bool
) -> LossyError | None:
    if check is None:
        return None
    what = f"column {label!r}" if label is not None else "the input"
    for row, cell in cells:
        reason = check(cell)
        if reason:
            return LossyError(f"{what}: the value in row {row} {reason}")
    if exact and _loses_digits([cell for _, cell in cells]):
        return LossyError(f"{what}: integers of more than 53 bits beside fractions or nulls are rounded")
    return None


def _loses_digits(cells: list[Any]) -> bool:
    """Whether pandas makes floats of integers that need all their digits."""
    types = set(map(type, cells))
    if not types <= {int, float, type(None)} or len(types) == 1:
        return False
    # Without trailing zeros, a float has room for 53 bits.
    return any(type(cell) is int and (cell // ((cell & -cell) or 1)).bit_length() > 53 for cell in cells)


def _columns(key: str, value: Any) -> Iterator[tuple[str | int | None, Any]]:
    """Label and cells of every column of a form, as far as it has the expected shape."""
    if key == "dataframe_split":
        if not isinstance(value, dict) or not isinstance(value.get("data"), list):
            return
        rows = [row if isinstance(row, list) else [row] for row in value["data"]]
        names = value.get("columns")
        width = max(map(len, rows), default=0)
        labels = names if isinstance(names, list) else [None] * width
        for place, label in enumerate(labels[:width]):
            # pandas fills short rows.
            yield label, [row[place] if place < len(row) else None for row in rows]
    elif key == "dataframe_records" and isinstance(value, list) and all(isinstance(r, list) for r in value):
        # pandas numbers the columns.
        for number in range(max(map(len, value), default=0)):
            yield number, [row[number] if number < len(row) else None for row in value]
    elif isinstance(value, list) and all(isinstance(row, dict) for row in value):
        for label in dict.fromkeys(name for row in value for name in row):
            # There is a null where a row lacks the label, but a column of `instances` is shorter.
            yield label, [row.get(label) for row in value if key != "instances" or label in row]
    elif isinstance(value, dict):
        yield from value.items()
    else:
        yield None, value


def _cells(value: Any) -> Iterator[tuple[int, Any]]:
    """The cells of one column, in which a list is a cell like any other."""
    return enumerate(value) if isinstance(value, list) else iter(((0, value),))


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
