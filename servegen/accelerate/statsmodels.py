"""Linear models of statsmodels: a product, and the inverse of a link."""

from __future__ import annotations

from typing import Any

from servegen.accelerate.convert import Loaded, Made
from servegen.accelerate.estimators.linear import affine
from servegen.accelerate.graph import Graph, Unconvertible, sigmoid
from servegen.accelerate.tables import Front, as_double
from servegen.server.accelerated import Output

LIBRARIES = ("statsmodels", "onnx")
_STEP = "statsmodels"
_LINEAR = ("OLS", "WLS", "GLS", "GLSAR", "RLM", "QuantReg")


def convert(loaded: Loaded) -> Made:
    """The graph of a fitted linear or generalized linear model of arrays."""
    results = loaded.native
    model = results.model
    if (
        getattr(model, "formula", None)
        or hasattr(model.data, "design_info")
        or hasattr(model.data, "model_spec")
    ):
        raise Unconvertible(_STEP, "a formula makes its columns")
    link = _link(model)
    graph = Graph()
    front = Front(graph=graph)
    matrix = front.double(front.matrix(front.table(loaded.signature), _STEP))
    weights = as_double(results.params)
    if weights.ndim != 1 or len(weights) != matrix.width:
        raise Unconvertible(_STEP, f"{weights.size} parameters for {matrix.width} columns")
    value = affine(graph, matrix.ref, weights.reshape(-1, 1), 0.0)
    if link == "log":
        value = graph.op("Exp", value)
    elif link == "logit":
        value = sigmoid(graph, value)
    elif link == "inverse":
        value = graph.op("Div", graph.constant(1.0), value)
    graph.output(value, "answer", "float64")
    if loaded.signature.columns is None:
        output = Output(name="answer", dtype="float64", shape=(-1,))
        return Made(graph=graph, front=front, outputs=(output,), refuses_empty=False)
    # The answer is a Series without a name, which JSON shows as a column 0.
    output = Output(name="answer", dtype="float64", shape=(-1,), key="0")
    return Made(graph=graph, front=front, outputs=(output,), answer="records", refuses_empty=False)


def _link(model: Any) -> str:
    name = type(model).__name__
    if name in _LINEAR:
        return "identity"
    if name in ("Logit", "Poisson"):
        return {"Logit": "logit", "Poisson": "log"}[name]
    if name != "GLM":
        raise Unconvertible(_STEP, f"{name} is not converted")
    link = type(model.family.link).__name__.lower()
    known = {"identity": "identity", "log": "log", "logit": "logit", "inversepower": "inverse"}
    if link not in known:
        raise Unconvertible(_STEP, f"link {link}")
    return known[link]
