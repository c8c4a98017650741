"""Transformers from numbers to numbers, column by column or as a product of matrices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from servegen.accelerate.estimators import Transform
from servegen.accelerate.graph import Graph, Unconvertible
from servegen.accelerate.tables import (
    MISSING,
    Front,
    Matrix,
    Table,
    as_double,
    as_matrix,
    concat,
    pick,
    scaled,
)


def _numbers(front: Front, step: str, value: Table | Matrix, *, nan: bool = True) -> Matrix:
    """The input of a transformer, which may or may not hold NaN."""
    matrix = front.exact(front.matrix(value, step), step)
    front.check(matrix, nan=not nan)
    return matrix


def _made(matrix: Matrix, ref: str, width: int | None = None) -> Matrix:
    return replace(matrix, ref=ref, width=width or matrix.width, dtype="float64", source=(), origin=())


def _shift(front: Front, value: str, kind: str, amount: Any) -> str:
    return value if amount is None else front.graph.op(kind, value, front.graph.constant(as_double(amount)))


def _standard(front: Front, step: str, model: Any, value: Table | Matrix) -> Matrix:
    matrix = _numbers(front, step, value)
    mean, scale = model.mean_ if model.with_mean else None, model.scale_ if model.with_std else None
    return _centred(front, matrix, mean, scale)


def _robust(front: Front, step: str, model: Any, value: Table | Matrix) -> Matrix:
    matrix = _numbers(front, step, value)
    centre, scale = (
        model.center_ if model.with_centering else None,
        model.scale_ if model.with_scaling else None,
    )
    return _centred(front, matrix, centre, scale)


def _centred(front: Front, matrix: Matrix, centre: Any, scale: Any) -> Matrix:
    """`matrix` less `centre`, divided by `scale`."""
    middle, width = 0.0 if centre is None else as_double(centre), 1.0 if scale is None else as_double(scale)
    front.reveal_spans(matrix, middle - 6 * width, middle + 6 * width)
    ref = _shift(front, _shift(front, matrix.ref, "Sub", centre), "Div", scale)
    return scaled(matrix, ref, 1 / width, -middle / width)


def _min_max(front: Front, step: str, model: Any, value: Table | Matrix) -> Matrix:
    matrix = _numbers(front, step, value)
    ref = _shift(front, _shift(front, matrix.ref, "Mul", model.scale_), "Add", model.min_)
    if getattr(model, "clip", False):
        low, high = model.feature_range
        # Min and Max let NaN pass, as np.clip does.
        ref = front.graph.op(
            "Min", front.graph.op("Max", ref, front.graph.constant(low)), front.graph.constant(high)
        )
    lows, highs = as_double(model.data_min_), as_double(model.data_max_)
    front.reveal_spans(matrix, lows - (highs - lows), highs + (highs - lows))
    return scaled(matrix, ref, as_double(model.scale_), as_double(model.min_))


def _max_abs(front: Front, step: str, model: Any, value: Table | Matrix) -> Matrix:
    if getattr(model, "clip", False):
        raise Unconvertible(step, "clip=True")
    matrix = _numbers(front, step, value)
    scale = as_double(model.scale_)
    front.reveal_spans(matrix, -2 * scale, 2 * scale)
    return scaled(matrix, _shift(front, matrix.ref, "Div", scale), 1 / scale, 0.0)


def normalized(graph: Graph, ref: str, norm: str) -> str:
    """Rows of length one; rows of nothing but zeros stay so."""
    if norm == "l2":
        length = graph.op("Sqrt", graph.total(graph.op("Mul", ref, ref)))
    elif norm == "l1":
        length = graph.total(graph.op("Abs", ref))
    else:
        length = graph.op("ReduceMax", graph.op("Abs", ref), graph.constant([1], np.int64), keepdims=1)
    zero = graph.op("Equal", length, graph.constant(0.0))
    return graph.op("Div", ref, graph.op("Where", zero, graph.constant(1.0), length))


def _normalizer(front: Front, step: str, model: Any, value: Table | Matrix) -> Matrix:
    matrix = _numbers(front, step, value, nan=False)
    return _made(matrix, normalized(front.graph, matrix.ref, model.norm))


def _binarizer(front: Front, step: str, model: Any, value: Table | Matrix) -> Matrix:
    matrix = _numbers(front, step, value, nan=False)
    above = front.graph.op("Greater", matrix.ref, front.graph.constant(float(model.threshold)))
    return replace(_made(matrix, front.graph.cast(above, "float64")), finite=True)


def _imputer(front: Front, step: str, model: Any, value: Table | Matrix) -> Table | Matrix:
    statistics = np.asarray(model.statistics_, dtype=object)
    lacking = [i for i, item in enumerate(statistics) if isinstance(item, float) and np.isnan(item)]
    if lacking and not getattr(model, "keep_empty_features", False):
        raise Unconvertible(step, f"column {lacking[0]} had no value in training")
    gaps = model.missing_values
    if isinstance(value, Table) and any(each.text for each in value.columns):
        return _imputed_texts(front, step, model, value)
    matrix = front.exact(front.matrix(value, step), step)
    graph = front.graph
    is_nan = isinstance(gaps, float) and np.isnan(gaps)
    if is_nan:
        front.check(matrix, nan=False)
        missing = graph.op("IsNaN", matrix.ref)
    elif isinstance(gaps, (int, float)):
        front.check(matrix)
        missing = graph.op("Equal", matrix.ref, graph.constant(float(gaps)))
    else:
        raise Unconvertible(step, f"missing_values={gaps!r}")
    filled = graph.op("Where", missing, graph.constant(statistics.astype(np.float64)), matrix.ref)
    result = replace(_made(matrix, filled), origin=matrix.origin)
    return _indicated(front, model, result, missing)


def _indicated(front: Front, model: Any, result: Matrix, missing: str) -> Matrix:
    """`result`, and beside it which values were missing when the imputer says so."""
    if not model.add_indicator:
        return result
    flags = front.graph.cast(front.graph.take(missing, list(model.indicator_.features_)), "float64")
    return concat(front, [result, Matrix(ref=flags, width=len(model.indicator_.features_), finite=True)])


def _imputed_texts(front: Front, step: str, model: Any, value: Table) -> Table:
    if model.add_indicator:
        raise Unconvertible(step, "add_indicator=True beside text")
    graph = front.graph
    columns = []
    for cells, fill in zip(value.columns, model.statistics_, strict=True):
        if not cells.text:
            raise Unconvertible(step, "fills text and numbers together")
        front.accept_missing(cells)
        text = front.text(cells)
        absent = graph.op("Equal", text, graph.constant([[MISSING]], str))
        columns.append(
            replace(cells, ref=graph.op("Where", absent, graph.constant([[str(fill)]], str), text))
        )
    return Table(columns=tuple(columns))


def _indicator(front: Front, step: str, model: Any, value: Table | Matrix) -> Matrix:
    if not (isinstance(model.missing_values, float) and np.isnan(model.missing_values)):
        raise Unconvertible(step, f"missing_values={model.missing_values!r}")
    matrix = front.double(front.matrix(value, step))
    front.check(matrix, nan=False)
    flags = front.graph.cast(front.graph.op("IsNaN", matrix.ref), "float64")
    kept = list(model.features_)
    return Matrix(ref=front.graph.take(flags, kept), width=len(kept), finite=True)


def _polynomial(front: Front, step: str, model: Any, value: Table | Matrix) -> Matrix:
    matrix = _numbers(front, step, value, nan=False)
    graph = front.graph
    powers = model.powers_
    parts: dict[tuple[int, ...], str] = {}
    for row in powers:
        factors = tuple(int(i) for i in np.repeat(np.arange(len(row)), row))
        if not factors:
            ones = graph.op("Mul", graph.take(matrix.ref, [0]), graph.constant(0.0))
            parts[factors] = graph.op("Add", ones, graph.constant(1.0))
        elif len(factors) == 1 or factors[:-1] not in parts:
            parts[factors] = _product(graph, matrix.ref, factors)
        else:
            parts[factors] = graph.op("Mul", parts[factors[:-1]], graph.take(matrix.ref, [factors[-1]]))
    columns = list(parts.values())
    ref = columns[0] if len(columns) == 1 else graph.op("Concat", *columns, axis=1)
    return _made(matrix, ref, len(columns))


def _product(graph: Graph, matrix: str, factors: Sequence[int]) -> str:
    result = graph.take(matrix, [factors[0]])
    for factor in factors[1:]:
        result = graph.op("Mul", result, graph.take(matrix, [factor]))
    return result


def _components(front: Front, step: str, model: Any, value: Table | Matrix) -> Matrix:
    """PCA, TruncatedSVD: centred or not, times the components."""
    matrix = _numbers(front, step, value, nan=False)
    graph = front.graph
    weights = as_double(model.components_).T
    ref = graph.op("MatMul", matrix.ref, graph.constant(weights))
    mean = getattr(model, "mean_", None)
    if mean is not None:
        ref = graph.op("Sub", ref, graph.constant(as_double(mean) @ weights))
    if getattr(model, "whiten", False):
        scale = np.sqrt(as_double(model.explained_variance_))
        # As scikit-learn does, so that components of no variance are no division by zero.
        floor = np.finfo(scale.dtype).eps
        ref = graph.op("Div", ref, graph.constant(np.where(scale < floor, floor, scale)))
    return _made(matrix, ref, weights.shape[1])


def _selector(front: Front, step: str, model: Any, value: Table | Matrix) -> Table | Matrix:
    # One that takes NaN looks at nothing, and so takes infinity, too.
    if not _allows_nan(model) and (isinstance(value, Matrix) or not any(c.text for c in value.columns)):
        value = front.matrix(value, step)
        front.check(value)
    return pick(front, value, [int(i) for i in np.flatnonzero(model.get_support())])


def _allows_nan(model: Any) -> bool:
    """Whether a selector lets NaN pass, which its tags say."""
    tags = getattr(model, "__sklearn_tags__", None)
    if tags is not None:
        return bool(tags().input_tags.allow_nan)
    return bool(model._get_tags().get("allow_nan", False))


def _bins(front: Front, step: str, model: Any, value: Table | Matrix) -> Matrix:
    matrix = _numbers(front, step, value, nan=False)
    graph = front.graph
    codes = []
    for position, edges in enumerate(model.bin_edges_):
        column = graph.take(matrix.ref, [position])
        front.reveal_spans(as_matrix(pick(front, matrix, [position])), edges[0], edges[-1])
        reached = graph.op("GreaterOrEqual", column, graph.constant(as_double(edges[1:-1]).reshape(1, -1)))
        codes.append(graph.total(graph.cast(reached, "float64")))
    if model.encode != "ordinal":
        codes = [
            graph.cast(
                graph.op("Equal", code, graph.constant(np.arange(count, dtype=float).reshape(1, -1))),
                "float64",
            )
            for code, count in zip(codes, model.n_bins_, strict=True)
        ]
    width = len(codes) if model.encode == "ordinal" else int(sum(model.n_bins_))
    ref = codes[0] if len(codes) == 1 else graph.op("Concat", *codes, axis=1)
    return replace(_made(matrix, ref, width), finite=True)


_FUNCTIONS = {"log1p", "log", "sqrt", "exp", "expm1", "abs", "absolute", "square", "negative"}


def _function(front: Front, step: str, model: Any, value: Table | Matrix) -> Table | Matrix:
    function = model.func
    if function is None:
        return value
    name = getattr(function, "__name__", "")
    if not is_universal(function) or model.kw_args:
        raise Unconvertible(step, f"calls Python ({name or type(function).__name__})")
    matrix = front.exact(front.matrix(value, step), step)
    if model.validate:
        front.check(matrix)
    return _made(matrix, universal(front.graph, name, matrix.ref))


def is_universal(function: Any) -> bool:
    """Whether `universal` has a form of a function of numpy."""
    return isinstance(function, np.ufunc) and function.__name__ in _FUNCTIONS


def universal(graph: Graph, name: str, ref: str) -> str:
    """What the function of numpy called `name` makes of `ref`."""
    one = graph.constant(1.0)
    if name == "log1p":
        return graph.op("Log", graph.op("Add", ref, one))
    if name == "expm1":
        return graph.op("Sub", graph.op("Exp", ref), one)
    if name == "square":
        return graph.op("Mul", ref, ref)
    kinds = {"log": "Log", "sqrt": "Sqrt", "exp": "Exp", "abs": "Abs", "absolute": "Abs", "negative": "Neg"}
    return graph.op(kinds[name], ref)


TRANSFORMERS: dict[str, Transform] = {
    "StandardScaler": _standard,
    "RobustScaler": _robust,
    "MinMaxScaler": _min_max,
    "MaxAbsScaler": _max_abs,
    "Normalizer": _normalizer,
    "Binarizer": _binarizer,
    "SimpleImputer": _imputer,
    "MissingIndicator": _indicator,
    "PolynomialFeatures": _polynomial,
    "PCA": _components,
    "TruncatedSVD": _components,
    **dict.fromkeys(
        (
            *("VarianceThreshold", "SelectKBest", "SelectPercentile", "SelectFromModel", "RFE", "RFECV"),
            *("SelectFdr", "SelectFpr", "SelectFwe", "GenericUnivariateSelect"),
        ),
        _selector,
    ),
    "KBinsDiscretizer": _bins,
    "FunctionTransformer": _function,
}
