"""Models that are a product of matrices."""

from __future__ import annotations

from typing import Any

import numpy as np

from servegen.accelerate.estimators import Classifier, Predict, Regressor
from servegen.accelerate.graph import Graph, Unconvertible, argmax, sigmoid, softmax
from servegen.accelerate.tables import Front, Matrix, Table, as_double


def affine(graph: Graph, matrix: str, weights: Any, offset: Any) -> str:
    """`matrix` times `weights` (columns, targets) plus `offset`."""
    product = graph.op("MatMul", matrix, graph.constant(as_double(weights)))
    return graph.op("Add", product, graph.constant(as_double(offset)))


def _weighed(front: Front, step: str, weights: Any, value: Table | Matrix) -> Matrix:
    """The input of a product with `weights`, which is in double precision where one of the two is."""
    matrix = front.matrix(value, step)
    matrix = front.exact(matrix, step) if weights.dtype == np.float32 else front.double(matrix)
    front.check(matrix)
    return matrix


def _decision(front: Front, step: str, model: Any, value: Table | Matrix) -> tuple[str, int]:
    matrix = _weighed(front, step, model.coef_, value)
    weights = np.atleast_2d(as_double(model.coef_))
    offset = np.broadcast_to(as_double(model.intercept_), (len(weights),))
    return affine(front.graph, matrix.ref, weights.T, offset), len(weights)


def _regressor(front: Front, step: str, model: Any, value: Table | Matrix) -> Regressor:
    decision, targets = _decision(front, step, model, value)
    single = np.ndim(model.coef_) == 1
    return Regressor(value=decision, targets=None if single else targets)


def _multitask(front: Front, step: str, model: Any, value: Table | Matrix) -> Regressor:
    decision, targets = _decision(front, step, model, value)
    return Regressor(value=decision, targets=targets)


def positive(graph: Graph, decision: str, *, or_zero: bool = False) -> str:
    """1 where a score (rows, 1) is above zero, else 0: (rows,), int64."""
    above = graph.op("GreaterOrEqual" if or_zero else "Greater", decision, graph.constant(0.0))
    return graph.reshape(graph.cast(above, "int64"), [-1])


def two_classes(graph: Graph, chance: str) -> str:
    """The chances of both classes, from that of the second (rows, 1)."""
    other = graph.op("Sub", graph.constant(1.0), chance)
    return graph.op("Concat", other, chance, axis=1)


def logs(graph: Graph, chances: str) -> str:
    """Logarithms of chances."""
    return graph.op("Log", chances)


def _classifier(front: Front, step: str, model: Any, value: Table | Matrix) -> Classifier:
    graph = front.graph
    decision, count = _decision(front, step, model, value)
    index = positive(graph, decision) if count == 1 else argmax(graph, decision)
    scores: dict[str, tuple[str, int | None]] = {
        "decision_function": (decision, None if count == 1 else count)
    }
    chances = _chances(graph, model, decision, count)
    if chances is not None:
        width = max(2, count)
        scores["predict_proba"] = (chances, width)
        scores["predict_log_proba"] = (logs(graph, chances), width)
    return Classifier(classes=model.classes_, index=index, scores=scores)


def _chances(graph: Graph, model: Any, decision: str, count: int) -> str | None:
    if type(model).__name__ in ("LogisticRegression", "LogisticRegressionCV"):
        multi = getattr(model, "multi_class", "auto")
        one_by_one = multi in ("ovr", "warn") or (
            multi in ("auto", "deprecated") and (count == 1 or model.solver == "liblinear")
        )
        if not one_by_one:
            if count == 1:
                decision = graph.op("Concat", graph.op("Neg", decision), decision, axis=1)
            return softmax(graph, decision)
    elif not (type(model).__name__ == "SGDClassifier" and model.loss == "log_loss"):
        return None
    chances = sigmoid(graph, decision)
    return two_classes(graph, chances) if count == 1 else graph.op("Div", chances, graph.total(chances))


