"""Parsed requests: what a protocol hands to a predictor.

They are named tuples, which are quicker to make than frozen dataclasses.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from servegen.server.errors import RefusedError

ABSENT = float("nan")
"""Stands in a column for a row that lacks its key; pandas fills the same value."""


class Columns(NamedTuple):
    """Cast cells, column by column, in the signature's order; nothing is left to check."""

    names: tuple[str, ...]
    dtypes: tuple[str, ...]
    """A numpy dtype a column, or `text` for what pandas shall infer."""
    cells: tuple[Sequence[Any], ...]
    rows: int
    labels: Sequence[Any] | None = None
    """Row labels, where the client sent some."""


class Arrays(NamedTuple):
    """One ndarray, or a dict of them by name, cast and checked."""

    value: Any


class Form(NamedTuple):
    """One of the four data keys with its value, for MLflow's own parser: nested types, oddities."""

    key: str
    value: Any
    refusal: RefusedError | None = None
    """What is wrong with the request if MLflow itself finds nothing wrong."""


class Csv(NamedTuple):
    """A CSV document."""

    text: str


class Parquet(NamedTuple):
    """A Parquet file."""

    content: bytes


class Whole(NamedTuple):
    """A value the model checks itself: LLM requests and models with type hints."""

    value: Any


Input = Columns | Arrays | Form | Csv | Parquet | Whole
Params = Mapping[str, Any] | None


class Call(NamedTuple):
    """One request for the model, ready to run: parsed input, params, and how to write the answer."""

    input: Input
    params: Params
    encode: Callable[[Any], bytes]
    """From what the model returned to the body of the response; runs in the worker thread."""
