"""The Open Inference Protocol over REST: requests to calls of the model, and its metadata."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from servegen.server.body import loads, too_deep
from servegen.server.casting import DTYPES, UnusualCellError
from servegen.server.datatypes import DATATYPES
from servegen.server.errors import bad_request, invalid_schema
from servegen.server.forms import TableReader
from servegen.server.inputs import Arrays, Call, Columns, Input, Whole
from servegen.server.modelfile import ModelFile
from servegen.server.params import ParamReader
from servegen.server.signature import Column, Signature, Tensor
from servegen.server.tensors import TensorReader, fitted
from servegen.server.v2_answers import Answer, Answers, Asked, json_body
from servegen.server.v2_inputs import GivenInput, parameters

_CONTENTS = ("pd", "np", "dict")
_COLUMN_CONTENT = {"string": "str", "binary": "base64", "datetime": "datetime"}
_RESERVED = frozenset(
    (
        "content_type",
        "headers",
        "sequence_id",
        "sequence_start",
        "sequence_end",
        "priority",
        "timeout",
        "binary_data_output",
    )
)


class OpenInference:
    """Reads `infer` requests for one model and describes it."""

    def __init__(self, model: ModelFile) -> None:
        self._model = model
        self._signature = model.signature
        self._params = ParamReader(model.signature.params)
        self._table = TableReader(model.signature.columns) if model.signature.columns else None
        self._tensors = TensorReader(model.signature.tensors) if model.signature.tensors else None
        self._inputs = _described(model.signature.columns, model.signature.tensors, "input")
        self._outputs = _described(model.signature.output_columns, model.signature.output_tensors, "output")
        self._content = {spec["name"]: spec["parameters"]["content_type"] for spec in self._inputs}
        self._answers = Answers(model, self._outputs)

    def metadata(self) -> dict[str, Any]:
        """The body of the model's metadata."""
        content = _request_content(self._signature)
        return {
            "name": self._model.name,
            "versions": [self._model.version],
            "platform": "mlflow_pyfunc",
            "inputs": self._inputs,
            "outputs": self._outputs,
            **({"parameters": {"content_type": content}} if content else {}),
        }

    def read(self, body: bytes) -> Call:
        """The call that the JSON text of an `infer` request asks for."""
        try:
            return self.call(loads(body), json_body)
        except RecursionError:
            raise too_deep() from None

    def call(self, request: Any, write: Callable[[Answer], bytes]) -> Call:
        """The call that an `infer` request asks for, parsed; data may be arrays of one dimension."""
        if not isinstance(request, dict):
            msg = "the request body must be a JSON object"
            raise bad_request(msg)
        given = parameters(request, "the request")
        inputs = self._read_inputs(request.get("inputs"))
        content = given.get("content_type") or _request_content(self._signature) or _guess(inputs)
        params = {
            name: value
            for name, value in given.items()
            # Null is a parameter that is not given.
            if value is not None and name not in _RESERVED and not name.startswith("triton_")
        }
        identity = request.get("id")
        if identity is not None and not isinstance(identity, str):
            msg = "`id` must be text"
            raise bad_request(msg)
        asked = Asked(id=identity, outputs=_asked_outputs(request.get("outputs")))
        return Call(
            input=self._data(content, inputs),
            params=self._params.read(params or None),
            encode=functools.partial(self._answers.encode, asked, write),
        )

    def _read_inputs(self, inputs: Any) -> dict[str, GivenInput]:
        if not isinstance(inputs, list) or not inputs:
            msg = "`inputs` must be a list with at least one input"
            raise bad_request(msg)
        given: dict[str, GivenInput] = {}
        for spec in inputs:
            one = GivenInput(spec)
            if one.name in given:
                msg = f"input {one.name!r} is given twice"
                raise bad_request(msg)
            given[one.name] = one
        return given

    def _data(self, content: str, inputs: dict[str, GivenInput]) -> Input:
        if content not in _CONTENTS:
            msg = f"the content type must be {', '.join(_CONTENTS[:-1])} or {_CONTENTS[-1]}"
            raise bad_request(msg)
        if self._tensors is not None:
            named = self._tensors.tensors[0].name is not None
            return self._arrays(inputs) if named and content != "np" else self._array(inputs)
        if content == "pd" or self._table is not None:
            if content == "np":
                msg = "the model takes columns: the content type must be pd"
                raise bad_request(msg)
            return self._frame(inputs)
        if content == "dict":
            return self._arrays(inputs)
        return self._array(inputs)

    def _array(self, inputs: dict[str, GivenInput]) -> Input:
        if len(inputs) != 1:
            msg = "the content type np takes exactly one input"
            raise bad_request(msg)
        (given,) = inputs.values()
        if self._tensors is None:
            return Arrays(value=given.array())
        tensor = self._tensors.tensors[0]
        array = fitted(_cast(self._tensors, given, tensor), tensor)
        return Arrays(value=self._tensors.complete({tensor.name: array}) if tensor.name else array)

    def _arrays(self, inputs: dict[str, GivenInput]) -> Input:
        reader = self._tensors
        if reader is None:
            return Arrays(value={name: given.array() for name, given in inputs.items()})
        known = {t.name: _cast(reader, inputs[t.name], t) for t in reader.tensors if t.name in inputs}
        return Arrays(value=reader.complete(known))

    def _frame(self, inputs: dict[str, GivenInput]) -> Input:
        # Others are dropped, whatever they are.
        known = [given for name, given in inputs.items() if name in self._content] or inputs.values()
        rows = {given.rows() for given in known}
        if len(rows) != 1:
            msg = "the inputs have different numbers of rows"
            raise bad_request(msg)
        (count,) = rows
        if self._table is None:
            free = [given.column() for given in inputs.values()]
            return Columns(
                names=tuple(inputs),
                dtypes=tuple(dtype for dtype, _ in free),
                cells=tuple(cells for _, cells in free),
                rows=count,
            )
        names = [spec["name"] for spec in self._inputs]
        cells = {name: inputs[name].cells(self._content[name]) for name in names if name in inputs}
        if self._table.is_plain:
            try:
                return self._table.cast(cells, count)
            except UnusualCellError:
                # A JSON document where a scalar belongs: MLflow decides.
                pass
        columns = self._signature.columns or ()
        missing = [n for n, c in zip(names, columns, strict=True) if c.required and n not in cells]
        if missing:
            msg = f"missing inputs: {', '.join(map(repr, missing))}"
            raise invalid_schema(msg)
        is_named = columns[0].name is not None
        if self._signature.type_hints and not is_named and len(cells) == 1:
            # The hint of a row is what the column holds; the model checks it.
            (column,) = cells.values()
            return Whole(value=column)
        data = [list(row) for row in zip(*cells.values(), strict=True)]
        form = {"columns": list(cells), "data": data} if is_named else {"data": data}
        return self._table.form("dataframe_split", form)


