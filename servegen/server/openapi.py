"""OpenAPI 3.1 from the model's signature, params and example, and a page that shows it."""

from __future__ import annotations

import html
import json
from typing import Any

from servegen.server.modelfile import ModelFile
from servegen.server.signature import Column, Param, Signature, Tensor

Schema = dict[str, Any]

_SCALARS: dict[str, Schema] = {
    "long": {"type": "integer", "format": "int64"},
    "integer": {"type": "integer", "format": "int32"},
    "double": {"type": ["number", "null"], "format": "double"},
    "float": {"type": ["number", "null"], "format": "float"},
    "boolean": {"type": "boolean"},
    "string": {"type": ["string", "null"]},
    "binary": {"type": "string", "format": "byte"},
    "datetime": {"type": ["string", "null"], "format": "date-time"},
    "any": {},
}
_STATUSES = {
    "400": "The request does not fit the model, or the model refused it.",
    "413": "The body is too large.",
    "415": "The content type is not supported.",
    "429": "Too many requests wait; Retry-After says for how long.",
    "500": "The server failed.",
    "503": "Loading or shutting down.",
    "504": "The model did not answer in time.",
}


def document(model: ModelFile, v2: dict[str, Any], *, version: str) -> Schema:
    """The OpenAPI document of the server for `model`."""
    signature = model.signature
    request: Schema = {"schema": _request(signature)}
    if model.example is not None:
        request["example"] = json.loads(model.example)
    base = f"/v2/models/{model.name}"
    tensor: Schema = {
        "type": "object",
        "required": ["name", "shape", "datatype", "data"],
        "properties": {
            "name": {"type": "string", "examples": [i["name"] for i in v2["inputs"]]},
            "shape": {"type": "array", "items": {"type": "integer", "minimum": 0}},
            "datatype": {"type": "string"},
            "parameters": {"type": "object"},
            "data": {"type": "array"},
        },
    }
    infer: Schema = {
        "type": "object",
        "required": ["inputs"],
        "properties": {
            "id": {"type": "string"},
            "parameters": {"type": "object"},
            "inputs": {"type": "array", "minItems": 1, "items": tensor},
            "outputs": {"type": "array", "items": {"type": "object", "required": ["name"]}},
        },
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": model.name, "version": model.version, "summary": f"Served by servegen {version}."},
        "paths": {
            "/invocations": {"post": _operation("Predict.", request, _answer(signature), "Error")},
            f"{base}/infer": {"post": _operation("Infer.", {"schema": infer}, {"type": "object"}, "V2Error")},
            base: {"get": _read("Metadata of the model.", "V2Error")},
            f"{base}/ready": {"get": _read("Whether the model is ready.", "V2Error")},
            "/ping": {"get": _read("Whether the server is ready.", "Error")},
        },
        "components": {
            "schemas": {
                "Row": _row(signature.columns) if signature.columns else {"type": "object"},
                "Error": _error("error_code", "message"),
                "V2Error": _error("error"),
            }
        },
    }


def page(openapi: Schema) -> bytes:
    """A page without scripts that shows the document `openapi`."""
    title = html.escape(openapi["info"]["title"])
    parts = []
    for path, methods in openapi["paths"].items():
        for method, operation in methods.items():
            shown = html.escape(json.dumps(operation, indent=2))
            head = f"<code>{method.upper()} {html.escape(path)}</code> {html.escape(operation['summary'])}"
            parts.append(f"<details><summary>{head}</summary><pre>{shown}</pre></details>")
    schemas = html.escape(json.dumps(openapi["components"]["schemas"], indent=2))
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        "<style>body{font:16px/1.5 sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}"
        "pre{background:#f4f4f4;padding:1rem;overflow:auto}summary{cursor:pointer}</style></head><body>"
        f'<h1>{title}</h1><p>Machine-readable: <a href="openapi.json">openapi.json</a></p>'
        f"{''.join(parts)}<h2>Schemas</h2><pre>{schemas}</pre></body></html>"
    ).encode()


