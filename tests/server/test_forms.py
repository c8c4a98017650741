import json
from typing import Any

import pytest

from servegen.server.errors import LossyError, RefusedError
from servegen.server.forms import TableReader
from servegen.server.inputs import Columns, Form
from servegen.server.signature import Signature
from tests.server.asgi import columns


def reader(**types: str) -> TableReader:
    block = {"inputs": columns(**types)}
    return TableReader(Signature.parse(block, type_hints=False).columns or ())


AB = {"a": "double", "s": "string"}
SAME = [
    ("dataframe_records", [{"a": 1, "s": "x"}, {"a": 2.5, "s": "y"}]),
    ("dataframe_records", [{"s": "x", "a": 1, "extra": 0}, {"s": "y", "a": 2.5}]),
    ("dataframe_split", {"columns": ["s", "a"], "data": [["x", 1], ["y", 2.5]]}),
    ("dataframe_split", {"columns": ["s", "zz", "a"], "data": [["x", [], 1], ["y", {}, 2.5]], "index": None}),
    ("inputs", {"s": ["x", "y"], "a": [1, 2.5]}),
    ("inputs", [{"a": 1, "s": "x"}, {"a": 2.5, "s": "y"}]),
    ("instances", {"a": [1, 2.5], "s": ["x", "y"], "extra": [1, 2]}),
    ("instances", [{"a": 1, "s": "x"}, {"s": "y", "a": 2.5}]),
]


@pytest.mark.parametrize(("key", "value"), SAME)
def test_every_data_key_gives_the_same_columns(key: str, value: Any):
    read = reader(**AB).read(key, value)
    assert isinstance(read, Columns)
    assert (read.names, read.dtypes, read.rows) == (("a", "s"), ("float64", "text"), 2)
    assert [list(c) for c in read.cells] == [[1.0, 2.5], ["x", "y"]]


def test_a_split_keeps_its_index():
    read = reader(a="double").read("dataframe_split", {"columns": ["a"], "data": [[1]], "index": ["r1"]})
    assert isinstance(read, Columns)
    assert read.labels == ["r1"]


def test_a_bare_list_is_the_only_column():
    read = reader(n="long").read("instances", [1, 2])
    assert isinstance(read, Columns)
    assert read.cells == ([1, 2],)


def test_scalars_are_one_row():
    read = reader(**AB).read("inputs", {"a": 1, "s": "x"})
    assert isinstance(read, Columns)
    assert read.rows == 1


def test_an_optional_column_may_be_absent():
    read = reader(a="double", k="long?").read("dataframe_records", [{"a": 1}])
    assert isinstance(read, Columns)
    assert read.names == ("a",)


def test_no_rows_keep_their_columns():
    read = reader(**AB).read("dataframe_split", {"columns": ["a", "s"], "data": []})
    assert isinstance(read, Columns)
    assert (read.names, read.rows) == (("a", "s"), 0)


def test_a_key_that_only_some_rows_have_is_missing_there():
    read = reader(a="double", b="double?").read("dataframe_records", [{"a": 1, "b": 2}, {"a": 1}])
    assert isinstance(read, Columns)
    assert read.cells[1][1] != read.cells[1][1]
    with pytest.raises(RefusedError):
        reader(a="double", k="long?").read("dataframe_records", [{"a": 1, "k": 2}, {"a": 1}])


ODD = [
    ("dataframe_records", []),
    ("dataframe_records", {"a": 1}),
    ("dataframe_records", [[1, "x"]]),
    ("dataframe_records", [{"a": [1], "s": "x"}]),
    ("dataframe_split", {"data": [[1, "x"]]}),
    ("dataframe_split", {"columns": ["a", "a"], "data": [[1, 2]]}),
    ("dataframe_split", {"columns": ["a", "s"], "data": [[1]]}),
    ("dataframe_split", {"columns": ["a", "s"], "data": [[1, "x"]], "index": [1, 2]}),
    ("dataframe_split", 5),
    ("inputs", 5),
    ("inputs", {"a": [1, 2], "s": ["x"]}),
    ("inputs", {"a": 1, "s": "x", "extra": 5}),
    ("inputs", [{"a": 1, "s": "x"}, {"a": 2}]),
    ("instances", [{"a": 1, "s": "x"}, {"a": 2}]),
    ("instances", {"a": [1], "s": ["x"], "extra": [[1]]}),
]


@pytest.mark.parametrize(("key", "value"), ODD)
def test_oddities_are_left_to_mlflow(key: str, value: Any):
    read = reader(**AB).read(key, value)
    assert isinstance(read, Form)
    assert (read.key, read.value) == (key, value)


def test_nested_types_are_left_to_mlflow():
    read = reader(t="datetime").read("dataframe_records", [{"t": "2021-01-01"}])
    assert isinstance(read, Form)


def test_what_mlflow_refuses_goes_before_a_lossy_value():
    table = reader(a="long", b="long")
    with pytest.raises(LossyError):
        table.read("dataframe_records", [{"a": 1.5, "b": 1}])
    with pytest.raises(RefusedError) as missing:
        table.read("dataframe_records", [{"a": 1.5}])
    assert missing.value.code == "INVALID_PARAMETER_VALUE"
    with pytest.raises(RefusedError) as uncastable:
        table.read("dataframe_records", [{"a": 1.5, "b": "x"}])
    assert (type(uncastable.value), uncastable.value.code) == (RefusedError, "BAD_REQUEST")


def test_a_message_names_column_row_and_type_but_no_value():
    with pytest.raises(RefusedError) as caught:
        reader(n="long").read("inputs", {"n": [1, "secret"]})
    assert all(word in caught.value.message for word in ("'n'", "row 1", "long"))
    assert "secret" not in json.dumps(caught.value.message)


def test_a_column_of_text_without_cells_is_what_numpy_or_pandas_makes_of_it():
    assert reader(s="string").read("inputs", {"s": []}).dtypes == ("str",)
    assert reader(s="string").read("dataframe_split", {"columns": ["s"], "data": []}).dtypes == ("text",)


def test_a_row_that_mlflow_may_refuse_goes_before_one_that_would_change():
    assert isinstance(reader(f="float").read("inputs", [{"f": 1e39}, {"f": []}]), Form)
    with pytest.raises(LossyError):
        reader(f="float").read("inputs", [{"f": 1e39}, {"f": 1.0}])


def test_a_whole_float_out_of_range_is_worse_than_a_missing_column_in_arrays_only():
    with pytest.raises(RefusedError) as caught:
        reader(n="long", k="long").read("instances", [{"n": 1e19, "k": 1}])
    assert not isinstance(caught.value, LossyError)
    with pytest.raises(LossyError):
        reader(n="long").read("dataframe_records", [{"n": 1e19}])
