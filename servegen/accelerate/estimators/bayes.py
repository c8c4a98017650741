"""Naive Bayes, and classes by nearest centre."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from servegen.accelerate.estimators import Classifier, Predict
from servegen.accelerate.graph import Graph, Unconvertible, argmax
from servegen.accelerate.tables import Front, Matrix, Table, as_double


def _input(front: Front, step: str, value: Table | Matrix) -> str:
    matrix = front.double(front.matrix(value, step))
    front.check(matrix)
    return matrix.ref


def _classified(graph: Graph, model: Any, joint: str) -> Classifier:
    """A classifier of joint log likelihoods (rows, classes)."""
    largest = graph.op("ReduceMax", joint, graph.constant([1], np.int64), keepdims=1)
    total = graph.total(graph.op("Exp", graph.op("Sub", joint, largest)))
    logs = graph.op("Sub", joint, graph.op("Add", graph.op("Log", total), largest))
    count = len(model.classes_)
    return Classifier(
        classes=model.classes_,
        index=argmax(graph, joint),
        scores={"predict_proba": (graph.op("Exp", logs), count), "predict_log_proba": (logs, count)},
    )


def _multinomial(front: Front, step: str, model: Any, value: Table | Matrix) -> Classifier:
    graph = front.graph
    matrix = _input(front, step, value)
    product = graph.op("MatMul", matrix, graph.constant(as_double(model.feature_log_prob_).T))
    return _classified(graph, model, graph.op("Add", product, graph.constant(model.class_log_prior_)))


def _bernoulli(front: Front, step: str, model: Any, value: Table | Matrix) -> Classifier:
    graph = front.graph
    matrix = _input(front, step, value)
    if model.binarize is not None:
        above = graph.op("Greater", matrix, graph.constant(float(model.binarize)))
        matrix = graph.cast(above, "float64")
    absent = np.log(1 - np.exp(as_double(model.feature_log_prob_)))
    weights = (as_double(model.feature_log_prob_) - absent).T
    joint = graph.op("MatMul", matrix, graph.constant(weights))
    offset = as_double(model.class_log_prior_) + absent.sum(axis=1)
    return _classified(graph, model, graph.op("Add", joint, graph.constant(offset)))


def _gaussian(front: Front, step: str, model: Any, value: Table | Matrix) -> Classifier:
    graph = front.graph
    matrix = _input(front, step, value)
    columns = []
    for mean, variance, prior in zip(model.theta_, model.var_, model.class_prior_, strict=True):
        apart = graph.op("Sub", matrix, graph.constant(as_double(mean).reshape(1, -1)))
        squares = graph.op("Mul", apart, apart)
        total = graph.total(graph.op("Div", squares, graph.constant(as_double(variance).reshape(1, -1))))
        offset = math.log(prior) - 0.5 * float(np.sum(np.log(2.0 * math.pi * variance)))
        half = graph.op("Mul", total, graph.constant(-0.5))
        columns.append(graph.op("Add", half, graph.constant(offset)))
    return _classified(graph, model, graph.op("Concat", *columns, axis=1))


def _clusters(front: Front, step: str, model: Any, value: Table | Matrix) -> Classifier:
    graph = front.graph
    centres = as_double(model.cluster_centers_)
    if centres.shape[0] < 2:
        raise Unconvertible(step, "one cluster alone")
    matrix = front.exact(front.matrix(value, step), step)
    front.check(matrix)
    product = graph.op("MatMul", matrix.ref, graph.constant(2.0 * centres.T))
    near = graph.op("Sub", product, graph.constant((centres**2).sum(axis=1)))
    return Classifier(classes=np.arange(len(centres), dtype=np.int32), index=argmax(graph, near))


PREDICTORS: dict[str, Predict] = {
    "MultinomialNB": _multinomial,
    "BernoulliNB": _bernoulli,
    "GaussianNB": _gaussian,
    "KMeans": _clusters,
    "MiniBatchKMeans": _clusters,
}