def _request(signature: Signature) -> Schema:
    if signature.type_hints:
        forms: list[Schema] = [_form("inputs", {})]
    elif signature.tensors:
        forms = [_form(key, _tensors(signature.tensors)) for key in ("inputs", "instances")]
    else:
        row = {"$ref": "#/components/schemas/Row"}
        split = {
            "type": "object",
            "required": ["data"],
            "properties": {
                "columns": {"type": "array", "items": {"type": "string"}},
                "index": {"type": "array"},
                "data": {"type": "array", "items": {"type": "array"}},
            },
            "additionalProperties": False,
        }
        forms = [
            _form("dataframe_split", split),
            _form("dataframe_records", {"type": "array", "items": row}),
            _form("instances", {}),
            _form("inputs", {}),
        ]
    if signature.params:
        params = {"type": ["object", "null"], "properties": {p.name: _param(p) for p in signature.params}}
        for form in forms:
            form["properties"]["params"] = params
    return {"oneOf": forms} if len(forms) > 1 else forms[0]


def _form(key: str, value: Schema) -> Schema:
    return {"type": "object", "required": [key], "properties": {key: value}}


def _answer(signature: Signature) -> Schema:
    predictions: Schema = {}
    if signature.output_tensors and len(signature.output_tensors) == 1:
        predictions = _tensors(signature.output_tensors)
    return {"type": "object", "required": ["predictions"], "properties": {"predictions": predictions}}


def _row(columns: tuple[Column, ...]) -> Schema:
    properties = {c.name or str(i): _column(c.spec) for i, c in enumerate(columns)}
    required = [c.name or str(i) for i, c in enumerate(columns) if c.required]
    return {"type": "object", "properties": properties, "required": required}


def _column(spec: Any) -> Schema:
    kind = spec["type"]
    if kind == "array":
        return {"type": "array", "items": _column(spec["items"])}
    if kind == "map":
        return {"type": "object", "additionalProperties": _column(spec["values"])}
    if kind == "object":
        properties = spec["properties"]
        return {
            "type": "object",
            "properties": {name: _column(p) for name, p in properties.items()},
            "required": [name for name, p in properties.items() if p.get("required", True)],
            "additionalProperties": False,
        }
    return dict(_SCALARS.get(kind, {}))


def _tensors(tensors: tuple[Tensor, ...]) -> Schema:
    if tensors[0].name is None:
        return _tensor(tensors[0])
    return {"type": "object", "properties": {str(t.name): _tensor(t) for t in tensors}}


def _tensor(tensor: Tensor) -> Schema:
    kind = "integer" if "int" in tensor.dtype else "boolean" if tensor.dtype == "bool" else "number"
    schema: Schema = {"type": kind if tensor.dtype not in ("str", "bytes", "object") else "string"}
    for length in reversed(tensor.shape):
        fixed = {} if length == -1 else {"minItems": length, "maxItems": length}
        schema = {"type": "array", "items": schema, **fixed}
    return schema


def _param(param: Param) -> Schema:
    schema = dict(_SCALARS.get(param.type, {}))
    if param.many:
        schema = {"type": "array", "items": schema}
    return {**schema, "default": param.default}


def _operation(summary: str, request: Schema, answer: Schema, error: str) -> Schema:
    operation = _read(summary, error, answer)
    return {"summary": summary, "requestBody": {"required": True, "content": _content(request)}, **operation}


def _read(summary: str, error: str, answer: Schema | None = None) -> Schema:
    reference = {"schema": {"$ref": f"#/components/schemas/{error}"}}
    responses: Schema = {"200": {"description": "The answer.", "content": _content({"schema": answer or {}})}}
    for status, text in _STATUSES.items():
        if answer is not None or status == "503":
            responses[status] = {"description": text, "content": _content(reference)}
    return {"summary": summary, "responses": responses}


def _content(media: Schema) -> Schema:
    return {"application/json": media}


def _error(*keys: str) -> Schema:
    return {
        "type": "object",
        "required": list(keys),
        "properties": {key: {"type": "string"} for key in keys},
    }
