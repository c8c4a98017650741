"""The model's own example, also in the other forms that a request can have."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

from servegen.server.errors import RefusedError
from servegen.server.inputs import Arrays, Columns, Input
from servegen.server.invocations import Invocations
from servegen.server.modelfile import ModelFile

_PYTHON = {"FP": float, "BO": bool}


def read(model: ModelFile) -> Input | None:
    """The parsed example; None without one that can be read."""
    if model.example is None:
        return None
    try:
        call, _ = Invocations(model, lenient=False).read(b"application/json", model.example)
    except RefusedError:
        # The warm-up says what is wrong with it.
        return None
    return call.input


def body(model: ModelFile) -> Any:
    """The example as JSON values; None without one."""
    try:
        return json.loads(model.example) if model.example is not None else None
    except ValueError:
        return None


def as_csv(data: Input | None) -> str | None:
    """The example as CSV text."""
    if not isinstance(data, Columns) or not data.names:
        return None
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(data.names)
    writer.writerows(zip(*data.cells, strict=True))
    return text.getvalue()


def as_infer(data: Input | None, inputs: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The example as an `infer` request for a model with the V2 metadata `inputs`."""
    if isinstance(data, Columns):
        cells = dict(zip(data.names, data.cells, strict=True))
        shape = [data.rows, 1]
        tensors = [_input(spec, shape, cells[spec["name"]]) for spec in inputs if spec["name"] in cells]
    elif isinstance(data, Arrays):
        named = data.value if isinstance(data.value, dict) else {inputs[0]["name"]: data.value}
        tensors = [
            _input(spec, list(named[spec["name"]].shape), named[spec["name"]].ravel().tolist())
            for spec in inputs
        ]
    else:
        return None
    return {"inputs": tensors} if tensors else None


def _input(spec: dict[str, Any], shape: list[int], cells: Any) -> dict[str, Any]:
    kind = _PYTHON.get(spec["datatype"][:2])
    data = [v if v is None or v != v or kind is None else kind(v) for v in cells]
    return {
        "name": spec["name"],
        "shape": shape,
        "datatype": spec["datatype"],
        "data": [None if v != v else v for v in data],
    }
