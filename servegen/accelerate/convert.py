"""Model → ONNX graph and form; one file a family of models does the work."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any, Protocol

from servegen.accelerate.graph import OPSET, Graph, Unconvertible, unexpected
from servegen.accelerate.tables import SIGNATURE, Front, Revealed
from servegen.server.accelerated import Form, Output
from servegen.server.signature import Signature
from servegen.values.acceleration import Converted

GUARD = "guard"
FAMILIES = ("sklearn", "xgboost", "lightgbm", "catboost", "statsmodels", "onnx")
"""Flavors of MLflow that a file of this package converts."""


class Family(Protocol):
    """A module that converts one flavor."""

    LIBRARIES: tuple[str, ...]
    """Distributions whose versions decide the result."""

    def convert(self, loaded: Loaded) -> Made:
        """The graph of a loaded model; raises Unconvertible."""


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """A model in this process."""

    flavor: str
    pyfunc: Any
    """What `mlflow.pyfunc.load_model` gives."""
    native: Any
    """The library's own object."""
    signature: Signature
    function: str
    """The method that answers: `predict_fn` of the flavor."""
    settings: Mapping[str, Any]
    """The flavor's entry in MLmodel."""
    path: Path


@dataclass(frozen=True, kw_only=True)
class Made:
    """What a family makes of a model."""

    graph: Graph
    front: Front
    outputs: tuple[Output, ...]
    answer: str = "array"
    refuses_empty: bool = True
    file: bytes | None = None
    """A graph that is there already, instead of `graph`."""
    opset: Mapping[str, int] = field(default_factory=lambda: OPSET)


def convert(loaded: Loaded) -> tuple[Converted, Revealed]:
    """The model as ONNX, and what it reveals; raises Unconvertible with the step that has no such form."""
    if loaded.signature.params:
        raise Unconvertible(SIGNATURE, "the model takes params, which a graph cannot")
    family = importlib.import_module(f"servegen.accelerate.{module_of(loaded.flavor)}")
    try:
        made: Made = family.convert(loaded)
    except Unconvertible:
        raise
    except Exception as exc:
        step = f"flavor {loaded.flavor}"
        raise unexpected(step, exc) from exc
    guarded = made.graph.guarded(GUARD)
    model, names = made.graph.written() if made.file is None else (made.file, list(made.front.inputs))
    form = Form(
        inputs=made.front.used(names),
        answer=made.answer,
        outputs=made.outputs,
        refuses_empty=made.refuses_empty,
        guard=GUARD if guarded else None,
    )
    converted = Converted(
        model=model, form=form.json(), opset=made.opset, libraries=versions(family.LIBRARIES)
    )
    return converted, made.front.revealed


def module_of(flavor: str) -> str:
    """The file of this package for a flavor; raises Unconvertible when there is none."""
    if flavor not in FAMILIES:
        step = f"flavor {flavor}"
        raise Unconvertible(step, f"converted are {', '.join(FAMILIES)}")
    return flavor


def versions(names: tuple[str, ...]) -> dict[str, str]:
    """Versions of the distributions that are installed."""
    return {name: found for name in sorted(names) if (found := version(name)) is not None}


def version(name: str) -> str | None:
    """Version of an installed distribution."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
