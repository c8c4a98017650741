"""JSON Schemas of single values: cells of columns, elements of tensors, params."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any

from servegen.server.casting import INTEGER_LIMITS
from servegen.server.signature import Param, Tensor

Schema = dict[str, Any]

NESTED = frozenset(("array", "object", "map", "any"))
_SCALARS: dict[str, Schema] = {
    "long": {"type": "integer", "format": "int64"},
    "integer": {"type": "integer", "format": "int32", "minimum": -(2**31), "maximum": 2**31 - 1},
    "double": {"type": "number", "format": "double"},
    "float": {"type": "number", "format": "float"},
    "boolean": {"type": "boolean"},
    "string": {"type": "string"},
    "binary": {"type": "string", "format": "byte"},
    "datetime": {"type": "string", "format": "date-time"},
}
_ALWAYS_NULLABLE = frozenset(("double", "float", "string", "datetime"))
_NEVER_NULLABLE = frozenset(("long", "integer", "boolean", "binary"))
_WORD = 32
"""Bits up to which bounds are written: JavaScript rounds those of longer integers."""


def asked_cell(spec: Mapping[str, Any], *, required: bool) -> Schema:
    """A cell of a request; null where the server takes it as a missing value."""
    kind = spec["type"]
    nullable = kind in _ALWAYS_NULLABLE or not (required or kind in _NEVER_NULLABLE)
    return _cell(spec, _SCALARS, nullable=nullable)


def answered_cell(spec: Mapping[str, Any], *, required: bool) -> Schema:
    """A cell of an answer; a model may leave any of its optional values out."""
    return _cell(spec, _ANSWERED, nullable=spec["type"] in _ALWAYS_NULLABLE or not required)


_ANSWERED = _SCALARS | {
    # Without an offset, which `date-time` would demand; as an array it is nanoseconds since 1970.
    "datetime": {"type": ["string", "integer"], "format": "date-time-local"},
}


def _cell(spec: Mapping[str, Any], scalars: Mapping[str, Schema], *, nullable: bool) -> Schema:
    kind = spec["type"]
    schema: Schema
    if kind == "array":
        schema = {"type": "array", "items": _cell(spec["items"], scalars, nullable=False)}
    elif kind == "map":
        schema = {"type": "object", "additionalProperties": _cell(spec["values"], scalars, nullable=False)}
    elif kind == "object":
        properties = spec["properties"]
        schema = {
            "type": "object",
            "properties": {
                name: _cell(item, scalars, nullable=not item.get("required", True))
                for name, item in properties.items()
            },
            "required": [name for name, item in properties.items() if item.get("required", True)],
            "additionalProperties": False,
        }
    else:
        schema = dict(scalars.get(kind, {}))
    return _nullable(schema) if nullable else schema


def _nullable(schema: Schema) -> Schema:
    kinds = schema.get("type")
    if kinds is None:
        return schema
    return {**schema, "type": [*(kinds if isinstance(kinds, list) else [kinds]), "null"]}


def element(dtype: str) -> Schema:
    """An element of a tensor of `dtype`."""
    if dtype in INTEGER_LIMITS:
        low, high = INTEGER_LIMITS[dtype]
        bits = int(dtype.lstrip("uint"))
        bounds = {"minimum": low, "maximum": high} if bits <= _WORD else {"minimum": low} if low == 0 else {}
        return {"type": "integer", "format": dtype, **bounds}
    if dtype.startswith("float"):
        return {"type": ["number", "null"], "format": "float" if dtype == "float32" else "double"}
    if dtype == "bool":
        return {"type": "boolean"}
    if dtype.startswith("datetime64"):
        return dict(_ANSWERED["datetime"])
    return {"type": ["string", "null"]} if dtype in ("str", "bytes") else {}


def tensor(spec: Tensor) -> Schema:
    """Nested lists of the tensor's shape."""
    return _nested(element(spec.dtype), spec.shape)


def tensor_cell(spec: Tensor) -> Schema:
    """One row of the tensor as the cell of a frame: a scalar or a flat list."""
    size = prod(spec.shape[1:])
    return element(spec.dtype) if size == 1 else _nested(element(spec.dtype), (size,))


def _nested(schema: Schema, shape: tuple[int, ...]) -> Schema:
    for length in reversed(shape):
        fixed = {} if length == -1 else {"minItems": length, "maxItems": length}
        schema = {"type": "array", "items": schema, **fixed}
    return schema


def param(spec: Param) -> Schema:
    """The value of a parameter, with its default."""
    plain = asked_cell({**spec.spec, "type": spec.type}, required=spec.type == "object")
    if spec.type != "object":
        plain = _nullable(plain) if spec.type not in _ALWAYS_NULLABLE else plain
    schema: Schema = {"type": "array", "items": plain} if spec.many else plain
    return {**schema, "default": spec.default}
