"""Boosted trees of LightGBM, which compares and sums in double precision."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from servegen.accelerate.convert import Loaded, Made
from servegen.accelerate.estimators import Classifier, Regressor
from servegen.accelerate.estimators.linear import two_classes
from servegen.accelerate.graph import Graph, Unconvertible, argmax, sigmoid, softmax
from servegen.accelerate.sklearn import answer
from servegen.accelerate.tables import Front, Matrix, Table
from servegen.accelerate.trees import Tree, sum_trees

LIBRARIES = ("lightgbm", "onnx")
_STEP = "lightgbm"
_PLAIN = ("regression", "regression_l1", "huber", "fair", "quantile", "mape", "lambdarank", "rank_xendcg")
_ZERO = float(np.float32(1e-35))
"""LightGBM takes numbers up to this size for zero when it reads a row."""
_EXPONENTIAL = ("poisson", "gamma", "tweedie")


def convert(loaded: Loaded) -> Made:
    """The graph of a Booster or of a model of its interface for scikit-learn."""
    front = Front(graph=Graph())
    made = predicted(front, _STEP, loaded.native, front.table(loaded.signature))
    output = answer(front.graph, made, loaded.function, loaded.native)
    return Made(graph=front.graph, front=front, outputs=(output,))


def predicted(front: Front, step: str, model: Any, value: Table | Matrix) -> Classifier | Regressor:
    """What `model` says of `value`, alone or as the last step of a pipeline of scikit-learn."""
    graph = front.graph
    dump = (model.booster_ if hasattr(model, "booster_") else model).dump_model()
    if dump.get("pandas_categorical"):
        raise Unconvertible(step, "columns of categories")
    matrix = front.double(front.matrix(value, step))
    width = int(dump["num_tree_per_iteration"])
    trees = [_tree(step, each, number % width, width) for number, each in enumerate(dump["tree_info"])]
    front.reveal_trees(matrix, trees)
    raw = sum_trees(graph, matrix.ref, trees)
    if dump["average_output"]:
        raw = graph.op("Div", raw, graph.constant(float(len(trees) // width)))
    return _linked(graph, step, model, dump.get("objective"), raw, width)


def _tree(step: str, info: dict[str, Any], target: int, width: int) -> Tree:
    rows: list[dict[str, Any]] = []
    waiting = [(info["tree_structure"], -1, "left")]
    while waiting:
        node, parent, side = waiting.pop()
        number = len(rows)
        if parent >= 0:
            rows[parent][side] = number
        if "split_feature" not in node:
            if "leaf_coeff" in node:
                raise Unconvertible(step, "leaves hold linear models")
            rows.append({"left": -1, "right": -1, "value": node["leaf_value"]})
            continue
        rows.append(_split(step, node))
        waiting += [(node["right_child"], number, "right"), (node["left_child"], number, "left")]
    values = np.full((len(rows), width), np.nan)
    values[:, target] = [row.get("value", np.nan) for row in rows]
    return Tree(
        left=np.array([row["left"] for row in rows]),
        right=np.array([row["right"] for row in rows]),
        feature=np.array([row.get("feature", 0) for row in rows]),
        threshold=np.array([row.get("threshold", 0.0) for row in rows]),
        missing_left=np.array([row.get("missing", False) for row in rows]),
        values=values,
    )


def _split(step: str, node: dict[str, Any]) -> dict[str, Any]:
    if node["decision_type"] != "<=":
        raise Unconvertible(step, "splits on categories")
    if node["missing_type"] == "Zero":
        raise Unconvertible(step, "takes zero for a missing value")
    threshold = float(node["threshold"])
    # Where training saw no NaN, it counts as zero.
    missing = bool(node["default_left"]) if node["missing_type"] == "NaN" else threshold >= 0.0
    found = {"feature": node["split_feature"], "threshold": _beside_zero(threshold), "missing": missing}
    return found | {"left": -1, "right": -1}


def _beside_zero(threshold: float) -> float:
    """The threshold that parts all numbers as `threshold` does where those of at most _ZERO count as zero."""
    if abs(threshold) > _ZERO:
        return threshold
    return _ZERO if threshold >= 0.0 else math.nextafter(-_ZERO, -math.inf)


def _linked(
    graph: Graph, step: str, model: Any, objective: str | None, raw: str, width: int
) -> Classifier | Regressor:
    classes = getattr(model, "classes_", None) if hasattr(model, "booster_") else None
    if objective is None and classes is not None:
        raise Unconvertible(step, "an objective of its own, which says nothing of classes")
    name, *settings = (objective or "regression").split()
    options = dict(part.split(":") for part in settings if ":" in part)
    if name in ("binary", "multiclassova"):
        scale = float(options.get("sigmoid", 1))
        value = sigmoid(graph, graph.op("Mul", raw, graph.constant(scale)))
    elif name in ("cross_entropy", "xentropy"):
        value = sigmoid(graph, raw)
    elif name == "multiclass":
        value = softmax(graph, raw)
    elif name in _EXPONENTIAL:
        value = graph.op("Exp", raw)
    elif name in _PLAIN:
        value = raw
        if "sqrt" in settings:
            value = graph.op("Mul", graph.op("Mul", graph.op("Sign", raw), raw), raw)
    else:
        raise Unconvertible(step, f"objective {objective}")
    if classes is None:
        return Regressor(value=value, targets=width if width > 1 else None)
    chances = two_classes(graph, value) if width == 1 else value
    scores: dict[str, tuple[str, int | None]] = {
        "predict_proba": (chances, len(classes)),
        "decision_function": (raw, None if width == 1 else width),
    }
    return Classifier(classes=classes, index=argmax(graph, chances), scores=scores)
