"""The schema of an answer of `/invocations`, from the outputs of the signature.

A signature does not say whether the model returns a frame, a dict or an array, so each of them is named.
"""

from __future__ import annotations

from servegen.server.modelfile import ModelFile
from servegen.server.openapi.cells import Schema, answered_cell, tensor, tensor_cell
from servegen.server.openapi.requests import takes_llm_requests
from servegen.server.signature import Column, Signature, Tensor


def answer(model: ModelFile) -> Schema:
    """The body of a 200."""
    predictions = {
        "title": "predictions",
        "type": "object",
        "required": ["predictions"],
        "properties": {"predictions": _predictions(model.signature)},
        "additionalProperties": False,
    }
    if takes_llm_requests(model):
        whole = {"title": "language model", "description": "The model's answer itself."}
        return {"anyOf": [predictions, whole]}
    return predictions


def _predictions(signature: Signature) -> Schema:
    if signature.output_tensors:
        return _tensors(signature.output_tensors)
    if signature.output_columns:
        return _columns(signature.output_columns)
    return {}


def _tensors(tensors: tuple[Tensor, ...]) -> Schema:
    if tensors[0].name is None:
        return tensor(tensors[0])
    arrays = {str(t.name): tensor(t) for t in tensors}
    cells = {str(t.name): tensor_cell(t) if t.shape else {} for t in tensors}
    rows = {"type": "array", "items": {"type": "object", "properties": cells}}
    return {"anyOf": [{"type": "object", "properties": arrays, "required": list(arrays)}, rows]}


def _columns(columns: tuple[Column, ...]) -> Schema:
    cells = [answered_cell(c.spec, required=c.required) for c in columns]
    if columns[0].name is None:
        # A series or frame has labels that the signature does not know.
        row = {"type": "object"}
        values = cells[0] if len(cells) == 1 else {"type": "array"}
        return {"type": "array", "items": {"anyOf": [values, row]}}
    named = {str(c.name): cell for c, cell in zip(columns, cells, strict=True)}
    required = [str(c.name) for c in columns if c.required]
    rows = {"type": "object", "properties": named, "required": required}
    both = {n: {"anyOf": [cell, {"type": "array", "items": cell}]} for n, cell in named.items()}
    schemas: list[Schema] = [
        {"type": "array", "items": rows},
        {"type": "object", "properties": both, "required": required},
    ]
    if len(cells) == 1:
        schemas += [{"type": "array", "items": cells[0]}, cells[0]]
    return {"anyOf": schemas}
