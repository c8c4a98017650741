"""Categories as numbers: each category's answer is asked of the fitted encoder itself."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np

from servegen.accelerate.estimators import Transform
from servegen.accelerate.graph import Unconvertible, clean
from servegen.accelerate.tables import MISSING, Cells, Front, Matrix, Table, as_double, concat, pick

_TEXT_UNKNOWN = "\ue000unknown"
_NUMBER_UNKNOWNS = (-987654321.5, 1.2345678e150)


def _encoder(front: Front, step: str, model: Any, value: Table | Matrix) -> Matrix:
    """OneHotEncoder and OrdinalEncoder: the row that a category gives, chosen by comparing with all."""
    parts = []
    for position, categories in enumerate(model.categories_):
        column = pick(front, value, [position])
        known = [clean(item) for item in categories]
        front.reveal_categories(column, known)
        table, unknown = _rows(step, model, position, known)
        parts.append(_column(front, step, column, known, table, unknown))
    return concat(front, parts)


def _rows(step: str, model: Any, position: int, known: list[Any]) -> tuple[Any, Any]:
    """What each known category of a column becomes (categories, width), and what an unknown one does."""
    outputs = getattr(model, "_n_features_outs", None)
    start = position if outputs is None else sum(outputs[:position])
    stop = start + (1 if outputs is None else outputs[position])

    def ask(items: list[Any]) -> Any:
        block = np.empty((len(items), len(model.categories_)), dtype=object)
        for other, categories in enumerate(model.categories_):
            block[:, other] = categories[0]
        block[:, position] = [np.nan if item is None else item for item in items]
        if all(np.asarray(each).dtype.kind in "biuf" for each in model.categories_):
            block = block.astype(np.float64)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = _bare(model).transform(block)
        return as_double(found.toarray() if hasattr(found, "toarray") else found)[:, start:stop]

    unknown_item: Any = _TEXT_UNKNOWN if _is_text(known) else _unlike(known)
    try:
        table = ask(known)
    except (ValueError, TypeError) as exc:
        raise Unconvertible(step, f"column {position}: {exc}") from exc
    try:
        return table, ask([unknown_item])[0]
    except ValueError:
        return table, None


def _bare(model: Any) -> Any:
    """The encoder without names of columns and pandas, for an array."""
    import copy

    bare = copy.copy(model)
    for name in ("feature_names_in_", "_sklearn_output_config"):
        if hasattr(bare, name):
            delattr(bare, name)
    return bare


def _is_text(known: list[Any]) -> bool:
    return any(isinstance(item, str) for item in known)


def _unlike(known: list[Any]) -> float:
    return next(number for number in _NUMBER_UNKNOWNS if number not in known)


def _column(
    front: Front, step: str, column: Table | Matrix, known: list[Any], table: Any, unknown: Any
) -> Matrix:
    graph = front.graph
    cells = column.columns[0] if isinstance(column, Table) else None
    if _is_text(known) != bool(cells and cells.text):
        raise Unconvertible(step, "categories and signature are of different types")
    if cells is not None and cells.text:
        equal = _equal_texts(front, cells, known, unknown)
    else:
        equal = _equal_numbers(front, step, column, known, unknown)
    matched = graph.cast(equal, "float64")
    ref, gaps = (graph.op("MatMul", matched, graph.constant(part)) for part in _parted(table))
    may_be_nan = np.isnan(table).any()
    if unknown is not None and unknown.any():
        rest = graph.op("Sub", graph.constant(1.0), graph.total(matched))
        more = [graph.op("Mul", rest, graph.constant(part)) for part in _parted(unknown.reshape(1, -1))]
        ref, gaps = graph.op("Add", ref, more[0]), graph.op("Add", gaps, more[1])
        may_be_nan |= np.isnan(unknown).any()
    if may_be_nan:
        is_nan = graph.op("Greater", gaps, graph.constant(0.0))
        ref = graph.op("Where", is_nan, graph.constant(math.nan), ref)
    return Matrix(ref=ref, width=table.shape[1], finite=not may_be_nan)


def _parted(table: Any) -> tuple[Any, Any]:
    """The numbers of `table` with zeros for NaN, and ones where NaN was: no product may meet NaN."""
    gaps = np.isnan(table)
    return np.where(gaps, 0.0, table), gaps.astype(np.float64)


def _equal_texts(front: Front, cells: Cells, known: list[Any], unknown: Any) -> str:
    graph = front.graph
    if not all(item is None or isinstance(item, str) for item in known):
        step = f"column {cells.name}"
        raise Unconvertible(step, "its categories are text and other things")
    if None in known or unknown is not None:
        front.accept_missing(cells)
    if unknown is None:
        front.allow(cells, known)
    texts = [MISSING if item is None else item for item in known]
    return graph.op("Equal", front.text(cells), graph.constant([texts], str))


def _equal_numbers(front: Front, step: str, column: Table | Matrix, known: list[Any], unknown: Any) -> str:
    graph = front.graph
    matrix = front.double(front.matrix(column, step))
    front.check(matrix, nan=False)
    if unknown is None:
        if not isinstance(column, Table) or column.columns[0].ref is not None:
            raise Unconvertible(step, "refuses unknown categories of a computed column")
        front.allow(column.columns[0], known)
    numbers = as_double([np.nan if item is None else item for item in known])
    equal = graph.op("Equal", matrix.ref, graph.constant(numbers.reshape(1, -1)))
    if None in known:
        nan = np.isnan(numbers).reshape(1, -1)
        is_nan = graph.op("And", graph.op("IsNaN", matrix.ref), graph.constant(nan, np.bool_))
        equal = graph.op("Or", equal, is_nan)
    return equal


TRANSFORMERS: dict[str, Transform] = {"OneHotEncoder": _encoder, "OrdinalEncoder": _encoder}
