import json
from typing import Any

import pytest

from servegen.server.body import Overflow
from servegen.server.signature import Signature, Tensor
from servegen.server.strict import lossy_column, lossy_tensor
from tests.server.asgi import columns


def reason(kind: str, value: Any, key: str = "dataframe_records") -> str:
    spec = Signature.parse({"inputs": columns(c=kind)}, type_hints=False).columns or ()
    form = [{"c": value}] if key == "dataframe_records" else {"c": [value]}
    found = lossy_column(key, form, spec)
    return found.message if found else ""


KEPT = [
    ("long", 3.0),
    ("long", None),
    ("long", "x"),
    ("double", float("inf")),
    ("binary", "aGVs\nbG8=\n"),
    ("binary", "aGVsbG8"),
    ("binary", ""),
    ("binary", "===="),
    ("binary", None),
    ("datetime", "2021-01-31T10:20:30.123456789"),
    ("datetime", 1612000000000000000),
    ("datetime", 5.0),
    ("datetime", "words"),
    ("array", [1.5]),
    ("string", 5),
]
CHANGED = [
    ("long", 3.5),
    ("long", 1e19),
    ("integer", 2**31),
    ("double", Overflow("inf")),
    ("float", 1e39),
    ("boolean", "false"),
    ("boolean", None),
    ("boolean", [True]),
    ("boolean", []),
    ("binary", "aGVs*bG8="),
    ("binary", "-_-_"),
    ("binary", "é"),
    ("datetime", 1.5),
    ("datetime", "2021-01-01T00:00:00.1234567891"),
]


@pytest.mark.parametrize(("kind", "value"), KEPT)
def test_what_the_cast_keeps_or_refuses_itself_passes(kind: str, value: Any):
    assert reason(kind, value) == ""


@pytest.mark.parametrize(("kind", "value"), CHANGED)
def test_what_the_cast_would_change_is_named(kind: str, value: Any):
    assert "column 'c'" in reason(kind, value)


def test_arrays_differ_from_frames_where_numpy_differs_from_pandas():
    assert reason("datetime", "3000-01-01", "inputs")
    assert not reason("datetime", "3000-01-01")
    assert not reason("datetime", "2262-04-11", "inputs")
    assert not reason("binary", "é", "inputs")


def test_unnamed_columns_are_checked_by_position():
    spec = Signature.parse({"inputs": '[{"type": "double"}, {"type": "long"}]'}, type_hints=False).columns
    assert spec is not None
    assert lossy_column("dataframe_split", {"data": [[1.5, 2]]}, spec) is None
    assert lossy_column("dataframe_split", {"data": [[1.5, 2.5]]}, spec) is not None


@pytest.mark.parametrize(
    ("key", "value", "lossy"),
    [
        ("dataframe_split", {"data": [[1, 2.5]]}, True),
        ("dataframe_split", {"data": [[[1, 2]]]}, False),
        ("dataframe_records", [{"p": 1, "q": 2.5}], True),
        ("dataframe_split", {"data": 5}, False),
    ],
)
def test_an_unnamed_tensor_covers_every_column(key: str, value: Any, lossy: bool):
    tensors = [Tensor(name=None, dtype="int64", shape=(-1, 2))]
    assert (lossy_tensor(key, value, tensors) is not None) == lossy


def column_reason(key: str, value: Any, *kinds: str, named: bool = True) -> str:
    block = [
        {"type": kind} | ({"name": name} if named else {}) for name, kind in zip("abc", kinds, strict=False)
    ]
    spec = Signature.parse({"inputs": json.dumps(block)}, type_hints=False).columns or ()
    found = lossy_column(key, value, spec)
    return found.message if found else ""


BIG = 2**53 + 1


@pytest.mark.parametrize(
    ("kind", "cells", "rounded"),
    [
        ("long", [BIG, 2.0], True),
        ("long", [BIG, 2], False),
        ("long", [BIG, True, 2.0], False),
        ("long", [2**60, 2.0, -(2**62)], False),
        ("datetime", [1612088430123456789, None], True),
        ("datetime", [1612088430000000000, None], False),
        ("datetime", [10**400, None], True),
        ("double", [BIG, 2.5], False),
    ],
)
def test_integers_that_pandas_rounds_beside_floats_are_lossy(kind: str, cells: list[Any], rounded: bool):
    assert ("53 bits" in column_reason("dataframe_records", [{"a": c} for c in cells], kind)) is rounded
    assert column_reason("inputs", {"a": cells}, kind) == ""


def test_what_a_row_lacks_is_null_except_under_instances():
    rows = [{"a": True}, {}]
    assert "row 1" in column_reason("dataframe_records", rows, "boolean")
    assert "row 1" in column_reason("inputs", rows, "boolean")
    assert column_reason("instances", rows, "boolean") == ""
    short = {"columns": ["a", "b"], "data": [[1, True], [2]]}
    assert "row 1" in column_reason("dataframe_split", short, "long", "boolean")


def test_unnamed_columns_are_checked_by_their_place():
    rows = [[1, "x", True], [2, "y", "no"]]
    assert "row 1" in column_reason("dataframe_records", rows, "long", "string", "boolean", named=False)
    assert column_reason("dataframe_records", rows, "long", "string", named=False) == ""
    assert column_reason("dataframe_records", [["no"]], "boolean") == ""
    assert "row 0" in column_reason("inputs", [["no", 1]], "boolean", named=False)
    assert column_reason("inputs", [[1, "no"]], "boolean", named=False) == ""


def test_a_missing_integer_in_a_column_of_lists_is_lossy():
    ids = Tensor(name="ids", dtype="int32", shape=(-1,))
    vector = Tensor(name="v", dtype="float64", shape=(-1, 1))
    rows = [{"ids": [1], "v": [1]}, {"v": [None]}]
    found = lossy_tensor("dataframe_records", rows, [ids, vector])
    assert found is not None
    assert "'ids'" in found.message
    assert lossy_tensor("dataframe_records", rows, [vector]) is None


def test_a_list_in_a_column_of_flags_is_lossy():
    flags = Tensor(name=None, dtype="bool", shape=(-1,))
    assert lossy_tensor("dataframe_split", {"data": [[True], [[]]]}, [flags]) is not None
    assert lossy_tensor("dataframe_split", {"data": [[True], [False]]}, [flags]) is None
    assert lossy_tensor("dataframe_split", {"data": [[[True]], [[False]]]}, [flags]) is None


@pytest.mark.parametrize("value", [True, "x", None, 3, {"a": True}, {"a": "x"}, {"a": {}}, [], [[]]])
@pytest.mark.parametrize("key", ["dataframe_records", "dataframe_split", "inputs", "instances"])
def test_what_is_no_table_at_all_is_left_to_mlflow(key: str, value: object):
    assert lossy_tensor(key, value, [Tensor(name="a", dtype="float32", shape=(-1, 1))]) is None
