"""Boosted trees of XGBoost, compared and summed as it does: in single precision, tree after tree."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from servegen.accelerate.convert import Loaded, Made
from servegen.accelerate.graph import Graph, Unconvertible, argmax, sigmoid, softmax
from servegen.accelerate.tables import Front
from servegen.accelerate.trees import LESS, Tree, constant_tree, split_targets, sum_trees
from servegen.server.accelerated import Output

LIBRARIES = ("xgboost", "xgboost-cpu", "onnx")
_STEP = "xgboost"
_PLAIN = ("reg:squarederror", "reg:absoluteerror", "reg:pseudohubererror", "reg:quantileerror")
_RANKS = ("binary:logitraw", "rank:ndcg", "rank:map", "rank:pairwise", "binary:hinge")
_LOGISTIC = ("binary:logistic", "reg:logistic")
_EXPONENTIAL = ("count:poisson", "reg:gamma", "reg:tweedie")


def convert(loaded: Loaded) -> Made:
    """The graph of a Booster or of a model of its interface for scikit-learn."""
    model = loaded.native
    wrapped = hasattr(model, "get_booster")
    booster = model.get_booster() if wrapped else model
    learner = json.loads(bytes(booster.save_raw("json")))["learner"]
    graph = Graph()
    front = Front(graph=graph)
    matrix = front.matrix(front.table(loaded.signature, exact_integers=True), _STEP)
    # A DMatrix takes no infinity; what an estimator reads in place is not looked at.
    front.check(matrix, nan=False, infinity=not wrapped, single=True)
    best = learner.get("attributes", {}).get("best_iteration")
    trees, width = _trees(learner, int(best) + 1 if wrapped and best is not None else None)
    front.reveal_trees(matrix, trees)
    first = split_targets(constant_tree(_begin(learner, width)))
    single = graph.cast(matrix.ref, "float32") if matrix.dtype != "float32" else matrix.ref
    margin = sum_trees(graph, single, [*first, *trees], dtype="float32")
    output = _answer(graph, model, learner["objective"]["name"], margin, width, wrapped=wrapped)
    return Made(graph=graph, front=front, outputs=(output,), refuses_empty=False)


def _trees(learner: dict[str, Any], rounds: int | None) -> tuple[list[Tree], int]:
    booster = learner["gradient_booster"]
    if booster["name"] != "gbtree":
        raise Unconvertible(_STEP, f"booster {booster['name']}")
    model = booster["model"]
    width = max(1, int(learner["learner_model_param"]["num_class"]))
    if int(learner["learner_model_param"].get("num_target", 1)) > 1:
        raise Unconvertible(_STEP, "several targets")
    count = len(model["trees"])
    if rounds is not None:
        parallel = int(model["gbtree_model_param"].get("num_parallel_tree", 1))
        count = min(count, rounds * width * parallel)
    trees = []
    for tree, target in zip(model["trees"][:count], model["tree_info"][:count], strict=True):
        if any(tree["split_type"]):
            raise Unconvertible(_STEP, "splits on categories")
        left = np.array(tree["left_children"])
        conditions = np.array(tree["split_conditions"], dtype=np.float32).astype(np.float64)
        values = np.full((len(left), width), np.nan)
        # A leaf keeps its value where other nodes keep their threshold.
        values[:, target] = conditions
        trees.append(
            Tree(
                left=left,
                right=np.array(tree["right_children"]),
                feature=np.array(tree["split_indices"]),
                threshold=conditions,
                missing_left=np.array(tree["default_left"], dtype=bool),
                values=values,
                mode=LESS,
            )
        )
    return trees, width


def _begin(learner: dict[str, Any], width: int) -> Any:
    """What the sum begins with, in the space of the margin."""
    text = learner["learner_model_param"]["base_score"]
    scores = json.loads(text) if text.startswith("[") else [float(text)]
    base = np.array(scores, dtype=np.float32)
    objective = learner["objective"]["name"]
    if objective in _LOGISTIC or objective == "binary:logitraw":
        base = -np.log(np.float32(1) / base - np.float32(1))
    elif objective in _EXPONENTIAL:
        base = np.log(base)
    return np.broadcast_to(base, (width,)).astype(np.float64)


def _answer(graph: Graph, model: Any, objective: str, margin: str, width: int, *, wrapped: bool) -> Output:
    classifies = wrapped and hasattr(model, "classes_")
    if objective in _PLAIN or (objective in _RANKS and not classifies and objective != "binary:hinge"):
        value = margin
    elif objective in _LOGISTIC:
        value = _single(graph, sigmoid(graph, graph.cast(margin, "float64")))
    elif objective in _EXPONENTIAL:
        value = _single(graph, graph.op("Exp", graph.cast(margin, "float64")))
    elif objective in ("multi:softprob", "multi:softmax"):
        value = _single(graph, softmax(graph, graph.cast(margin, "float64")))
    else:
        raise Unconvertible(_STEP, f"objective {objective}")
    if classifies:
        above = graph.op("Greater", value, graph.constant(0.5, np.float32))
        index = argmax(graph, value) if width > 1 else graph.reshape(graph.cast(above, "int64"), [-1])
        graph.output(index, "answer", "int64", 1)
        # Binary answers are of 32 or 64 bits by version, which JSON does not tell apart.
        return Output(name="answer", dtype="int64", shape=(-1,))
    if objective == "multi:softmax":
        graph.output(graph.cast(argmax(graph, value), "float32"), "answer", "float32", 1)
        return Output(name="answer", dtype="float32", shape=(-1,))
    graph.output(value, "answer", "float32")
    return Output(name="answer", dtype="float32", shape=(-1, width) if width > 1 else (-1,))


def _single(graph: Graph, value: str) -> str:
    return graph.cast(value, "float32")
