"""Fitted estimators of scikit-learn as parts of a graph; one file a kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from servegen.accelerate.tables import Front, Matrix, Table


@dataclass(frozen=True, kw_only=True)
class Classifier:
    """What a classifier says of each row."""

    classes: Any
    index: str
    """Position in `classes`: (rows,), int64."""
    scores: Mapping[str, tuple[str, int | None]] = field(default_factory=dict)
    """`predict_proba` and the like: the values and how many a row; None for one that is no list."""


@dataclass(frozen=True, kw_only=True)
class Regressor:
    """The number or numbers of each row."""

    value: str
    targets: int | None = None
    """How many a row; None for one that is no list."""
    dtype: str = "float64"


Transform = Callable[[Front, str, Any, Table | Matrix], Table | Matrix]
"""Front, the step's name for messages, the fitted transformer, what goes in."""
Predict = Callable[[Front, str, Any, Table | Matrix], Classifier | Regressor]
