"""The schema of a body for `/invocations`: one form a data key, and that of language models."""

from __future__ import annotations

from servegen.server.forms import KEYS, LLM_KEYS
from servegen.server.modelfile import ModelFile
from servegen.server.openapi.cells import NESTED, Schema, asked_cell, param, tensor, tensor_cell
from servegen.server.signature import PLAIN, Column, Param, Signature, Tensor

ROW: Schema = {"$ref": "#/components/schemas/Row"}
_ROWS: Schema = {"type": "array", "items": ROW, "minItems": 1}
_ANY_ROWS: Schema = {"type": "array", "items": ROW}
_STREAM: Schema = {"type": "boolean", "default": False, "description": "Answer with server-sent events."}


def takes_llm_requests(model: ModelFile) -> bool:
    """Whether a body with `messages`, `prompt` or `input` makes sense for `model`."""
    signature = model.signature
    if signature.type_hints or signature.tensors:
        return False
    return not signature.columns or any(c.name in LLM_KEYS for c in signature.columns)


def row(signature: Signature) -> Schema:
    """One row, whichever data key it comes under."""
    if signature.type_hints:
        return _hinted(signature) or {}
    if signature.tensors:
        return _tensor_row(signature.tensors)
    if not signature.columns:
        return {"type": "object"}
    columns = _named(signature.columns)
    return {
        "type": "object",
        "properties": {name: asked_cell(c.spec, required=c.required) for name, c in columns},
        "required": [name for name, c in columns if c.required],
    }


def body(model: ModelFile) -> Schema:
    """A whole JSON body."""
    signature = model.signature
    if signature.type_hints:
        forms = {"inputs": _ANY_ROWS if _hinted(signature) else {}}
    elif signature.tensors:
        forms = _tensor_forms(signature.tensors)
    elif signature.columns:
        forms = _table_forms(signature.columns)
    else:
        forms = {
            "dataframe_split": _split({}),
            "dataframe_records": _ANY_ROWS,
            "instances": {},
            "inputs": {},
        }
    extra: Schema = {}
    if signature.params:
        properties = {p.name: param(p) for p in signature.params}
        extra["params"] = {"type": ["object", "null"], "properties": properties}
    if model.streamable:
        extra["stream"] = _STREAM
    if takes_llm_requests(model):
        # One of these keys would make it a request of the last form.
        extra |= dict.fromkeys(LLM_KEYS, False)
    schemas = [
        # Exactly one of the keys, also where the value of another one could not be read.
        _form(key, value, extra if signature.type_hints else {**dict.fromkeys(KEYS, False), **extra})
        for key, value in forms.items()
    ]
    if takes_llm_requests(model):
        schemas.append(
            _llm_form(signature.columns or (), signature.params or (), streamable=model.streamable)
        )
    return {"oneOf": schemas} if len(schemas) > 1 else schemas[0]


def reads_csv(signature: Signature) -> bool:
    """Whether every column has a type that CSV text can carry."""
    columns = signature.columns or ()
    return not (signature.type_hints or signature.tensors) and all(c.type in PLAIN for c in columns)


def reads_parquet(signature: Signature) -> bool:
    """Whether the input can be a table."""
    return not (signature.type_hints or signature.tensors)


def _form(key: str, value: Schema, extra: Schema) -> Schema:
    return {"title": key, "type": "object", "required": [key], "properties": {**extra, key: value}}


def _llm_form(columns: tuple[Column, ...], params: tuple[Param, ...], *, streamable: bool) -> Schema:
    known = {c.name: asked_cell(c.spec, required=c.required) for c in columns}
    properties: Schema = {key: known.get(key, {}) for key in LLM_KEYS}
    properties |= {name: schema for name, schema in known.items() if name is not None}
    properties |= {p.name: param(p) for p in params}
    if streamable:
        properties["stream"] = _STREAM
    needed = [c.name for c in columns if c.required and c.name]
    form: Schema = {"title": "language model", "type": "object", "properties": properties}
    if needed and any(name in LLM_KEYS for name in needed):
        return {**form, "required": needed}
    return {**form, "anyOf": [{"required": [key]} for key in LLM_KEYS]}


