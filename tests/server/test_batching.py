from typing import Any

import numpy as np
import pandas as pd
import pytest

from servegen.server import batching
from servegen.server.inputs import Arrays, Call, Columns, Whole


def columns(
    *cells: list[Any],
    dtypes: tuple[str, ...] = ("float64",),
    names: tuple[str, ...] = ("a",),
    labels: Any = None,
) -> Columns:
    return Columns(names=names, dtypes=dtypes, cells=cells, rows=len(cells[0]), labels=labels)


def kind(data: Any) -> Any:
    return batching.kind(Call(input=data, params=None, encode=lambda answer: b""))


@pytest.mark.parametrize(
    "data",
    [
        Whole(value={"messages": []}),
        columns([]),
        columns([1.0], labels=["mine"]),
        columns([1.0], labels=[1]),
        columns(["x", None], dtypes=("text",)),
        columns(["x", 1], dtypes=("text",)),
        Arrays(value=np.array(1.0)),
        Arrays(value=np.zeros((0, 2))),
        Arrays(value={"a": np.zeros(2), "b": np.zeros(3)}),
        Arrays(value={}),
    ],
)
def test_what_would_change_for_other_clients_runs_alone(data: Any):
    assert kind(data) is None


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (None, {}),
        ({"k": 0.0}, {"k": -0.0}),
        ({"k": 1}, {"k": 1.0}),
        ({"k": 1}, {"k": True}),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
    ],
)
def test_calls_of_different_params_have_unequal_kinds(one: Any, other: Any):
    kinds = [
        batching.kind(Call(input=columns([1.0]), params=p, encode=lambda answer: b"")) for p in (one, other)
    ]
    assert None not in kinds
    assert kinds[0] != kinds[1]


@pytest.mark.parametrize("large", [{"k": "x" * 2000}, {"k": [1] * 2000}, {"k": {"nested": 1}}])
def test_a_call_with_large_params_runs_alone(large: Any):
    assert batching.kind(Call(input=columns([1.0]), params=large, encode=lambda answer: b"")) is None


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (columns([1.0]), columns([1], dtypes=("int64",))),
        (columns([1.0]), columns([1.0], names=("b",))),
        (
            columns([1.0], [2.0], names=("a", "b"), dtypes=("float64",) * 2),
            columns([2.0], [1.0], names=("b", "a"), dtypes=("float64",) * 2),
        ),
        (Arrays(value=np.zeros((1, 2))), Arrays(value=np.zeros((1, 3)))),
        (Arrays(value=np.zeros((1, 2))), Arrays(value=np.zeros((1, 2), np.float32))),
        (Arrays(value={"a": np.zeros(2)}), Arrays(value={"b": np.zeros(2)})),
    ],
)
def test_calls_of_unequal_schema_have_unequal_kinds(one: Any, other: Any):
    assert kind(one) is not None
    assert kind(one) != kind(other)


def test_columns_are_merged_in_order():
    inputs = [
        columns([1.0, 2.0], ["x", "y"], names=("a", "t"), dtypes=("float64", "text")),
        columns([3.0], ["z"], names=("a", "t"), dtypes=("float64", "text"), labels=[0]),
    ]
    assert kind(inputs[0]) == kind(inputs[1])
    merged = batching.merge(inputs)
    assert merged == columns([1.0, 2.0, 3.0], ["x", "y", "z"], names=("a", "t"), dtypes=("float64", "text"))


def test_arrays_are_merged_by_their_first_axis():
    merged = batching.merge([Arrays(value=np.ones((2, 3))), Arrays(value=np.zeros((1, 3)))])
    assert isinstance(merged, Arrays)
    np.testing.assert_array_equal(merged.value, [[1, 1, 1], [1, 1, 1], [0, 0, 0]])
    named = [Arrays(value={"a": np.array([n]), "b": np.array([[n, n]])}) for n in (1, 2)]
    merged = batching.merge(named)
    assert isinstance(merged, Arrays)
    np.testing.assert_array_equal(merged.value["a"], [1, 2])
    np.testing.assert_array_equal(merged.value["b"], [[1, 1], [2, 2]])
    assert batching.rows(merged) == 2


@pytest.mark.parametrize(
    "answer", [[1, 2, 3], np.array([1, 2, 3]), pd.Series([1, 2, 3]), pd.DataFrame({"y": [1, 2, 3]})]
)
def test_an_answer_with_a_row_for_each_is_cut(answer: Any):
    parts = batching.split(answer, [2, 1])
    assert parts is not None
    assert [np.asarray(part).ravel().tolist() for part in parts] == [[1, 2], [3]]
    assert [type(part) for part in parts] == [type(answer)] * 2


@pytest.mark.parametrize(
    "answer",
    [[1, 2], np.array(3), np.zeros((1, 3)), pd.Series([1]), {"a": [1, 2, 3]}, "abc", None, (1, 2, 3)],
)
def test_any_other_answer_is_not(answer: Any):
    assert batching.split(answer, [2, 1]) is None
