"""Frozen values from JSON that anyone may have edited: every field with its type, or ValueError."""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING, Field, fields
from typing import Any, TypeVar

T = TypeVar("T")

_WORDS = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}


def typed(cls: type[T], value: object) -> T:
    """The dataclass `cls` made of a JSON object; ValueError names the entry that does not fit."""
    entries = mapping(value, cls.__name__)
    known: dict[str, Field[Any]] = {f.name: f for f in fields(cls)}  # type: ignore[arg-type]  # a dataclass
    if extra := sorted(entries.keys() - known.keys()):
        msg = f"unknown entries {', '.join(extra)}"
        raise ValueError(msg)
    needed = [n for n, f in known.items() if f.default is MISSING and f.default_factory is MISSING]
    if absent := [n for n in needed if n not in entries]:
        msg = f"{cls.__name__} lacks {', '.join(absent)}"
        raise ValueError(msg)
    hints = typing.get_type_hints(cls)
    for name, entry in entries.items():
        if not _fits(entry, hints[name]):
            msg = f"{name} must be {_WORDS.get(_plain(hints[name]), 'a list')}, not {str(entry)[:60]!r}"
            raise ValueError(msg)
    return cls(**entries)


def mapping(value: object, what: str) -> Mapping[str, Any]:
    """`value` when it is a JSON object; ValueError names `what` else."""
    if not isinstance(value, dict):
        msg = f"{what} must be an object"
        raise ValueError(msg)  # noqa: TRY004 (a parser has one error)
    return value


def _fits(value: object, hint: Any) -> bool:
    if value is None:
        return types.NoneType in typing.get_args(hint)
    wanted = _plain(hint)
    if wanted is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    return type(value) is (typing.get_origin(wanted) or wanted)


def _plain(hint: Any) -> Any:
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return next(a for a in typing.get_args(hint) if a is not types.NoneType)
    return hint
