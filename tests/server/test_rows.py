import json
from typing import Any

import pytest

from servegen.server.forms import TableReader
from servegen.server.inputs import Columns
from servegen.server.rows import RowReader
from servegen.server.signature import Column, Signature
from tests.server.asgi import columns


def schema(**types: str) -> tuple[Column, ...]:
    return Signature.parse({"inputs": columns(**types)}, type_hints=False).columns or ()


SCHEMA = schema(d="double", f="float", l="long", i="integer", b="boolean", s="string")
NAMES = list("dflibs")
ROW: list[Any] = [1.5, 2.5, 2**62, -3, True, "x"]


def test_rows_of_the_very_types_are_taken_as_they_are():
    read = RowReader(SCHEMA).read([ROW, [*ROW[:5], "y"]])
    assert read == Columns(
        names=tuple(NAMES),
        dtypes=("float64", "float32", "int64", "int32", "bool", "text"),
        cells=((1.5, 1.5), (2.5, 2.5), (2**62, 2**62), (-3, -3), (True, True), ("x", "y")),
        rows=2,
    )


@pytest.mark.parametrize(
    ("place", "cell"),
    [
        (0, 1),
        (0, None),
        (1, 1e39),
        (1, float("inf")),
        (2, 2**63),
        (2, True),
        (2, 2.0),
        (3, 2**31),
        (3, -(2**31) - 1),
        (4, 1),
        (5, None),
        (5, ["x"]),
    ],
)
def test_every_other_cell_is_left_to_the_casts(place: int, cell: Any):
    row = [*ROW[:place], cell, *ROW[place + 1 :]]
    assert RowReader(SCHEMA).read([ROW, row]) is None


@pytest.mark.parametrize("row", [ROW[:5], [*ROW, 1]])
def test_so_is_a_row_of_another_length(row: list[Any]):
    assert RowReader(SCHEMA).read([row]) is None


RECORD = dict(zip(NAMES, ROW, strict=True))
REVERSED = dict(reversed(RECORD.items()))


@pytest.mark.parametrize(
    ("key", "exact", "odd"),
    [
        ("dataframe_split", {"columns": NAMES, "data": [ROW]}, {"columns": [*REVERSED], "data": [ROW[::-1]]}),
        ("dataframe_records", [RECORD], [REVERSED]),
        ("instances", [RECORD], [REVERSED]),
        ("inputs", [RECORD], [REVERSED]),
        ("inputs", {n: [c] for n, c in RECORD.items()}, {n: [c] for n, c in REVERSED.items()}),
        ("instances", {n: [c] for n, c in RECORD.items()}, {n: [c] for n, c in REVERSED.items()}),
    ],
)
def test_both_ways_of_reading_agree(key: str, exact: Any, odd: Any):
    reader = TableReader(SCHEMA)
    one, other = reader.read(key, json.loads(json.dumps(exact))), reader.read(key, odd)
    assert isinstance(one, Columns)
    assert isinstance(other, Columns)
    assert one.names == other.names
    assert one.dtypes == other.dtypes
    assert [list(cells) for cells in one.cells] == [list(cells) for cells in other.cells]


@pytest.mark.parametrize("rows", ["xy", ["xy"], [{"s": "x", "t": "y"}], {"s": ["x"], "t": ["y"]}, [], None])
def test_text_is_not_taken_for_a_row_of_letters(rows: Any):
    reader = TableReader(schema(s="string", t="string"))
    assert not isinstance(reader.read("dataframe_split", {"columns": ["s", "t"], "data": rows}), Columns) or (
        rows == []
    )
