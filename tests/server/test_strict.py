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
