"""Parsed requests: what a protocol hands to a predictor."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from servegen.server.errors import RefusedError

ABSENT = float("nan")
"""Stands in a column for a row that lacks its key; pandas fills the same value."""


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Cast cells, column by column, in the signature's order; nothing is left to check."""

    names: tuple[str, ...]
    dtypes: tuple[str, ...]
    """A numpy dtype a column, or `text` for what pandas shall infer."""
    cells: tuple[Sequence[Any], ...]
    rows: int
    index: Sequence[Any] | None = None
    """Row labels, where the client sent some."""


@dataclass(frozen=True, kw_only=True)
class Arrays:
    """One ndarray, or a dict of them by name, cast and checked."""

    value: Any


@dataclass(frozen=True, kw_only=True)
class Form:
    """One of the four data keys with its value, for MLflow's own parser: nested types, oddities."""

    key: str
    value: Any
    refusal: RefusedError | None = None
    """What is wrong with the request if MLflow itself finds nothing wrong."""


@dataclass(frozen=True, kw_only=True)
class Csv:
    """A CSV document."""

    text: str


@dataclass(frozen=True, kw_only=True)
class Parquet:
    """A Parquet file."""

    content: bytes


@dataclass(frozen=True, kw_only=True)
class Whole:
    """A value the model checks itself: LLM requests and models with type hints."""

    value: Any


Input = Columns | Arrays | Form | Csv | Parquet | Whole
Params = Mapping[str, Any] | None


@dataclass(frozen=True, kw_only=True)
class Call:
    """One request for the model, ready to run: parsed input, params, and how to write the answer."""

    input: Input
    params: Params
    encode: Callable[[Any], bytes]
    """From what the model returned to the body of the response; runs in the worker thread."""
