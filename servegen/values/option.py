"""How settings are declared: each with its default and its help."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Any


def option(text: str, *, default: Any) -> Any:
    """A field with a default and the help that the reference and the JSON Schema show."""
    if isinstance(default, Mapping):
        return field(default_factory=lambda: dict(default), metadata={"help": text})
    return field(default=default, metadata={"help": text})
