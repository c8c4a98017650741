"""The Open Inference Protocol over REST: requests to calls of the model, and its metadata."""

from __future__ import annotations

import base64
import binascii
import functools
import math
from collections.abc import Callable, Mapping
from typing import Any

from servegen.server import strict
from servegen.server.body import has_lone_surrogate, loads, plain, too_deep
from servegen.server.casting import (
    DTYPES,
    INTEGER_LIMITS,
    CellError,
    UnusualCellError,
    to_booleans,
    to_floats,
    to_integers,
)
from servegen.server.encoding import is_array
from servegen.server.errors import bad_request
from servegen.server.forms import TableReader
from servegen.server.inputs import Arrays, Call, Columns, Input, Whole
from servegen.server.modelfile import ModelFile
from servegen.server.params import ParamReader
from servegen.server.signature import Column, Signature, Tensor
from servegen.server.tensors import TensorReader, fitted
from servegen.server.v2_answers import Answer, Answers, Asked, json_body

_NUMPY = {
    "BOOL": "bool",
    **{f"{sign}INT{bits}": f"{sign.lower()}int{bits}" for sign in ("", "U") for bits in (8, 16, 32, 64)},
    "FP16": "float16",
    "FP32": "float32",
    "FP64": "float64",
}
DATATYPES = {dtype: datatype for datatype, dtype in _NUMPY.items()}
"""By numpy dtype; every other one is BYTES."""
_MOST_DIMENSIONS = 64
"""Of an array in numpy; some versions have fewer."""
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
        parameters = _parameters(request, "the request")
        inputs = self._read_inputs(request.get("inputs"))
        content = parameters.get("content_type") or _request_content(self._signature) or _guess(inputs)
        params = {
            name: value
            for name, value in parameters.items()
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

    def _read_inputs(self, inputs: Any) -> dict[str, _Given]:
        if not isinstance(inputs, list) or not inputs:
            msg = "`inputs` must be a list with at least one input"
            raise bad_request(msg)
        given: dict[str, _Given] = {}
        for spec in inputs:
            one = _Given(spec)
            if one.name in given:
                msg = f"input {one.name!r} is given twice"
                raise bad_request(msg)
            given[one.name] = one
        return given

    def _data(self, content: str, inputs: dict[str, _Given]) -> Input:
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

    def _array(self, inputs: dict[str, _Given]) -> Input:
        if len(inputs) != 1:
            msg = "the content type np takes exactly one input"
            raise bad_request(msg)
        (given,) = inputs.values()
        if self._tensors is None:
            return Arrays(value=given.array())
        tensor = self._tensors.tensors[0]
        array = fitted(_cast(self._tensors, given, tensor), tensor)
        return Arrays(value=self._tensors.complete({tensor.name: array}) if tensor.name else array)

    def _arrays(self, inputs: dict[str, _Given]) -> Input:
        reader = self._tensors
        if reader is None:
            return Arrays(value={name: given.array() for name, given in inputs.items()})
        known = {t.name: _cast(reader, inputs[t.name], t) for t in reader.tensors if t.name in inputs}
        return Arrays(value=reader.complete(known))

    def _frame(self, inputs: dict[str, _Given]) -> Input:
        rows = {given.rows() for given in inputs.values()}
        if len(rows) != 1:
            msg = "the inputs have different numbers of rows"
            raise bad_request(msg)
        (count,) = rows
        if self._table is None:
            columns = [given.column() for given in inputs.values()]
            return Columns(
                names=tuple(inputs),
                dtypes=tuple(dtype for dtype, _ in columns),
                cells=tuple(cells for _, cells in columns),
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
        is_named = (self._signature.columns or ())[0].name is not None
        if self._signature.type_hints and not is_named and len(cells) == 1:
            # The hint of a row is what the column holds; the model checks it.
            (column,) = cells.values()
            return Whole(value=column)
        data = [list(row) for row in zip(*cells.values(), strict=True)]
        form = {"columns": list(cells), "data": data} if is_named else {"data": data}
        return self._table.form("dataframe_split", form)


class _Given:
    """One input of a request, its data flat and checked against its own datatype."""

    def __init__(self, spec: Any) -> None:
        if not isinstance(spec, dict) or not isinstance(spec.get("name"), str):
            msg = "every input must be an object with a name"
            raise bad_request(msg)
        self.name: str = spec["name"]
        if _is_broken(self.name):
            msg = "the name of an input has half of a surrogate pair in it"
            raise bad_request(msg)
        shape, datatype = spec.get("shape"), spec.get("datatype")
        if (
            not isinstance(shape, list)
            or len(shape) > _MOST_DIMENSIONS
            or not all(type(n) is int and 0 <= n <= INTEGER_LIMITS["int64"][1] for n in shape)
        ):
            msg = f"input {self.name!r} needs a shape: a list of at most {_MOST_DIMENSIONS} whole numbers"
            raise bad_request(msg)
        if not isinstance(datatype, str) or (datatype != "BYTES" and datatype not in _NUMPY):
            msg = f"input {self.name!r} has an unknown datatype"
            raise bad_request(msg)
        if not isinstance(spec.get("data"), list) and not is_array(spec.get("data")):
            msg = f"input {self.name!r} needs data: a list"
            raise bad_request(msg)
        self.shape: tuple[int, ...] = tuple(shape)
        self.datatype: str = datatype
        self._content = _parameters(spec, f"input {self.name!r}").get("content_type")
        flat = spec["data"]
        while isinstance(flat, list) and any(isinstance(item, list) for item in flat):
            if not all(isinstance(item, list) for item in flat):
                msg = f"input {self.name!r} has ragged data"
                raise bad_request(msg)
            flat = [cell for item in flat for cell in item]
        if len(flat) != math.prod(shape):
            msg = f"input {self.name!r} has {len(flat)} values; its shape needs {math.prod(shape)}"
            raise bad_request(msg)
        # An array was raw bytes of the datatype: there is nothing to check.
        self.data: Any = flat if is_array(flat) else self._checked(flat)

    def _checked(self, flat: list[Any]) -> list[Any]:
        try:
            if self.datatype == "BYTES":
                if not all(isinstance(item, str) or item is None for item in flat):
                    msg = f"input {self.name!r} needs text"
                    raise bad_request(msg)
                if any(item is not None and _is_broken(item) for item in flat):
                    msg = f"input {self.name!r} has half of a surrogate pair in a text"
                    raise bad_request(msg)
                return flat
            if any(isinstance(item, (str, dict)) for item in flat):
                msg = f"input {self.name!r} needs numbers"
                raise bad_request(msg)
            if self.datatype == "BOOL":
                return list(to_booleans(flat))
            if self.datatype.startswith("FP"):
                return list(to_floats(_NUMPY[self.datatype])(flat))
            return list(to_integers(_NUMPY[self.datatype])(flat))
        except CellError as exc:
            msg = f"input {self.name!r}: value {exc.row} {exc.reason}"
            raise bad_request(msg) from None

    def rows(self) -> int:
        """The length as a column of a frame."""
        if len(self.shape) not in (1, 2) or self.shape[1:] not in ((), (1,)):
            msg = f"input {self.name!r} needs the shape [n] or [n, 1]"
            raise bad_request(msg)
        return self.shape[0]

    def cells(self, content: str) -> list[Any]:
        """The cells of a column, decoded as far as MLflow's frame forms do not do it themselves."""
        if self.datatype == "BYTES" and (self._content or content) == "pd_json":
            return [item if item is None else self._document(item) for item in self.data]
        return self.data.tolist() if is_array(self.data) else list(self.data)

    def column(self) -> tuple[str, Any]:
        """Type and cells of a column without a signature."""
        if self.datatype != "BYTES":
            return _NUMPY[self.datatype], self.cells("")
        flat = self.flat()
        return ("text", list(flat)) if flat.dtype == object else ("datetime64[ns]", flat)

    def array(self) -> Any:
        """An ndarray of the declared datatype and shape."""
        return self.shaped(self.flat())

    def flat(self) -> Any:
        """An ndarray of the declared datatype and one dimension; BYTES as their content type says."""
        import numpy as np

        if self.datatype != "BYTES":
            return np.array(self.data, dtype=_NUMPY[self.datatype])
        if self._content == "datetime":
            return self._moments()
        data = self.data
        if self._content == "base64":
            data = [_decoded(self.name, item) for item in self.data]
        elif self._content == "pd_json":
            data = plain(self.cells("pd_json"))
        # Filled item by item: numpy would take nested lists for further dimensions.
        made = np.empty(len(data), dtype=object)
        for place, item in enumerate(data):
            made[place] = item
        return made

    def shaped(self, array: Any) -> Any:
        """`array` in the shape of the input; raises RefusedError when numpy has no such shape."""
        try:
            return array.reshape(self.shape)
        except ValueError:
            msg = f"input {self.name!r} has a shape that no array can have"
            raise bad_request(msg) from None

    def _moments(self) -> Any:
        import numpy as np

        reason = strict.lossy_tensor_value("datetime64[ns]", self.data)
        if reason:
            msg = f"input {self.name!r}: a value {reason}"
            raise bad_request(msg)
        try:
            return np.array(self.data, dtype="datetime64[ns]")
        except ValueError:
            msg = f"input {self.name!r} needs ISO 8601 text"
            raise bad_request(msg) from None

    def _document(self, text: str) -> Any:
        content = text.encode()
        if has_lone_surrogate(content):
            msg = f"input {self.name!r} has half of a surrogate pair in a document"
            raise bad_request(msg)
        return loads(content)


def _is_broken(text: str) -> bool:
    """Whether UTF-8 cannot write `text`: there is half of a surrogate pair in it."""
    if text.isascii():
        return False
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def _cast(reader: TensorReader, given: _Given, tensor: Tensor) -> Any:
    sent = given.flat() if given.datatype == "BYTES" else given.data
    array = reader.cast(sent, tensor)
    reader.check(sent, tensor)
    return given.shaped(array)


def _decoded(name: str, text: Any) -> bytes:
    try:
        return base64.b64decode(text or "", validate=True)
    except (binascii.Error, ValueError):
        msg = f"input {name!r} needs base64"
        raise bad_request(msg) from None


def _parameters(holder: Mapping[str, Any], what: str) -> Mapping[str, Any]:
    parameters = holder.get("parameters")
    if parameters is None:
        return {}
    if not isinstance(parameters, dict):
        msg = f"the parameters of {what} must be an object"
        raise bad_request(msg)
    return parameters


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


def _guess(inputs: dict[str, _Given]) -> str:
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
