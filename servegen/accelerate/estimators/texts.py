"""Texts as counts: Python takes them apart as scikit-learn does, the graph weighs what was found."""

from __future__ import annotations

from typing import Any

from servegen.accelerate.estimators import Transform
from servegen.accelerate.estimators.scalers import normalized
from servegen.accelerate.graph import Unconvertible
from servegen.accelerate.tables import Front, Matrix, Table, as_double
from servegen.server.terms import Terms


def _counts(front: Front, step: str, model: Any, value: Table | Matrix) -> Matrix:
    if not isinstance(value, Table) or value.width != 1 or not value.columns[0].text:
        raise Unconvertible(step, "takes one column of text, and gets something else")
    for name in ("preprocessor", "tokenizer"):
        if getattr(model, name) is not None:
            raise Unconvertible(step, f"{name} is a Python function")
    if not isinstance(model.analyzer, str):
        raise Unconvertible(step, "analyzer is a Python function")
    if callable(model.strip_accents):
        raise Unconvertible(step, "strip_accents is a Python function")
    vocabulary = sorted(model.vocabulary_, key=model.vocabulary_.get)
    terms = Terms(
        vocabulary=tuple(str(term) for term in vocabulary),
        analyzer=model.analyzer,
        pattern=model.token_pattern or "",
        ngrams=(int(model.ngram_range[0]), int(model.ngram_range[1])),
        lowercase=bool(model.lowercase),
        accents=model.strip_accents,
        stop_words=tuple(sorted(model.get_stop_words() or ())),
    )
    matrix = front.terms(value.columns[0], terms)
    if not model.binary:
        return matrix
    some = front.graph.op("Greater", matrix.ref, front.graph.constant(0.0))
    return Matrix(ref=front.graph.cast(some, "float64"), width=matrix.width, finite=True)


def _weigh(front: Front, step: str, model: Any, value: Table | Matrix) -> Matrix:
    graph = front.graph
    matrix = front.double(front.matrix(value, step))
    ref = matrix.ref
    if model.sublinear_tf:
        zero = graph.op("Equal", ref, graph.constant(0.0))
        logs = graph.op(
            "Add", graph.op("Log", graph.op("Where", zero, graph.constant(1.0), ref)), graph.constant(1.0)
        )
        ref = graph.op("Where", zero, graph.constant(0.0), logs)
    if model.use_idf:
        ref = graph.op("Mul", ref, graph.constant(as_double(model.idf_).reshape(1, -1)))
    if model.norm:
        ref = normalized(graph, ref, model.norm)
    return Matrix(ref=ref, width=matrix.width, finite=matrix.finite)


def _tfidf(front: Front, step: str, model: Any, value: Table | Matrix) -> Matrix:
    counts = _counts(front, step, model, value)
    return _weigh(front, step, model._tfidf if hasattr(model, "_tfidf") else model, counts)


TRANSFORMERS: dict[str, Transform] = {
    "CountVectorizer": _counts,
    "TfidfVectorizer": _tfidf,
    "TfidfTransformer": _weigh,
}
