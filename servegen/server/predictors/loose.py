"""What MLflow's own parser makes of unusual requests, without pandas: columns or arrays, or a refusal.

The readers in forms.py and tensors.py take what clients usually send. The rest comes here where a model is
served without MLflow: short rows, frames of tensors, columns without names, CSV.
"""

from __future__ import annotations

import csv as files
import io
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from servegen.server.casting import DTYPES, UnusualCellError
from servegen.server.errors import RefusedError, bad_request, invalid_schema
from servegen.server.forms import TableReader
from servegen.server.inputs import Arrays, Columns, Form
from servegen.server.signature import Column
from servegen.server.tensors import TensorReader, fitted

_MISSING = frozenset(
    (
        *("", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>"),
        *("N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null"),
    )
)
"""Texts that pandas reads as a missing value."""
_FLAGS = {"True": True, "TRUE": True, "true": True, "False": False, "FALSE": False, "false": False}
_INFINITY = frozenset(("inf", "infinity"))
_NESTED = (list, dict)
_Cells = dict[Any, list[Any]]
"""Columns by name, or by position in a frame without names."""


def named(columns: Sequence[Column]) -> tuple[Column, ...]:
    """`columns`, of which those of a signature without names are called by their position."""
    return tuple(
        column if column.name is not None else replace(column, name=str(place))
        for place, column in enumerate(columns)
    )


class LooseTable:
    """Reads any tabular request for one signature."""

    def __init__(self, columns: Sequence[Column]) -> None:
        self._columns = named(columns)
        self._has_names = all(column.name is not None for column in columns)
        self._table = TableReader(self._columns)

    def form(self, form: Form) -> Columns:
        """The columns of a data key's value; raises RefusedError."""
        in_frame = form.key.startswith("dataframe_")
        cells, rows = _frame(form) if in_frame else self._arrays(form)
        if not self._has_names:
            cells = self._by_position(cells)
        columns = self._cast({name: cells[name] for name in cells}, rows, arrays=not in_frame)
        if form.refusal is not None:
            raise form.refusal
        return columns

    def csv(self, text: str) -> Columns:
        """The columns of a CSV document with a header; raises RefusedError."""
        header, lines = _lines(text)
        cells: _Cells = {
            name: [line[place] if place < len(line) else "" for line in lines]
            for place, name in enumerate(header)
        }
        if not self._has_names:
            cells = self._by_position(cells)
        types = {column.name: column.type for column in self._columns}
        read = {name: _typed(types[name], texts) for name, texts in cells.items() if name in types}
        return self._cast(read, len(lines), arrays=False)

    def _cast(self, cells: Mapping[str, Sequence[Any]], rows: int, *, arrays: bool) -> Columns:
        try:
            return self._table.cast(cells, rows, arrays=arrays)
        except UnusualCellError:
            msg = "a list or an object is where the signature has a single value"
            raise (invalid_schema if arrays else bad_request)(msg) from None

    def _by_position(self, cells: _Cells) -> _Cells:
        if len(cells) < len(self._columns):
            msg = f"the signature has {len(self._columns)} columns, the request {len(cells)}"
            raise invalid_schema(msg)
        return {str(place): column for place, column in enumerate(cells.values())}

    def _arrays(self, form: Form) -> tuple[_Cells, int]:
        value = form.value
        if isinstance(value, list) and len(self._columns) == 1 and not any(type(v) is dict for v in value):
            if any(isinstance(v, _NESTED) for v in value) and not self._has_names:
                return _rows(value)
            value = {self._columns[0].name: value}
        if isinstance(value, list):
            if not value or not (self._has_names or not any(isinstance(row, dict) for row in value)):
                raise self._misfit(form)
            if self._has_names and not any(isinstance(row, dict) for row in value):
                raise self._misfit(form)
            return _rows(value)
        if not isinstance(value, dict) or not value or not self._has_names:
            raise self._misfit(form)
        if all(not isinstance(v, list) for v in value.values()):
            return {name: [v] for name, v in value.items()}, 1
        rows = max(len(v) for v in value.values() if isinstance(v, list))
        # pandas gives a lone value to every row.
        whole = {name: v if isinstance(v, list) else [v] * rows for name, v in value.items()}
        lengths = {name: len(v) for name, v in whole.items()}
        if set(lengths.values()) != {rows}:
            known = {lengths[c.name] for c in self._columns if c.required and c.name in lengths}
            msg = f"the columns under `{form.key}` have different lengths"
            # MLflow looks at `instances` before it makes a frame of them.
            raise (bad_request if form.key == "instances" and len(known) > 1 else invalid_schema)(msg)
        return whole, rows

    def _misfit(self, form: Form) -> RefusedError:
        msg = f"`{form.key}` does not fit the columns of the signature"
        if not isinstance(form.value, dict):
            # MLflow first makes an array of it, of the first column's type.
            dtype = DTYPES[self._columns[0].type]
            try:
                np.array(form.value, dtype=str if dtype == "text" else dtype)
            except (ValueError, TypeError, OverflowError):
                return bad_request(msg)
        return invalid_schema(msg)


class LooseTensors:
    """Reads frames for one tensor signature."""

    def __init__(self, reader: TensorReader) -> None:
        self._reader = reader

    def form(self, form: Form) -> Arrays:
        """The arrays of a data key's value; raises RefusedError."""
        first = self._reader.tensors[0]
        if not form.key.startswith("dataframe_"):
            msg = f"`{form.key}` does not fit the tensors of the signature"
            raise (invalid_schema if isinstance(form.value, list) else bad_request)(msg)
        cells, rows = _frame(form)
        if not rows:
            msg = "the frame has no rows to make a tensor of"
            raise (bad_request if cells else invalid_schema)(msg)
        if first.name is not None:
            arrays = {
                t.name: self._reader.cast(cells[t.name], t) for t in self._reader.tensors if t.name in cells
            }
            found = Arrays(value=self._reader.complete(arrays))
        else:
            table = [[column[row] for column in cells.values()] for row in range(rows)]
            one = len(cells) == 1 and isinstance(table[0][0], list)
            if not one and any(isinstance(cell, _NESTED) for row in table for cell in row):
                msg = "a list or an object is where the tensor has a single value"
                raise invalid_schema(msg)
            array = self._reader.cast([row[0] for row in table] if one else table, first)
            found = Arrays(value=fitted(array, first))
        if form.refusal is not None:
            raise form.refusal
        return found


def _frame(form: Form) -> tuple[_Cells, int]:
    """The cells of one of the two frame forms, and its number of rows."""
    value = form.value
    if form.key == "dataframe_records":
        if not isinstance(value, list):
            msg = "`dataframe_records` must be a list of records"
            raise bad_request(msg)
        return _rows(value)
    if not isinstance(value, dict) or "data" not in value or value.keys() - {"columns", "data", "index"}:
        msg = "`dataframe_split` must be an object with data and, if wanted, columns and index"
        raise bad_request(msg)
    names, data, index = value.get("columns"), value["data"], value.get("index")
    if not isinstance(data, list) or (names is not None and not isinstance(names, list)):
        msg = "`dataframe_split` needs lists of columns and rows"
        raise bad_request(msg)
    cells, rows = _rows(data)
    if index is not None:
        if not isinstance(index, list) or len(index) != rows != 1:
            msg = "`dataframe_split` has an index of another length than its data"
            raise bad_request(msg)
        # pandas gives a lone row to every label.
        cells, rows = {name: c * len(index) if rows == 1 else c for name, c in cells.items()}, len(index)
    if names is None:
        return cells, rows
    if any(isinstance(name, _NESTED) for name in names):
        msg = "`dataframe_split` names a column by something that is no name"
        raise bad_request(msg)
    if len(set(names)) != len(names):
        msg = "`dataframe_split` names a column twice"
        raise invalid_schema(msg)
    if rows and isinstance(data[0], dict):
        return {name: cells.get(name, [None] * rows) for name in names}, rows
    if rows and len(cells) != len(names):
        msg = f"`dataframe_split` has {len(names)} columns, and rows of {len(cells)} values"
        raise bad_request(msg)
    return {name: cells.get(place, []) for place, name in enumerate(names)}, rows


def _rows(rows: Sequence[Any]) -> tuple[_Cells, int]:
    """Rows that are all objects, all lists or all scalars, column by column; what a row lacks is None."""
    kinds = {dict if isinstance(row, dict) else list if isinstance(row, list) else object for row in rows}
    if len(kinds) > 1:
        msg = "some rows are objects or lists, others are not"
        raise bad_request(msg)
    if kinds == {dict}:
        names = dict.fromkeys(name for row in rows for name in row)
        return {name: [row.get(name) for row in rows] for name in names}, len(rows)
    if kinds == {list}:
        width = max(map(len, rows))
        return {
            place: [row[place] if place < len(row) else None for row in rows] for place in range(width)
        }, len(rows)
    return ({0: list(rows)} if rows else {}), len(rows)


def _lines(text: str) -> tuple[list[str], list[list[str]]]:
    """Header and rows of a CSV document."""
    try:
        rows = files.reader(io.StringIO(text.removeprefix("\ufeff")), strict=True)
        header, *lines = [line for line in rows if line]
    except (files.Error, ValueError):
        msg = "the body cannot be read as CSV with a header"
        raise bad_request(msg) from None
    if lines and (extra := len(lines[0]) - len(header)) > 0:
        # To pandas the first ones are labels of the rows.
        lines = [line[extra:] for line in lines]
    if any(len(line) > len(header) for line in lines):
        msg = "a line of the CSV body has more values than the header"
        raise bad_request(msg)
    seen: dict[str, int] = {}
    names = []
    for place, name in enumerate(header):
        # As pandas names them.
        label = name or f"Unnamed: {place}"
        count = seen[label] = seen.get(label, -1) + 1
        names.append(f"{label}.{count}" if count else label)
    return names, lines


def _typed(kind: str, texts: Sequence[str]) -> list[Any]:
    """The texts of one CSV column as the values of a signature's type; raises RefusedError."""
    if kind in ("double", "float") and texts and all(text in _FLAGS for text in texts):
        return [float(_FLAGS[text]) for text in texts]
    return [_cell(kind, text) for text in texts]


def _cell(kind: str, text: str) -> Any:
    if kind == "string":
        return float("nan") if text in _MISSING else text
    bare = text.strip()
    if kind == "boolean":
        if bare in _FLAGS:
            return _FLAGS[bare]
    elif kind in ("long", "integer"):
        if bare.lstrip("+-").isdecimal():
            return int(bare)
    elif bare in _MISSING:
        return float("nan")
    else:
        try:
            # Python takes 1_000, which no other reader of numbers does.
            number = float(bare) if "_" not in bare else None
        except ValueError:
            number = None
        is_infinite = number in (float("inf"), -float("inf"))
        if number is not None and (not is_infinite or bare.lstrip("+-").lower() in _INFINITY):
            return number
    msg = "the body cannot be read as CSV with the types of the model's signature"
    raise bad_request(msg)
