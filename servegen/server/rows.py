"""Rows whose cells have the very types of the signature, in its order: nearly all that clients send.

Nothing has to be cast in them, so they are checked in one pass and taken as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from servegen.server.casting import DTYPES, FLOAT_LIMITS, INTEGER_LIMITS
from servegen.server.inputs import Columns
from servegen.server.signature import Column

_TYPES: dict[str, type] = {
    "long": int,
    "integer": int,
    "double": float,
    "float": float,
    "boolean": bool,
    "string": str,
}
_FLOAT32 = FLOAT_LIMITS["float32"]
_RANGES = {
    "long": INTEGER_LIMITS["int64"],
    "integer": INTEGER_LIMITS["int32"],
    # Infinities, and what rounds to them, are looked at one by one.
    "float": (-_FLOAT32 * (1 - 2**-30), _FLOAT32 * (1 - 2**-30)),
}


class RowReader:
    """Takes rows of one plain signature."""

    def __init__(self, columns: Sequence[Column]) -> None:
        self._types = [_TYPES[column.type] for column in columns]
        self._ranges = [
            (place, *_RANGES[column.type]) for place, column in enumerate(columns) if column.type in _RANGES
        ]
        self._names = tuple(column.name or "" for column in columns)
        self._dtypes = tuple(DTYPES[column.type] for column in columns)

    def read(self, rows: Sequence[Any]) -> Columns | None:
        """The columns of `rows`, a list each; None when a cell has to be looked at more closely."""
        types = self._types
        for row in rows:
            if list(map(type, row)) != types:
                return None
        cells = tuple(zip(*rows, strict=True))
        for place, low, high in self._ranges:
            if not (low <= min(cells[place]) and max(cells[place]) <= high):
                return None
        return Columns(self._names, self._dtypes, cells, len(rows))