def _hinted(signature: Signature) -> Schema | None:
    """A row by the model's type hints; None where they say nothing."""
    columns = signature.columns or ()
    if len(columns) == 1 and columns[0].name is None:
        return asked_cell(columns[0].spec, required=columns[0].required)
    return None


def _table_forms(columns: tuple[Column, ...]) -> dict[str, Schema]:
    forms = {
        "dataframe_split": _split({}, names=[c.name for c in columns if c.name is not None]),
        "dataframe_records": _ROWS,
    }
    if columns[0].name is None:
        kinds = {c.type for c in columns}
        if len(kinds) == 1 and not kinds & NESTED:
            values = {"type": "array", "items": asked_cell(columns[0].spec, required=True)}
            forms["inputs"] = forms["instances"] = {"type": "array", "items": values, "minItems": 1}
        return forms
    if any(c.type in NESTED for c in columns):
        # `instances` turns rows to columns, which nested values do not survive.
        return {**forms, "inputs": {"anyOf": [_ROWS, ROW]}}
    alternatives: list[Schema] = [_ROWS, _columns(columns), ROW]
    if len(columns) == 1:
        cell = asked_cell(columns[0].spec, required=columns[0].required)
        alternatives.append({"type": "array", "items": cell})
    return {**forms, "instances": {"anyOf": alternatives}, "inputs": {"anyOf": alternatives}}


def _columns(columns: tuple[Column, ...]) -> Schema:
    cells = {str(c.name): asked_cell(c.spec, required=c.required) for c in columns}
    return {
        "title": "columns of equal length",
        "type": "object",
        "properties": {name: {"type": "array", "items": cell} for name, cell in cells.items()},
        "required": [str(c.name) for c in columns if c.required],
    }


def _split(cell: Schema, *, names: list[str] | None = None) -> Schema:
    labels: Schema = {"type": "array", "items": {"type": "string"}}
    if names:
        labels |= {"uniqueItems": True, "examples": [names]}
    return {
        "type": "object",
        "required": ["columns", "data"] if names else ["data"],
        "properties": {
            "columns": labels,
            "index": {"type": "array"},
            "data": {"type": "array", "items": {"type": "array", "items": cell}},
        },
        "additionalProperties": False,
    }


def _tensor_forms(tensors: tuple[Tensor, ...]) -> dict[str, Schema]:
    whole: Schema = tensor(tensors[0])
    if tensors[0].name is not None:
        properties = {str(t.name): tensor(t) for t in tensors}
        whole = {"type": "object", "properties": properties, "required": list(properties)}
    forms = {"instances": whole, "inputs": whole}
    if all(t.shape and t.shape[0] == -1 and -1 not in t.shape[1:] for t in tensors):
        if tensors[0].name is not None:
            forms["instances"] = {"anyOf": [whole, _ROWS]}
        names = [str(t.name) for t in tensors if t.name is not None]
        forms = {"dataframe_split": _split({}, names=names), "dataframe_records": _ROWS, **forms}
    return forms


def _tensor_row(tensors: tuple[Tensor, ...]) -> Schema:
    if tensors[0].name is not None:
        properties = {str(t.name): tensor_cell(t) for t in tensors}
        return {"type": "object", "properties": properties, "required": list(properties)}
    cell = tensor_cell(tensors[0])
    flat: Schema = {"type": "object", "additionalProperties": cell, "minProperties": 1, "maxProperties": 1}
    width = tensors[0].shape[-1] if len(tensors[0].shape) == 2 else 1
    if width <= 1:
        return flat
    wide = {"additionalProperties": cell["items"], "minProperties": width, "maxProperties": width}
    return {"anyOf": [flat, {"type": "object", **wide}]}


def _named(columns: tuple[Column, ...]) -> list[tuple[str, Column]]:
    return [(c.name if c.name is not None else str(i), c) for i, c in enumerate(columns)]
