from typing import Any

import pytest

from servegen.server.compare import differ


@pytest.mark.parametrize(
    ("served", "wanted"),
    [
        ({"predictions": [1, 2.0, "x", None]}, {"predictions": [1, 2.0, "x", None]}),
        ([1.0000001], [1.0]),
        ([None], [float("nan")]),
        ([1e-10], [0.0]),
    ],
)
def test_numbers_may_differ_a_little_and_nan_is_null(served: Any, wanted: Any):
    assert differ(served, wanted) is None


@pytest.mark.parametrize(
    ("served", "wanted", "path"),
    [
        ([1.001], [1.0], "$[0]"),
        ([1], [1.0], "$[0]"),
        ([True], [1], "$[0]"),
        ([1, 2], [1], "$"),
        ({"predictions": [{"a": 1}]}, {"predictions": [{"b": 1}]}, "$.predictions[0]"),
        ([{"a": 1, "b": 2}], [{"b": 2, "a": 1}], "$[0]"),
        ("x", "y", "$"),
        (None, 0, "$"),
    ],
)
def test_the_first_difference_is_named(served: Any, wanted: Any, path: str):
    found = differ(served, wanted)
    assert found is not None
    assert found.path == path


def test_generated_answers_are_compared_by_their_form():
    assert differ(["one", "two"], ["three"], values_matter=False) is None
    assert differ([5], ["three"], values_matter=False) is not None
