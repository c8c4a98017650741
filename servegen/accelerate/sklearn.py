"""Estimators and pipelines of scikit-learn: the known ones in double precision, the rest by skl2onnx."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from servegen.accelerate.convert import Loaded, Made
from servegen.accelerate.ensembles import ENSEMBLES
from servegen.accelerate.estimators import (
    Classifier,
    Predict,
    Regressor,
    Transform,
    bayes,
    encoders,
    forests,
    linear,
    scalers,
    texts,
)
from servegen.accelerate.graph import OPSET, Graph, Unconvertible, argmax, unexpected
from servegen.accelerate.tables import SIGNATURE, Cells, Front, Matrix, Table, concat, pick
from servegen.server.accelerated import Output

_LABELS = "labels"
LIBRARIES = ("scikit-learn", "skl2onnx", "onnx")


def convert(loaded: Loaded) -> Made:
    """The graph of a fitted estimator that answers as its method `predict_fn` does."""
    graph = Graph()
    front = Front(graph=graph)
    value = front.table(loaded.signature)
    model = loaded.native
    _check_names(model, value)
    made = predict(front, type(model).__name__, model, value)
    return Made(graph=graph, front=front, outputs=(answer(graph, made, loaded.function, model),))


def answer(graph: Graph, made: Classifier | Regressor, function: str, model: Any) -> Output:
    """The output of the graph that is what the method `function` returns."""
    name = type(model).__name__
    if isinstance(made, Regressor):
        if function != "predict":
            raise Unconvertible(name, f"has no {function}")
        graph.output(made.value, "answer", made.dtype)
        shape = (-1,) if made.targets is None else (-1, made.targets)
        return Output(name="answer", dtype=made.dtype, shape=shape)
    if function == "predict":
        return labels(graph, made.index, made.classes)
    if function not in made.scores:
        raise Unconvertible(name, f"its {function} is not converted")
    value, width = made.scores[function]
    graph.output(value, "answer", "float64")
    return Output(name="answer", dtype="float64", shape=(-1,) if width is None else (-1, width))


def labels(graph: Graph, index: str, classes: Any) -> Output:
    """The output that says a class of each row."""
    graph.output(index, "answer", "int64", 1)
    labels = np.asarray(classes)
    if not all(isinstance(label, str | int | float) for label in labels.tolist()):
        raise Unconvertible(_LABELS, f"{labels.tolist()[0]!r} has no form as JSON")
    if labels.dtype.kind in "iu" and list(labels) == list(range(len(labels))):
        return Output(name="answer", dtype=str(labels.dtype), shape=(-1,))
    dtype = "object" if labels.dtype.kind in "OUS" else str(labels.dtype)
    return Output(name="answer", dtype=dtype, shape=(-1,), classes=tuple(labels.tolist()))


def predict(front: Front, step: str, model: Any, value: Table | Matrix) -> Classifier | Regressor:
    """What the estimator `model` says of `value`."""
    name = _name(model)
    if name == "Pipeline":
        for label, inner in model.steps[:-1]:
            value = transform(front, f"pipeline step {label!r} ({type(inner).__name__})", inner, value)
        label, last = model.steps[-1]
        return predict(front, f"pipeline step {label!r} ({type(last).__name__})", last, value)
    with _named(step):
        if type(model).__module__.startswith("lightgbm."):
            # Here, because its file converts models of its own flavor by this one.
            from servegen.accelerate.lightgbm import predicted

            return predicted(front, step, model, value)
        return _PREDICTORS.get(name, _by_skl2onnx)(front, step, model, value)


def transform(front: Front, step: str, model: Any, value: Table | Matrix) -> Table | Matrix:
    """What the transformer `model` makes of `value`."""
    if model is None or model == "passthrough":
        return value
    name = _name(model)
    if getattr(model, "_sklearn_output_config", {}).get("transform") not in (None, "default", "pandas"):
        raise Unconvertible(step, "gives frames of another library than pandas")
    if name == "Pipeline":
        for label, inner in model.steps:
            value = transform(front, f"pipeline step {label!r} ({type(inner).__name__})", inner, value)
        return value
    with _named(step):
        if np.dtype(getattr(model, "dtype", None)) == np.float32:
            raise Unconvertible(step, "gives floats of 32 bits")
        return _TRANSFORMERS.get(name, _transformed_by_skl2onnx)(front, step, model, value)


@contextlib.contextmanager
def _named(step: str) -> Iterator[None]:
    """Says of an estimator that is built in another way than was expected which one it is."""
    try:
        yield
    except Unconvertible:
        raise
    except Exception as exc:
        raise unexpected(step, exc) from exc


def _name(model: Any) -> str:
    """The class of an estimator of scikit-learn itself; a subclass may do anything."""
    cls = type(model)
    return cls.__name__ if cls.__module__.startswith("sklearn.") else ""


def _check_names(model: Any, value: Table | Matrix) -> None:
    names = getattr(model, "feature_names_in_", None)
    if names is None or isinstance(value, Matrix):
        return
    ours = [each.name for each in value.columns]
    if set(map(str, names)) - set(ours):
        raise Unconvertible(SIGNATURE, "lacks a column that the model was trained with")


def _columns(front: Front, step: str, model: Any, value: Table | Matrix) -> Table | Matrix:
    """ColumnTransformer."""
    names = getattr(model, "feature_names_in_", None)
    place: Mapping[str, int] = {}
    if isinstance(value, Table) and names is not None:
        place = {each.name: position for position, each in enumerate(value.columns)}
    parts = []
    for label, inner, _ in model.transformers_:
        positions = list(model._transformer_to_input_indices.get(label, []))
        if place and names is not None:
            if not set(names) <= set(place):
                raise Unconvertible(step, "picks columns by names that a step before it has made")
            positions = [place[str(names[position])] for position in positions]
        if isinstance(inner, str) and inner == "drop":
            continue
        if not positions:
            continue
        inner_step = f"column transformer {label!r} ({type(inner).__name__})"
        parts.append(transform(front, inner_step, inner, pick(front, value, positions)))
    return side_by_side(front, model, step, parts)


def _union(front: Front, step: str, model: Any, value: Table | Matrix) -> Table | Matrix:
    """FeatureUnion."""
    parts = [
        transform(front, f"feature union {label!r} ({type(inner).__name__})", inner, value)
        for label, inner in model.transformer_list
        if not (isinstance(inner, str) and inner == "drop")
    ]
    return side_by_side(front, model, step, parts)


def side_by_side(front: Front, model: Any, step: str, parts: Sequence[Table | Matrix]) -> Table | Matrix:
    """Columns of the several transformers of `model` in one table or matrix."""
    if model.transformer_weights:
        raise Unconvertible(step, "transformer_weights")
    if not parts:
        raise Unconvertible(step, "leaves no column")
    if not any(isinstance(part, Table) and any(each.text for each in part.columns) for part in parts):
        return concat(front, [front.matrix(part, step) for part in parts])
    columns: list[Cells] = []
    for number, part in enumerate(parts):
        if isinstance(part, Table):
            columns += part.columns
            continue
        part = front.exact(part, step)
        columns += [
            Cells(
                name=f"{step} {number}.{position}",
                text=False,
                source="",
                position=0,
                ref=part.ref if part.width == 1 else front.graph.take(part.ref, [position]),
            )
            for position in range(part.width)
        ]
    return Table(columns=tuple(columns))


def _by_skl2onnx(front: Front, step: str, model: Any, value: Table | Matrix) -> Classifier | Regressor:
    outputs = _inlined(front, step, model, value)
    graph = front.graph
    if hasattr(model, "classes_"):
        if len(outputs) < 2 or not isinstance(model.classes_, np.ndarray):
            raise Unconvertible(step, f"{type(model).__name__} is not converted")
        chances = graph.cast(outputs[1], "float64")
        # The label comes as such, and the answer wants its position.
        kind = str if model.classes_.dtype.kind in "OUS" else np.int64
        known = graph.constant(model.classes_.reshape(1, -1), kind)
        equal = graph.op("Equal", graph.reshape(outputs[0], [-1, 1]), known)
        index = argmax(graph, graph.cast(equal, "int64"))
        scores: dict[str, tuple[str, int | None]] = {"predict_proba": (chances, len(model.classes_))}
        return Classifier(classes=model.classes_, index=index, scores=scores)
    if not hasattr(model, "predict"):
        raise Unconvertible(step, "does not predict")
    return Regressor(value=graph.cast(outputs[0], "float64"))


def _transformed_by_skl2onnx(front: Front, step: str, model: Any, value: Table | Matrix) -> Matrix:
    outputs = _inlined(front, step, model, value)
    widths = getattr(model, "get_feature_names_out", None)
    if widths is None:
        raise Unconvertible(step, "does not say how many columns it makes")
    return Matrix(ref=front.graph.cast(outputs[0], "float64"), width=len(widths()))


def _inlined(front: Front, step: str, model: Any, value: Table | Matrix) -> list[str]:
    from skl2onnx import to_onnx
    from skl2onnx.common.data_types import DoubleTensorType

    if isinstance(value, Table) and any(each.text for each in value.columns):
        raise Unconvertible(step, "is not converted where it takes text")
    matrix = front.exact(front.matrix(value, step), step)
    front.check(matrix, nan=not _takes_nan(model))
    options = {id(model): {"zipmap": False}} if hasattr(model, "classes_") else None
    opsets = {"": OPSET["ai.onnx"], "ai.onnx.ml": 3}
    try:
        proto = to_onnx(
            model,
            initial_types=[("X", DoubleTensorType([None, matrix.width]))],
            target_opset=opsets,
            options=options,
        )
        if proto.functions or not _is_double(proto.graph):
            raise Unconvertible(step, "skl2onnx would compute in single precision")
        return front.graph.inline(proto, [matrix.ref])
    except Unconvertible:
        raise
    except Exception as exc:
        text = " ".join(str(exc).split())[:200]
        raise Unconvertible(step, f"skl2onnx does not convert it: {text}") from exc


def _is_double(graph: Any) -> bool:
    """Whether nothing in an ONNX graph is of 32 bits: no weight, no tensor, no cast."""
    from onnx import AttributeProto, TensorProto

    if any(tensor.data_type == TensorProto.FLOAT for tensor in graph.initializer):
        return False
    for node in graph.node:
        for each in node.attribute:
            if each.type == AttributeProto.FLOATS or (each.name == "to" and each.i == TensorProto.FLOAT):
                return False
            if each.type == AttributeProto.TENSOR and each.t.data_type == TensorProto.FLOAT:
                return False
            if each.type == AttributeProto.GRAPH and not _is_double(each.g):
                return False
    return True


def _takes_nan(model: Any) -> bool:
    tags = getattr(model, "__sklearn_tags__", None)
    return bool(tags is not None and tags().input_tags.allow_nan)


_PREDICTORS: dict[str, Predict] = {
    **linear.PREDICTORS,
    **forests.PREDICTORS,
    **bayes.PREDICTORS,
    **{name: partial(convert_within, predict) for name, convert_within in ENSEMBLES.items()},
}
_TRANSFORMERS: dict[str, Transform] = {
    **scalers.TRANSFORMERS,
    **encoders.TRANSFORMERS,
    **texts.TRANSFORMERS,
    "ColumnTransformer": _columns,
    "FeatureUnion": _union,
}
