"""Trees, forests and boosted trees of scikit-learn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from servegen.accelerate.estimators import Classifier, Predict, Regressor
from servegen.accelerate.estimators.linear import logs, positive, two_classes
from servegen.accelerate.graph import Graph, Unconvertible, argmax, sigmoid, softmax
from servegen.accelerate.tables import Front, Matrix, Table, as_matrix, pick
from servegen.accelerate.trees import Tree, constant_tree, split_targets, sum_trees


def grown(model: Any, values: Any, features: Sequence[int] | None = None) -> Tree:
    """The tree of a fitted decision tree, whose nodes hold `values` (nodes, targets).

    scikit-learn rounds the input to float32 and compares it with a threshold in double precision. `features`
    are the columns that the tree was given, where it was not given all.
    """
    tree = model.tree_
    state = tree.__getstate__()["nodes"]
    names = state.dtype.names or ()
    missing = state["missing_go_to_left"] if "missing_go_to_left" in names else np.zeros(len(state))
    return Tree(
        left=tree.children_left,
        right=tree.children_right,
        feature=tree.feature if features is None else np.asarray(features)[np.maximum(tree.feature, 0)],
        threshold=tree.threshold,
        missing_left=np.asarray(missing, dtype=bool),
        values=np.asarray(values, dtype=np.float64),
    )


def rounded(
    front: Front,
    step: str,
    members: Sequence[Any],
    value: Table | Matrix,
    trees: Sequence[Tree],
    *,
    seen: Sequence[int] | None = None,
) -> str:
    """The input of `trees`, those of the decision trees `members`, checked as scikit-learn does.

    `seen` are the columns that any of them was given.
    """
    matrix = front.matrix(value, step)
    front.reveal_trees(matrix, trees)
    takes = getattr(members[0], "_support_missing_values", None)
    probe = np.zeros((1, members[0].n_features_in_), dtype=np.float32)
    looked_at = matrix if seen is None else as_matrix(pick(front, matrix, seen))
    front.check(looked_at, nan=not (takes is not None and takes(probe)), single=True)
    return front.single(matrix).ref


def _members(model: Any) -> tuple[Sequence[Any], bool]:
    """The trees of a model, and whether it is a forest."""
    members = getattr(model, "estimators_", None)
    return ([model], False) if members is None else (list(members), True)


def chances_of(tree: Any) -> Any:
    """The chances of each class in each node of a fitted decision tree."""
    chances = tree.tree_.value[:, 0, :]
    if np.allclose(chances.sum(axis=1), 1.0):
        return chances
    # Before 1.3 a node held counts.
    return chances / chances.sum(axis=1, keepdims=True)


def _classifier(front: Front, step: str, model: Any, value: Table | Matrix) -> Classifier:
    graph = front.graph
    if model.n_outputs_ != 1:
        raise Unconvertible(step, "several labels a row")
    members, forest = _members(model)
    whole = [grown(each, chances_of(each)) for each in members]
    trees = [part for each in whole for part in split_targets(each)]
    total = sum_trees(graph, rounded(front, step, members, value, whole), trees)
    if forest:
        total = graph.op("Div", total, graph.constant(float(len(members))))
    count = len(model.classes_)
    scores = {"predict_proba": (total, count), "predict_log_proba": (logs(graph, total), count)}
    return Classifier(classes=model.classes_, index=argmax(graph, total), scores=dict(scores))


def _regressor(front: Front, step: str, model: Any, value: Table | Matrix) -> Regressor:
    graph = front.graph
    members, forest = _members(model)
    whole = [grown(each, each.tree_.value[:, :, 0]) for each in members]
    trees = [part for each in whole for part in split_targets(each)]
    total = sum_trees(graph, rounded(front, step, members, value, whole), trees)
    if forest:
        total = graph.op("Div", total, graph.constant(float(len(members))))
    return Regressor(value=total, targets=None if model.n_outputs_ == 1 else model.n_outputs_)


def _isolated(front: Front, step: str, model: Any, value: Table | Matrix) -> Classifier:
    """IsolationForest: how deep a row gets before it is alone, summed over the trees."""
    graph = front.graph
    members = list(model.estimators_)
    matrix = front.matrix(value, step)
    subsets = model.estimators_features_ if model._max_features != matrix.width else [None] * len(members)
    lengths = zip(model._decision_path_lengths, model._average_path_length_per_tree, strict=True)
    trees = [
        grown(each, (path + more - 1.0).reshape(-1, 1), features=seen)
        for each, (path, more), seen in zip(members, lengths, subsets, strict=True)
    ]
    front.reveal_trees(matrix, trees)
    depths = sum_trees(graph, front.single(matrix).ref, trees)
    usual = len(members) * float(_path_length(np.array([model._max_samples]))[0])
    if usual <= 0:
        raise Unconvertible(step, "trained on one row alone")
    powers = graph.op("Pow", graph.constant(2.0), graph.op("Div", depths, graph.constant(-usual)))
    scores = graph.op("Neg", powers)
    decision = graph.op("Sub", scores, graph.constant(float(model.offset_)))
    # Rows of equal depth lie on the border when it is drawn by contamination: there no rounding may decide.
    border = _border(lambda depth: -(2 ** -(depth / usual)) - model.offset_)
    inside = graph.op("GreaterOrEqual", depths, graph.constant(border))
    return Classifier(
        classes=np.array([-1, 1]),
        index=graph.reshape(graph.cast(inside, "int64"), [-1]),
        scores={"decision_function": (decision, None), "score_samples": (scores, None)},
    )


def _path_length(counts: Any) -> Any:
    """How deep `counts` rows are in a tree that parts them at random, as scikit-learn computes it."""
    more = np.maximum(counts, 3)
    depth = 2.0 * (np.log(more - 1.0) + np.euler_gamma) - 2.0 * (more - 1.0) / more
    return np.where(counts <= 1, 0.0, np.where(counts == 2, 1.0, depth))


def _border(decision: Callable[[Any], Any]) -> float:
    """The smallest number from zero up of which a `decision` that grows with it is not negative."""
    low, high = np.zeros(1, dtype=np.int64), np.array([1e9]).view(np.int64)
    if decision(high.view(np.float64))[0] < 0:
        return float("inf")
    # Halves the numbers of bits that are left, not their size.
    while low[0] < high[0]:
        middle = low + (high - low) // 2
        if decision(middle.view(np.float64))[0] < 0:
            low = middle + 1
        else:
            high = middle
    return float(high.view(np.float64)[0])


def _staged(front: Front, step: str, model: Any, value: Table | Matrix) -> tuple[str, int]:
    """Raw scores of GradientBoosting: what it begins with, then stage after stage."""
    stages = model.estimators_
    width = stages.shape[1]
    blank = np.zeros((2, model.n_features_in_), dtype=np.float32)
    blank[1] = 1.0
    begin = model._raw_predict_init(blank)
    constant = model.init_ == "zero" or type(model.init_).__name__ in ("DummyClassifier", "DummyRegressor")
    if not constant or not (begin[0] == begin[1]).all():
        raise Unconvertible(step, f"init is {type(model.init_).__name__}, no constant")
    trees = split_targets(constant_tree(begin[0].astype(np.float64)))
    for stage in stages:
        for target, member in enumerate(stage):
            values = np.full((member.tree_.node_count, width), np.nan)
            values[:, target] = model.learning_rate * member.tree_.value[:, 0, 0]
            trees.append(grown(member, values))
    matrix = front.matrix(value, step)
    front.reveal_trees(matrix, trees)
    front.check(matrix, single=True)
    return sum_trees(front.graph, front.single(matrix).ref, trees), width


def _histograms(front: Front, step: str, model: Any, value: Table | Matrix) -> tuple[str, int]:
    """Raw scores of HistGradientBoosting, which compares in double precision and takes NaN."""
    if model.is_categorical_ is not None and any(model.is_categorical_):
        raise Unconvertible(step, "splits on categories")
    begin = np.asarray(model._baseline_prediction, dtype=np.float64).reshape(-1)
    width = len(begin)
    trees = split_targets(constant_tree(begin))
    for stage in model._predictors:
        for target, predictor in enumerate(stage):
            nodes = predictor.nodes
            is_leaf = nodes["is_leaf"].astype(bool)
            values = np.full((len(nodes), width), np.nan)
            values[:, target] = nodes["value"]
            trees.append(
                Tree(
                    left=np.where(is_leaf, -1, nodes["left"].astype(np.int64)),
                    right=np.where(is_leaf, -1, nodes["right"].astype(np.int64)),
                    feature=nodes["feature_idx"],
                    threshold=nodes["num_threshold"],
                    missing_left=nodes["missing_go_to_left"].astype(bool),
                    values=values,
                )
            )
    matrix = front.double(front.matrix(value, step))
    front.reveal_trees(matrix, trees)
    front.check(matrix, nan=False, infinity=False)
    return sum_trees(front.graph, matrix.ref, trees), width


def _raw(front: Front, step: str, model: Any, value: Table | Matrix) -> tuple[str, int]:
    staged = type(model).__name__.startswith("Gradient")
    return (_staged if staged else _histograms)(front, step, model, value)


def _boosted_classifier(front: Front, step: str, model: Any, value: Table | Matrix) -> Classifier:
    graph = front.graph
    loss = model.loss
    if loss not in ("log_loss", "deviance", "auto", "binary_crossentropy", "categorical_crossentropy"):
        raise Unconvertible(step, f"loss {loss}")
    raw, width = _raw(front, step, model, value)
    if width == 1:
        chances = two_classes(graph, sigmoid(graph, raw))
        histograms = type(model).__name__.startswith("Hist")
        index = positive(graph, raw, or_zero=not histograms)
    else:
        chances, index = softmax(graph, raw), argmax(graph, raw)
    count = max(2, width)
    return Classifier(
        classes=model.classes_,
        index=index,
        scores={
            "predict_proba": (chances, count),
            "predict_log_proba": (logs(graph, chances), count),
            "decision_function": (raw, None if width == 1 else width),
        },
    )


def _boosted_regressor(front: Front, step: str, model: Any, value: Table | Matrix) -> Regressor:
    graph = front.graph
    raw, _ = _raw(front, step, model, value)
    return Regressor(value=_linked(graph, step, model, raw))


def _linked(graph: Graph, step: str, model: Any, raw: str) -> str:
    loss = getattr(model, "_loss", None)
    link = type(getattr(loss, "link", None)).__name__
    if link == "LogLink":
        return graph.op("Exp", raw)
    if link not in ("IdentityLink", "NoneType"):
        raise Unconvertible(step, f"link {link}")
    return raw


PREDICTORS: dict[str, Predict] = {
    **dict.fromkeys(
        (
            *("DecisionTreeClassifier", "ExtraTreeClassifier"),
            *("RandomForestClassifier", "ExtraTreesClassifier"),
        ),
        _classifier,
    ),
    **dict.fromkeys(
        (
            *("DecisionTreeRegressor", "ExtraTreeRegressor"),
            *("RandomForestRegressor", "ExtraTreesRegressor"),
        ),
        _regressor,
    ),
    "IsolationForest": _isolated,
    "GradientBoostingClassifier": _boosted_classifier,
    "HistGradientBoostingClassifier": _boosted_classifier,
    "GradientBoostingRegressor": _boosted_regressor,
    "HistGradientBoostingRegressor": _boosted_regressor,
}