def _discriminant(front: Front, step: str, model: Any, value: Table | Matrix) -> Classifier:
    graph = front.graph
    decision, count = _decision(front, step, model, value)
    if count == 1:
        chances, index = two_classes(graph, sigmoid(graph, decision)), positive(graph, decision)
    else:
        chances, index = softmax(graph, decision), argmax(graph, decision)
    return Classifier(classes=model.classes_, index=index, scores={"predict_proba": (chances, max(2, count))})


def _general(front: Front, step: str, model: Any, value: Table | Matrix) -> Regressor:
    decision, _ = _decision(front, step, model, value)
    link = type(model._base_loss.link).__name__ if hasattr(model, "_base_loss") else ""
    if link == "LogLink":
        decision = front.graph.op("Exp", decision)
    elif link != "IdentityLink":
        raise Unconvertible(step, f"link {link or 'unknown'}")
    return Regressor(value=decision)


_ACTIVATIONS = {"identity": None, "logistic": "Sigmoid", "tanh": "Tanh", "relu": "Relu"}


def _network(front: Front, step: str, model: Any, value: Table | Matrix) -> Classifier | Regressor:
    graph = front.graph
    matrix = _weighed(front, step, model.coefs_[0], value)
    layer = matrix.ref
    layers = list(zip(model.coefs_, model.intercepts_, strict=True))
    for position, (weights, offset) in enumerate(layers):
        layer = affine(graph, layer, weights, offset)
        if position < len(layers) - 1:
            layer = _activate(graph, layer, model.activation)
    if not hasattr(model, "classes_"):
        return Regressor(value=layer, targets=None if model.n_outputs_ == 1 else model.n_outputs_)
    if model.out_activation_ == "softmax":
        chances = softmax(graph, layer)
        index = argmax(graph, chances)
    elif len(model.classes_) == 2 and model.n_outputs_ == 1:
        chance = sigmoid(graph, layer)
        chances = two_classes(graph, chance)
        above = graph.op("Greater", chance, graph.constant(0.5))
        index = graph.reshape(graph.cast(above, "int64"), [-1])
    else:
        raise Unconvertible(step, "several labels a row")
    scores = {"predict_proba": (chances, len(model.classes_))}
    return Classifier(classes=model.classes_, index=index, scores=scores)


def _activate(graph: Graph, layer: str, name: str) -> str:
    if name == "logistic":
        return sigmoid(graph, layer)
    kind = _ACTIVATIONS[name]
    return layer if kind is None else graph.op(kind, layer)


PREDICTORS: dict[str, Predict] = {
    **dict.fromkeys(
        (
            *("LinearRegression", "Ridge", "RidgeCV", "Lasso", "LassoCV", "LassoLars", "ElasticNet"),
            *("ElasticNetCV", "Lars", "BayesianRidge", "ARDRegression", "HuberRegressor", "SGDRegressor"),
            *("TheilSenRegressor", "OrthogonalMatchingPursuit", "LinearSVR", "QuantileRegressor"),
            *("PassiveAggressiveRegressor", "LassoLarsCV", "LarsCV", "LassoLarsIC"),
        ),
        _regressor,
    ),
    **dict.fromkeys(
        ("MultiTaskLasso", "MultiTaskElasticNet", "MultiTaskLassoCV", "MultiTaskElasticNetCV"), _multitask
    ),
    **dict.fromkeys(
        (
            *("LogisticRegression", "LogisticRegressionCV", "SGDClassifier", "LinearSVC"),
            *("RidgeClassifier", "RidgeClassifierCV", "Perceptron", "PassiveAggressiveClassifier"),
        ),
        _classifier,
    ),
    "LinearDiscriminantAnalysis": _discriminant,
    **dict.fromkeys(("PoissonRegressor", "GammaRegressor", "TweedieRegressor"), _general),
    "MLPClassifier": _network,
    "MLPRegressor": _network,
}
