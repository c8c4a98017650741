"""The JSON Schema of servegen.yaml, for editors: it takes what the reader takes, key by key."""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Any

from servegen.config.options import Config

SCHEMA_FILE = "servegen.schema.json"
_SCALARS: dict[Any, object] = {
    # Text is taken as written, so 3.10 and true are texts as well.
    str: ["string", "number", "boolean"],
    int: "integer",
    float: "number",
    bool: "boolean",
}
_RAW = ["string", "integer", "boolean", "array", "object"]


def schema() -> dict[str, Any]:
    """The schema; draft 7, which every editor knows."""
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "servegen.yaml",
        **_schema(Config),
        "definitions": {"part": _part("part", _RAW), "patch": _part("patch", [*_RAW, "null"])},
    }


def _schema(kind: Any) -> dict[str, Any]:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if kind is object:
        return {"$ref": "#/definitions/part"}
    if kind == object | None:
        return {"$ref": "#/definitions/patch"}
    if origin in (typing.Union, types.UnionType):
        inner = _schema(next(a for a in arguments if a is not types.NoneType))
        named = inner["type"]
        return inner | {"type": [*([named] if isinstance(named, str) else named), "null"]}
    if is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        properties = {f.name: _described(f, hints[f.name]) for f in fields(kind)}
        return {"type": "object", "additionalProperties": False, "properties": properties}
    if origin is tuple:
        return {"type": "array", "items": _schema(arguments[0])}
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return {"type": "object", "additionalProperties": _schema(arguments[1])}
    return {"type": _SCALARS[kind]}


def _described(field: Field[Any], kind: Any) -> dict[str, Any]:
    default = {} if field.default in (MISSING, None, ()) else {"default": field.default}
    return {"description": field.metadata["help"], **_schema(kind), **default}


def _part(name: str, kinds: list[str]) -> dict[str, Any]:
    own = {"$ref": f"#/definitions/{name}"}
    return {"type": kinds, "items": own, "additionalProperties": own}
