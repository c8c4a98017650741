"""The four data keys of `/invocations` to columns, for signatures of numbers, booleans and text.

What is written as usual is read here; an oddity is left as a Form to MLflow's own parser, which then decides.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from servegen.server import strict
from servegen.server.casting import ARRAY_CASTS, DTYPES, FRAME_CASTS, Cast, CellError, UnusualCellError
from servegen.server.errors import LossyError, bad_request, invalid_schema
from servegen.server.inputs import ABSENT, Columns, Form
from servegen.server.rows import RowReader
from servegen.server.signature import PLAIN, Column

KEYS = ("dataframe_split", "dataframe_records", "instances", "inputs")
LLM_KEYS = ("messages", "prompt", "input")
"""One of them makes a body the request of a language model."""
_SPLIT_KEYS = {"columns", "data", "index"}
_NESTED = (list, dict)
_ROW = {list, tuple}


class TableReader:
    """Reads data keys for one tabular signature."""

    def __init__(self, columns: tuple[Column, ...]) -> None:
        self._columns = columns
        self.is_plain = all(c.name is not None and c.type in PLAIN for c in columns)
        self._names = [c.name or "" for c in columns]
        self._name_set = set(self._names)
        self._rows = RowReader(columns) if self.is_plain else None
        self._readers = {
            "dataframe_split": self._split,
            "dataframe_records": self._records,
            "inputs": self._inputs,
            "instances": self._instances,
        }

    def read(self, key: str, value: Any) -> Columns | Form:
        """The columns under the data key `key`, or the untouched form where MLflow shall decide."""
        try:
            columns = (self._exact(key, value) or self._readers[key](value)) if self.is_plain else None
        except UnusualCellError:
            columns = None
        return columns if columns is not None else self.form(key, value)

    def form(self, key: str, value: Any) -> Form:
        """The untouched form, for MLflow to decide about."""
        return Form(key=key, value=value, refusal=strict.lossy_column(key, value, self._columns))

    def cast(
        self,
        cells: Mapping[str, Sequence[Any]],
        rows: int,
        *,
        arrays: bool = False,
        labels: Sequence[Any] | None = None,
    ) -> Columns:
        """The signature's columns from `cells`; raises RefusedError where one does not fit."""
        casts: dict[str, Cast] = ARRAY_CASTS if arrays else FRAME_CASTS
        names: list[str] = []
        dtypes: list[str] = []
        done: list[Sequence[Any]] = []
        missing: list[str] = []
        lossy: LossyError | None = None
        for column, name in zip(self._columns, self._names, strict=True):
            values = cells.get(name)
            if values is None:
                if column.required:
                    missing.append(name)
                continue
            try:
                done.append(casts[column.type](values) if rows else [])
            except CellError as exc:
                msg = f"column {name!r} needs {column.type}: the value in row {exc.row} {exc.reason}"
                if not exc.lossy:
                    raise bad_request(msg) from None
                if _has_nested(values):
                    # Another row may be worse.
                    raise UnusualCellError from None
                lossy = lossy or LossyError(msg)
                continue
            names.append(name)
            # An empty array of text has a dtype of its own; a frame's column without cells has none.
            dtypes.append("str" if arrays and not rows and column.type == "string" else DTYPES[column.type])
        if missing:
            msg = f"missing columns: {', '.join(map(repr, missing))}"
            raise invalid_schema(msg)
        if lossy is not None:
            raise lossy
        return Columns(names=tuple(names), dtypes=tuple(dtypes), cells=tuple(done), rows=rows, labels=labels)

    def _exact(self, key: str, value: Any) -> Columns | None:
        """The columns of a request that is written just as the signature says; None for every other one."""
        rows: Any = None
        kind = type(value)
        if kind is dict:
            if key == "dataframe_split":
                if len(value) == 2 and value.get("columns") == self._names:
                    rows = value.get("data")
            elif key != "dataframe_records" and [*value] == self._names:
                columns = [*value.values()]
                if set(map(type, columns)) == {list} and len(set(map(len, columns))) == 1:
                    rows = [*zip(*columns, strict=True)]
        elif (
            kind is list
            and key != "dataframe_split"
            and set(map(type, value)) == {dict}
            and all([*row] == self._names for row in value)
        ):
            rows = [[*row.values()] for row in value]
        if not rows or type(rows) is not list or not set(map(type, rows)) <= _ROW or self._rows is None:
            return None
        return self._rows.read(rows)

    def _records(self, rows: Any) -> Columns | None:
        if type(rows) is not list or not rows or not all(type(row) is dict for row in rows):
            return None
        cells = _transpose(rows, self._names)
        return self.cast(cells, len(rows)) if cells or any(rows) else None

    def _split(self, value: Any) -> Columns | None:
        if type(value) is not dict or not value.keys() <= _SPLIT_KEYS:
            return None
        names, data, index = value.get("columns"), value.get("data"), value.get("index")
        if type(names) is not list or type(data) is not list or not all(type(n) is str for n in names):
            return None
        width, rows = len(names), len(data)
        if len(set(names)) != width or not all(type(row) is list and len(row) == width for row in data):
            return None
        if index is not None and (type(index) is not list or len(index) != rows or _has_nested(index)):
            return None
        columns: Sequence[Sequence[Any]] = list(zip(*data, strict=True)) if rows else [()] * width
        return self.cast(dict(zip(names, columns, strict=True)), rows, labels=index)

    def _inputs(self, value: Any) -> Columns | None:
        if type(value) is list and value and all(type(row) is dict for row in value):
            cells = _transpose(value, self._names)
            # A row without its key makes numpy's scalars a float column: MLflow decides.
            whole = len(cells) == len(self._names) and all(ABSENT not in c for c in cells.values())
            return self.cast(cells, len(value), arrays=True) if whole else None
        return self._arrays(value)

    def _instances(self, value: Any) -> Columns | None:
        if type(value) is list and value and all(type(row) is dict for row in value):
            first = value[0].keys()
            if first != self._name_set or any(row.keys() != first for row in value):
                return None
            return self.cast(_transpose(value, self._names), len(value), arrays=True)
        return self._arrays(value)

    def _arrays(self, value: Any) -> Columns | None:
        if type(value) is list and len(self._names) == 1 and not any(type(v) is dict for v in value):
            value = {self._names[0]: value}
        if type(value) is not dict or not value:
            return None
        if not any(type(v) in _NESTED for v in value.values()):
            if not value.keys() <= self._name_set:
                return None
            value = {name: [v] for name, v in value.items()}
        rows = -1
        for name, cells in value.items():
            if type(cells) is not list or (rows >= 0 and len(cells) != rows):
                return None
            if name not in self._name_set and _has_nested(cells):
                return None
            rows = len(cells)
        return self.cast(value, rows, arrays=True)


def _transpose(rows: list[dict[str, Any]], names: list[str]) -> dict[str, list[Any]]:
    cells = {}
    for name in names:
        column = [row.get(name, ABSENT) for row in rows]
        # Identity: a NaN that was sent is another object.
        if any(value is not ABSENT for value in column):
            cells[name] = column
    return cells


def _has_nested(cells: Sequence[Any]) -> bool:
    return any(type(value) in _NESTED for value in cells)
