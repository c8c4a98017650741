"""Schemas of the Open Inference Protocol's messages."""

from __future__ import annotations

from typing import Any

from servegen.server.datatypes import DTYPES
from servegen.server.openapi.cells import Schema, param
from servegen.server.signature import Param

_TEXT: Schema = {"type": "string"}
_OBJECT: Schema = {"type": "object"}
_SHAPE: Schema = {"type": "array", "items": {"type": "integer", "minimum": 0}}
_DATATYPE: Schema = {"type": "string", "enum": [*DTYPES, "BYTES"]}
_DATA: Schema = {
    "type": "array",
    "items": {"type": ["number", "string", "boolean", "array", "null"]},
    "description": "Flat in row-major order, or nested like the shape.",
}


def request(v2: dict[str, Any], params: tuple[Param, ...] | None) -> Schema:
    """The body of `infer`."""
    names = [i["name"] for i in v2["inputs"]]
    parameters: Schema = {
        "type": ["object", "null"],
        "properties": {
            "content_type": {"type": "string", "enum": ["pd", "np", "dict"]},
            **{p.name: param(p) for p in params or ()},
        },
    }
    given = {
        "type": "object",
        "required": ["name", "shape", "datatype", "data"],
        "properties": {
            "name": {**_TEXT, **({"examples": names} if names else {})},
            "shape": _SHAPE,
            "datatype": _DATATYPE,
            "parameters": {
                "type": ["object", "null"],
                "properties": {
                    "content_type": {"enum": ["np", "str", "base64", "datetime", "pd_json"]},
                },
            },
            "data": _DATA,
        },
    }
    asked = {"type": "object", "required": ["name"], "properties": {"name": _TEXT, "parameters": _OBJECT}}
    return {
        "type": "object",
        "required": ["inputs"],
        "properties": {
            "id": {"type": ["string", "null"]},
            "parameters": parameters,
            "inputs": {"type": "array", "minItems": 1, "items": given},
            "outputs": {"type": ["array", "null"], "items": asked},
        },
    }


def response() -> Schema:
    """The answer of `infer`."""
    output = {
        "name": _TEXT,
        "shape": _SHAPE,
        "datatype": _DATATYPE,
        "parameters": _OBJECT,
        "data": {**_DATA, "description": "Flat in row-major order."},
    }
    return {
        "type": "object",
        "required": ["model_name", "model_version", "outputs"],
        "properties": {
            "model_name": _TEXT,
            "model_version": _TEXT,
            "id": _TEXT,
            "parameters": _OBJECT,
            "outputs": {
                "type": "array",
                "items": {"type": "object", "required": list(output), "properties": output},
            },
        },
    }


def metadata() -> Schema:
    """The description of a model."""
    tensor = {
        "type": "object",
        "required": ["name", "datatype", "shape"],
        "properties": {
            "name": _TEXT,
            "datatype": _DATATYPE,
            "shape": {"type": "array", "items": {"type": "integer", "minimum": -1}},
            "parameters": _OBJECT,
        },
    }
    tensors = {"type": "array", "items": tensor}
    return {
        "type": "object",
        "required": ["name", "versions", "platform", "inputs", "outputs"],
        "properties": {
            "name": _TEXT,
            "versions": {"type": "array", "items": _TEXT},
            "platform": _TEXT,
            "inputs": tensors,
            "outputs": tensors,
            "parameters": _OBJECT,
        },
    }


def server() -> Schema:
    """The description of the server."""
    return {
        "type": "object",
        "required": ["name", "version", "extensions"],
        "properties": {"name": _TEXT, "version": _TEXT, "extensions": {"type": "array", "items": _TEXT}},
    }


def flag(name: str) -> Schema:
    """The answer of a health route."""
    return {"type": "object", "required": [name], "properties": {name: {"type": "boolean"}}}


def model_ready() -> Schema:
    """The readiness of a model."""
    return {
        "type": "object",
        "required": ["name", "ready"],
        "properties": {"name": _TEXT, "ready": {"type": "boolean"}},
    }
