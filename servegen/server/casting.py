"""Cells of one column to the type of the signature, without pandas, numpy or MLflow.

The rules are those of MLflow's scoring server, except that a cast which would change a value is an error.
Strictness looks at the values as sent, so integers never pass through a float on the way.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from servegen.server.body import Overflow

Cells = Sequence[Any]
Cast = Callable[[Cells], Cells]

NAN = float("nan")
INFINITY = float("inf")
FLOAT_LIMITS = {"float16": 65520.0, "float32": 3.4028235677973366e38, "float64": INFINITY}
"""The smallest number that rounds to infinity."""
INTEGER_LIMITS = {
    f"{sign}int{bits}": (0, 2**bits - 1) if sign else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    for sign in ("", "u")
    for bits in (8, 16, 32, 64)
}


_WORD = (-(2**63), 2**64 - 1)
"""Integers that pandas keeps as machine words."""


class CellError(Exception):
    """A cell cannot become the column's type; says which row and why, never the value."""

    def __init__(self, row: int, reason: str, *, lossy: bool = False) -> None:
        super().__init__(reason)
        self.row = row
        self.reason = reason
        self.lossy = lossy
        """MLflow would change the value instead."""


class UnusualCellError(Exception):
    """A list or object where a scalar belongs: MLflow's own parser decides about it."""


def to_integers(dtype: str, *, wraps: bool = False) -> Cast:
    """A cast to integers in the range of `dtype`; `wraps` says that pandas would wrap those beyond it."""
    low, high = INTEGER_LIMITS[dtype]

    def one(row: int, value: Any) -> int:
        kind = type(value)
        if kind is float:
            if not value.is_integer():
                raise CellError(row, "has a fraction or is not finite", lossy=math.isfinite(value))
            value = int(value)
        elif kind is str:
            try:
                value = int(value)
            except ValueError:
                raise CellError(row, "is text that is no whole number") from None
        elif kind is bool:
            value = int(value)
        elif kind is not int:
            _refuse(row, value)
        if not low <= value <= high:
            lossy = wraps and (kind is float or (kind is int and _WORD[0] <= value <= _WORD[1]))
            raise CellError(row, f"is out of range for {dtype}", lossy=lossy)
        return int(value)

    def cast(cells: Cells) -> Cells:
        if set(map(type, cells)) == {int} and low <= min(cells) and max(cells) <= high:
            return cells
        return [one(row, value) for row, value in enumerate(cells)]

    return cast


def to_floats(dtype: str) -> Cast:
    """A cast to floats that stay finite when rounded to `dtype`."""
    limit = FLOAT_LIMITS[dtype]

    def one(row: int, value: Any) -> float:
        kind = type(value)
        if kind is str:
            try:
                number = float(value)
            except ValueError:
                raise CellError(row, "is text that is no number") from None
            if number in (INFINITY, -INFINITY) and "inf" not in value.lower():
                raise CellError(row, f"is too large for {dtype}", lossy=True)
        elif value is None:
            return NAN
        elif kind is int or kind is bool or kind is float:
            try:
                number = float(value)
            except OverflowError:
                raise CellError(row, f"is too large for {dtype}") from None
            if kind is float and number in (INFINITY, -INFINITY):
                return number
        elif kind is Overflow:
            raise CellError(row, f"is too large for {dtype}", lossy=True)
        else:
            _refuse(row, value)
        if limit <= abs(number) < INFINITY:
            raise CellError(row, f"is too large for {dtype}", lossy=True)
        return number

    def cast(cells: Cells) -> Cells:
        # NaN makes every comparison false, so a column with one takes the slow way.
        if set(map(type, cells)) == {float} and -limit < min(cells) and max(cells) < limit:
            return cells
        return [one(row, value) for row, value in enumerate(cells)]

    return cast


def to_booleans(cells: Cells) -> Cells:
    """A cast that takes true, false and the numbers 0 and 1."""
    if set(map(type, cells)) == {bool}:
        return cells
    for row, value in enumerate(cells):
        if type(value) not in (bool, int, float) or value not in (0, 1):
            raise CellError(row, "is not true, false, 0 or 1", lossy=True)
    return [bool(value) for value in cells]


def to_text_or_unchanged(cells: Cells) -> Cells:
    """What a string column is in the two frame forms: other values stay what they are."""
    if set(map(type, cells)) <= {str}:
        return cells
    return [float(value) if type(value) is Overflow else value for value in cells]


def to_text(cells: Cells) -> Cells:
    """What a string column is in `inputs` and `instances`: numpy turns everything into text, null too."""
    if set(map(type, cells)) <= {str}:
        return cells
    for value in cells:
        if isinstance(value, (list, dict)):
            raise UnusualCellError
    return [value if type(value) is str else str(value) for value in cells]


def _refuse(row: int, value: Any) -> NoReturn:
    if isinstance(value, (list, dict)):
        raise UnusualCellError
    raise CellError(row, "is missing" if value is None else "has the wrong type")


DTYPES = {
    "long": "int64",
    "integer": "int32",
    "double": "float64",
    "float": "float32",
    "boolean": "bool",
    "string": "text",
}
FRAME_CASTS: dict[str, Cast] = {
    "long": to_integers("int64", wraps=True),
    "integer": to_integers("int32", wraps=True),
    "double": to_floats("float64"),
    "float": to_floats("float32"),
    "boolean": to_booleans,
    "string": to_text_or_unchanged,
}
"""By signature type, for `dataframe_split` and `dataframe_records`."""
ARRAY_CASTS: dict[str, Cast] = FRAME_CASTS | {
    "long": to_integers("int64"),
    "integer": to_integers("int32"),
    "string": to_text,
}
"""By signature type, for `inputs` and `instances`."""
