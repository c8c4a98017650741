"""A model as ONNX, and the proof that it answers as the original does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

MODEL_FILE = "model.onnx"
FORM_FILE = "acceleration.json"
"""Beside `model.onnx`: what goes into the graph, what comes out, and the proof."""


@dataclass(frozen=True, kw_only=True)
class Converted:
    """A model as an ONNX graph, with all that a server needs to feed it and to answer."""

    model: bytes
    """`model.onnx`; equal for equal models."""
    form: Mapping[str, Any]
    """Inputs and answer as JSON; `servegen.server.accelerated` parses and describes it."""
    opset: Mapping[str, int]
    """Versions of the operator sets by domain; `ai.onnx` is the default one."""
    libraries: Mapping[str, str]
    """Versions of what it was converted with, by distribution."""


@dataclass(frozen=True, kw_only=True)
class Tolerance:
    """How far numbers of two answers may be apart; classes and texts may not differ at all."""

    relative: float = 1e-6


@dataclass(frozen=True, kw_only=True)
class Proof:
    """What comparing the original with the converted model showed."""

    rows: Mapping[str, int]
    """Rows compared, by what they are: `example`, `thresholds`, `neighbours`, …"""
    worst: float
    """Largest relative difference of a number; 0.0 when all were equal to the bit."""
    tolerance: float
    seed: int
    libraries: Mapping[str, str]
    """Versions of numpy, onnxruntime and the model's own libraries during the proof."""
    refused: Mapping[str, int] = field(default_factory=dict)
    """Rows that both the original and the converted model refuse, by what they are."""
    original_seconds: float | None = None
    """Median of one call of the original with one row."""
    accelerated_seconds: float | None = None
    """The same of the converted model."""

    @property
    def total(self) -> int:
        """All rows compared."""
        return sum(self.rows.values())


@dataclass(frozen=True, kw_only=True)
class Refused:
    """Why a model stays as it is."""

    step: str
    """The part that cannot be converted, such as `pipeline step 'tfidf' (TfidfVectorizer)`, or `proof`."""
    reason: str
    counterexample: str | None = None
    """Body of a request (dataframe_split, or inputs for tensors) that the two answer differently."""
    original: str | None = None
    """What the original answers to it, as JSON text or the error's words."""
    accelerated: str | None = None


@dataclass(frozen=True, kw_only=True)
class Accelerated:
    """A converted model whose proof holds."""

    converted: Converted
    proof: Proof
    answer: Any = None
    """What the original answers to the model's example, as JSON; None without an example."""
