from typing import Any

import numpy as np
import pytest

from servegen.server.body import Overflow
from servegen.server.errors import RefusedError
from servegen.server.inputs import Arrays, Form
from servegen.server.signature import Tensor
from servegen.server.tensors import TensorReader


def unnamed(dtype: str, *shape: int) -> TensorReader:
    return TensorReader((Tensor(name=None, dtype=dtype, shape=shape),))


NAMED = TensorReader(
    (
        Tensor(name="ids", dtype="int64", shape=(-1,)),
        Tensor(name="vec", dtype="float32", shape=(-1, 2)),
    )
)


def array(read: Arrays | Form) -> Any:
    assert isinstance(read, Arrays)
    return read.value


@pytest.mark.parametrize(
    ("dtype", "sent"),
    [
        ("float32", [[1, 2.5], [None, "3"]]),
        ("float32", [[0.1, 16777217]]),
        ("int64", [[9007199254740993, 1.0]]),
        ("int64", [[True, 2**63 - 1]]),
        ("uint8", [[0, 255]]),
        ("bool", [[True, 0]]),
    ],
)
def test_nested_lists_become_the_array_that_numpy_makes(dtype: str, sent: Any):
    made = array(unnamed(dtype, -1, 2).read("inputs", sent))
    np.testing.assert_array_equal(made, np.array(sent, dtype=dtype))
    assert made.dtype == dtype


@pytest.mark.parametrize(
    ("dtype", "sent"),
    [
        ("int64", [1.5]),
        ("int64", [1e19]),
        ("int32", [2.0**31]),
        ("float32", [1e39]),
        ("float64", [Overflow("inf")]),
        ("bool", [2]),
        ("uint8", [300]),
        ("int64", [None]),
        ("int64", ["x"]),
        ("float32", ["x"]),
        ("int64", [[1, 2], [3]]),
    ],
)
def test_what_does_not_fit_the_dtype_is_a_bad_request(dtype: str, sent: Any):
    with pytest.raises(RefusedError) as caught:
        unnamed(dtype, -1).read("inputs", sent)
    assert caught.value.code == "BAD_REQUEST"


def test_the_shape_is_part_of_the_schema():
    for sent in ([[1, 2, 3]], [1, 2], 3):
        with pytest.raises(RefusedError) as caught:
            unnamed("float32", -1, 2).read("inputs", sent)
        assert caught.value.code == "INVALID_PARAMETER_VALUE"


def test_named_tensors_come_by_column_or_by_row():
    for key, value in (
        ("inputs", {"vec": [[1, 2], [3, 4]], "ids": [1, 2], "extra": [0]}),
        ("instances", [{"ids": 1, "vec": [1, 2]}, {"ids": 2, "vec": [3, 4]}]),
    ):
        made = array(NAMED.read(key, value))
        assert list(made) == ["ids", "vec"]
        assert made["ids"].tolist() == [1, 2]
        assert made["vec"].tolist() == [[1, 2], [3, 4]]


def test_lengths_may_differ_only_under_inputs():
    value = {"ids": [1], "vec": [[1, 2], [3, 4]]}
    assert len(array(NAMED.read("inputs", value))["vec"]) == 2
    with pytest.raises(RefusedError):
        NAMED.read("instances", value)


def test_a_missing_tensor_is_a_schema_error():
    with pytest.raises(RefusedError) as caught:
        NAMED.read("inputs", {"ids": [1.5]})
    assert caught.value.code == "INVALID_PARAMETER_VALUE"


@pytest.mark.parametrize(
    ("key", "value"),
    [("dataframe_split", {"data": [[1, 2]]}), ("inputs", {"x": [1]}), ("inputs", []), ("inputs", None)],
)
def test_frames_and_oddities_are_left_to_mlflow(key: str, value: Any):
    assert isinstance(unnamed("float32", -1, 2).read(key, value), Form)


def test_text_tensors_are_left_to_mlflow():
    assert isinstance(unnamed("str", -1).read("inputs", ["a"]), Form)
