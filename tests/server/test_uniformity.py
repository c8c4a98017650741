"""Merging gives each client what it would have had alone, whatever a model infers from all rows."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from servegen.server import batching, encoding
from servegen.server.uniformity import Uniformity, look

Model = Callable[[list[Any]], Any]


def inferred(rows: list[Any]) -> Any:
    return np.array(rows)


def series(rows: list[Any]) -> Any:
    return pd.Series(rows)


def frame(rows: list[Any]) -> Any:
    return pd.DataFrame({"id": range(len(rows)), "value": rows}).drop(columns="id")


def records(rows: list[Any]) -> Any:
    return pd.DataFrame({"value": rows, "fixed": 1.5}).to_dict("records")


def nested(rows: list[Any]) -> Any:
    return pd.DataFrame({"value": rows}).to_numpy().tolist()


def sparse(rows: list[Any]) -> Any:
    return pd.DataFrame([{"value": v} if v else {"why": "none"} for v in rows]).to_dict("records")


def plain(rows: list[Any]) -> Any:
    return list(rows)


def mixed(rows: list[Any]) -> Any:
    return pd.DataFrame({"name": "x", "value": rows}).to_numpy()


def holding(rows: list[Any]) -> Any:
    return [{"value": value} for value in np.array(rows).reshape(-1, 1)]


def split(rows: list[Any]) -> Any:
    return pd.DataFrame({"fixed": 0.5, "value": rows}).to_dict("split")["data"]


def documents(rows: list[Any]) -> Any:
    return pd.Series(pd.DataFrame({"value": rows}).to_dict("records"))


MODELS = [inferred, series, frame, records, nested, sparse, plain, mixed, holding, split, documents]
# Neither 3.0, "3" nor 1: who answers 3.0 to one and 3 to another client cannot be told from who always
# answers fractions, and so with text and whole numbers, and with 1 and true.
CELLS = st.sampled_from([3, 7, 2.5, -0.5, True, False, "a", "b", None, float("nan")])


def merged(uniformity: Uniformity, model: Model, rows: list[Any]) -> list[bytes]:
    """What a worker answers to a call for each of `rows`, all of one kind."""
    answer = model(rows)
    parts = batching.split(answer, [1] * len(rows))
    assert parts is not None
    answers = []
    for row, part, fits in zip(rows, parts, uniformity.alike("k", answer, parts), strict=True):
        if not fits:
            part = model([row])
            uniformity.learn("k", part, 1)
        answers.append(encoding.dumps(part))
    return answers


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
@given(st.lists(CELLS, min_size=1, max_size=3), st.lists(CELLS, min_size=2, max_size=5))
def test_a_merged_call_is_answered_as_a_lone_one(model: Model, before: list[Any], together: list[Any]):
    uniformity = Uniformity()
    for row in before:
        uniformity.learn("k", model([row]), 1)
    assert merged(uniformity, model, together) == [encoding.dumps(model([row])) for row in together]


def test_what_is_not_inferred_is_merged():
    labels = np.array([0, 1, 2])
    for model in (
        lambda rows: labels[rows],
        lambda rows: np.eye(3)[rows],
        lambda rows: pd.DataFrame(np.eye(3)[rows], columns=["a", "b", "c"]),
        lambda rows: [{"label": str(row), "score": row / 4} for row in rows],
        lambda rows: np.array(["setosa", "virginica", "3"])[rows],
        lambda rows: [{"words": ["a", "b", "c"][: row + 1], "at": [0.5] * (100 + row)} for row in rows],
    ):
        uniformity = Uniformity()
        # 0 could be False and 1.0 could be 1; once seen alone they are what they are.
        for row in (0, 1, 2):
            uniformity.learn("k", model([row]), 1)
        answer = model([0, 1, 2, 1])
        parts = batching.split(answer, [1, 1, 1, 1])
        assert parts is not None
        assert uniformity.alike("k", answer, parts) == [True] * 4
        assert uniformity.may_merge("k")


def test_a_fraction_needs_no_proof():
    uniformity = Uniformity()
    uniformity.learn("k", np.array([0.25]), 1)
    answer = np.array([0.5, 3.0, 0.75])
    parts = batching.split(answer, [1, 1, 1])
    assert parts is not None
    assert uniformity.alike("k", answer, parts) == [True, False, True]


def test_a_lone_answer_of_another_number_of_rows_ends_merging():
    uniformity = Uniformity()
    uniformity.learn("k", [1, 2, 3], 1)
    assert not uniformity.may_merge("k")
    assert uniformity.may_merge("another")


def test_an_answer_of_fixed_length_is_not_taken_for_one_a_row():
    uniformity = Uniformity()
    uniformity.learn("k", [1.5, 2.5, 3.5], 3)
    answer = [0.5, 2.5, 4.5]
    assert uniformity.alike("k", answer, [[0.5], [2.5], [4.5]]) == [False] * 3
    uniformity.learn("k", answer, 1)
    assert not uniformity.may_merge("k")


def test_a_missing_value_counts_only_where_lone_answers_have_one_of_its_type():
    for answer in (np.array([0.5, np.nan]), pd.Series([0.5, None]), pd.DataFrame({"a": [0.5, None]})):
        uniformity = Uniformity()
        uniformity.learn("k", answer[:1], 1)
        parts = batching.split(answer, [1, 1])
        assert parts is not None
        assert uniformity.alike("k", answer, parts) == [True, False]


def test_two_lone_answers_of_different_types_end_merging():
    uniformity = Uniformity()
    uniformity.learn("k", np.array([3]), 1)
    assert uniformity.may_merge("k")
    uniformity.learn("k", np.array([2.5]), 1)
    assert not uniformity.may_merge("k")


def test_any_number_of_kinds_may_come():
    uniformity = Uniformity()
    for n in range(10_000):
        uniformity.learn(("x" * 100, n), np.array([n]), 1)
    assert not uniformity.is_known(("x" * 100, 0))
    assert uniformity.is_known(("x" * 100, 9_999))
    assert uniformity.may_merge("new")


def test_long_lists_of_fractions_look_alike():
    one, other = look([[0.5] * 1000]), look([[0.25] * 1000])
    assert one == other
    assert not one.doubts