def _cast(reader: TensorReader, given: GivenInput, tensor: Tensor) -> Any:
    sent = given.flat() if given.datatype == "BYTES" else given.data
    array = reader.cast(sent, tensor)
    reader.check(sent, tensor)
    return given.shaped(array)


def _asked_outputs(outputs: Any) -> tuple[str, ...] | None:
    if outputs is None:
        return None
    if not isinstance(outputs, list) or not all(
        isinstance(o, dict) and isinstance(o.get("name"), str) for o in outputs
    ):
        msg = "`outputs` must be a list of objects with a name"
        raise bad_request(msg)
    return tuple(o["name"] for o in outputs) or None


def _request_content(signature: Signature) -> str | None:
    if signature.columns:
        return "pd"
    if signature.tensors:
        return "np" if signature.tensors[0].name is None else "dict"
    return None


def _guess(inputs: dict[str, GivenInput]) -> str:
    if len(inputs) == 1:
        return "np"
    flat = all(len(g.shape) == 1 or (len(g.shape) == 2 and g.shape[1] == 1) for g in inputs.values())
    return "pd" if flat and len({g.shape[0] for g in inputs.values()}) == 1 else "dict"


def _described(
    columns: tuple[Column, ...] | None, tensors: tuple[Tensor, ...] | None, unnamed: str
) -> list[dict[str, Any]]:
    described = []
    for i, column in enumerate(columns or ()):
        datatype = DATATYPES.get(DTYPES.get(column.type, ""), "BYTES")
        content = "np" if datatype != "BYTES" else _COLUMN_CONTENT.get(column.type, "pd_json")
        described.append(_description(column.name or f"{unnamed}-{i}", datatype, [-1, 1], content))
    for i, tensor in enumerate(tensors or ()):
        datatype = DATATYPES.get(tensor.dtype, "BYTES")
        content = "np" if datatype != "BYTES" else "str"
        described.append(_description(tensor.name or f"{unnamed}-{i}", datatype, list(tensor.shape), content))
    return described


def _description(name: str, datatype: str, shape: list[int], content: str) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": shape, "parameters": {"content_type": content}}
