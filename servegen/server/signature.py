"""The signature of an MLmodel file, read without MLflow."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

PLAIN = frozenset(("long", "integer", "double", "float", "boolean", "string"))
"""Types whose cells are cast without pandas and MLflow."""


@dataclass(frozen=True, kw_only=True)
class Column:
    """One input or output of a tabular signature."""

    name: str | None
    type: str
    """A scalar of MLflow, such as `long`, or `array`, `object`, `map`, `any`."""
    required: bool
    spec: Mapping[str, Any]
    """As MLmodel has it: items, properties and values of the nested types."""


@dataclass(frozen=True, kw_only=True)
class Tensor:
    """One input or output of a tensor signature."""

    name: str | None
    dtype: str
    """A numpy dtype; `str` and `bytes` have no length."""
    shape: tuple[int, ...]
    """-1 stands for any length."""


@dataclass(frozen=True, kw_only=True)
class Param:
    """One parameter a request may set."""

    name: str
    type: str
    default: Any
    """As MLmodel has it: a datetime is ISO text."""
    many: bool
    """Whether the value is a list of `type`."""
    spec: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Signature:
    """What a model takes and returns; None where the model does not say."""

    columns: tuple[Column, ...] | None = None
    tensors: tuple[Tensor, ...] | None = None
    output_columns: tuple[Column, ...] | None = None
    output_tensors: tuple[Tensor, ...] | None = None
    params: tuple[Param, ...] | None = None
    type_hints: bool = False
    """Inferred from type hints of `predict`, which then checks its input itself."""

    @classmethod
    def parse(cls, block: Mapping[str, Any] | None, *, type_hints: bool) -> Signature:
        """The signature that the `signature` block of MLmodel describes."""
        block = block or {}
        columns, tensors = _specs(block.get("inputs"))
        output_columns, output_tensors = _specs(block.get("outputs"))
        params = block.get("params")
        return cls(
            columns=columns,
            tensors=tensors,
            output_columns=output_columns,
            output_tensors=output_tensors,
            params=tuple(_param(p) for p in json.loads(params)) if params else None,
            type_hints=type_hints,
        )


def _specs(text: str | None) -> tuple[tuple[Column, ...] | None, tuple[Tensor, ...] | None]:
    specs = json.loads(text) if text else None
    if specs is None:
        return None, None
    if specs and specs[0]["type"] == "tensor":
        return None, tuple(
            Tensor(
                name=s.get("name"),
                dtype=s["tensor-spec"]["dtype"],
                shape=tuple(s["tensor-spec"]["shape"]),
            )
            for s in specs
        )
    return (
        tuple(
            Column(
                name=s.get("name"),
                type=s["type"],
                # MLflow before 2.6 wrote `optional` instead.
                required=s.get("required", not s.get("optional", False)),
                spec=s,
            )
            for s in specs
        ),
        None,
    )


def _param(spec: Mapping[str, Any]) -> Param:
    return Param(
        name=str(spec["name"]),
        type=spec.get("type") or spec["dtype"],
        default=spec["default"],
        many=spec.get("shape") is not None,
        spec=spec,
    )
