"""Estimators of scikit-learn that need no DataFrame, because an array is all that they make of one.

Checking a DataFrame costs more than most of them need to predict a row. The array that they are given here
has the values, dtype and memory layout of the one that they would have made: answers are the same to the bit.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from servegen.server.imported import imported
from servegen.server.inputs import Columns

_FUNCTIONS = ("predict", "predict_proba", "predict_log_proba")
_FAMILIES = (
    "sklearn.cluster.",
    "sklearn.decomposition.",
    "sklearn.discriminant_analysis",
    "sklearn.ensemble._forest",
    "sklearn.ensemble._gb",
    "sklearn.ensemble._hist_gradient_boosting.",
    "sklearn.gaussian_process.",
    "sklearn.linear_model.",
    "sklearn.naive_bayes",
    "sklearn.neighbors.",
    "sklearn.neural_network.",
    "sklearn.preprocessing._data",
    "sklearn.svm.",
    "sklearn.tree.",
)
"""Modules whose estimators look at names of columns only to compare them with those of the training."""
_NUMBERS = frozenset(("float64", "int64", "int32"))
"""Dtypes whose mixtures pandas and numpy make the same array of, from Python's numbers."""
_ALONE = frozenset((*_NUMBERS, "float32"))


class ArrayEstimator:
    """One function of a fitted estimator, called with arrays."""

    def __init__(self, function: Callable[[Any], Any], names: tuple[str, ...] | None) -> None:
        self._function = function
        self._names = names

    def takes(self, columns: Columns) -> bool:
        """Whether `columns` are all numbers, and the columns that the estimator was fitted with."""
        if self._names is not None and columns.names != self._names:
            return False
        kinds = set(columns.dtypes)
        return kinds <= (_ALONE if len(kinds) == 1 else _NUMBERS)

    def predict(self, columns: Columns) -> Any:
        """The estimator's answer to columns that it takes."""
        return self._function(array(columns))


def array(columns: Columns) -> Any:
    """An ndarray (rows, columns) as scikit-learn makes it of a DataFrame; all dtypes must be numbers."""
    kinds = set(columns.dtypes)
    dtype = kinds.pop() if len(kinds) == 1 else np.result_type(*kinds)
    # Transposed: a frame holds column after column.
    return np.array(columns.cells, dtype=dtype).reshape(len(columns.names), columns.rows).T


def find(estimator: Any, function: str) -> ArrayEstimator | None:
    """`function` of the fitted `estimator`, if it can do without a DataFrame."""
    if function not in _FUNCTIONS:
        return None
    steps = _steps(estimator)
    if not all(_is_known(step) for step in steps):
        return None
    first = steps[0]
    names = getattr(first, "feature_names_in_", None)
    if any(hasattr(inner, "feature_names_in_") for step in steps for inner in _inside(step)) or any(
        hasattr(step, "feature_names_in_") for step in steps[1:]
    ):
        return None
    if names is not None:
        # Without names to compare, an array without names gives no warning. The model itself stays as it is.
        first = copy.copy(first)
        del first.feature_names_in_
        if len(steps) > 1:
            estimator = copy.copy(estimator)
            estimator.steps = [(estimator.steps[0][0], first), *estimator.steps[1:]]
        else:
            estimator = first
    return ArrayEstimator(
        getattr(estimator, function), None if names is None else tuple(str(name) for name in names)
    )


def _steps(estimator: Any) -> list[Any]:
    pipeline = imported("sklearn.pipeline")
    if pipeline is not None and type(estimator) is pipeline.Pipeline:
        return [step for _, step in estimator.steps]
    return [estimator]


def _is_known(estimator: Any) -> bool:
    place = f"{type(estimator).__module__}."
    # A transformer can be told to give DataFrames.
    return place.startswith(_FAMILIES) and not hasattr(estimator, "_sklearn_output_config")


def _inside(estimator: Any) -> Iterator[Any]:
    """The estimators that `estimator` is made of."""
    for value in vars(estimator).values():
        if isinstance(value, (list, tuple)) or (isinstance(value, np.ndarray) and value.dtype == object):
            yield from (item for item in np.ravel(np.array(value, dtype=object)) if hasattr(item, "predict"))
        elif hasattr(value, "predict"):
            yield value
