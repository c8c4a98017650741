"""What a model returned, as the output tensors of the Open Inference Protocol."""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import orjson

from servegen.server import encoding
from servegen.server.errors import RefusedError, bad_request, internal
from servegen.server.imported import imported
from servegen.server.modelfile import ModelFile

_DATATYPES = {
    "bool": "BOOL",
    **{f"{sign}int{bits}": f"{sign.upper()}INT{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)},
    "float16": "FP16",
    "float32": "FP32",
    "float64": "FP64",
}
_PYTHON: dict[type, tuple[str, str]] = {bool: ("BOOL", "np"), int: ("INT64", "np"), float: ("FP64", "np")}


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What a request wants to see in its answer."""

    id: str | None
    outputs: tuple[str, ...] | None


@dataclass(frozen=True, kw_only=True)
class Output:
    """One tensor of an answer."""

    name: str
    shape: list[int]
    datatype: str
    content: str
    data: Any
    """A list, or an array of one dimension."""

    def body(self) -> dict[str, Any]:
        """Its JSON form."""
        return {
            "name": self.name,
            "shape": self.shape,
            "datatype": self.datatype,
            "parameters": {"content_type": self.content},
            "data": self.data.tolist() if encoding.is_array(self.data) else self.data,
        }


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What every form of an answer says."""

    model_name: str
    model_version: str
    id: str | None
    content: str
    """Its content type; empty without one."""
    outputs: list[Output]


class Answers:
    """Writes the answers of one model."""

    def __init__(self, model: ModelFile, outputs: list[dict[str, Any]]) -> None:
        self._name = model.name
        self._version = model.version
        self._names = [o["name"] for o in outputs]
        self._types = {o["name"]: (o["datatype"], o["parameters"]["content_type"]) for o in outputs}
        tensors = model.signature.output_tensors or ()
        self._flat = bool(tensors) and len(tensors[0].shape) == 1

    def encode(self, asked: Asked, write: Callable[[Answer], bytes], value: Any) -> bytes:
        """The answer in the form of `write`; raises RefusedError for an unknown output."""
        try:
            outputs, content = self._outputs(value)
        except RefusedError:
            raise
        except (TypeError, ValueError, OverflowError) as exc:
            msg = "the model's answer cannot be written as tensors"
            raise internal(msg) from exc
        if asked.outputs is not None:
            by_name = {o.name: o for o in outputs}
            unknown = [name for name in asked.outputs if name not in by_name]
            if unknown:
                msg = "an output of the request does not exist"
                raise bad_request(msg)
            outputs = [by_name[name] for name in asked.outputs]
        return write(
            Answer(
                model_name=self._name,
                model_version=self._version,
                id=asked.id,
                content=content,
                outputs=outputs,
            )
        )

    def _outputs(self, value: Any) -> tuple[list[Output], str]:
        pandas = imported("pandas")
        if pandas is not None and isinstance(value, pandas.DataFrame):
            return [
                self._column(str(name), value.iloc[:, place]) for place, name in enumerate(value.columns)
            ], "pd"
        if pandas is not None and isinstance(value, pandas.Series):
            return [self._column(self._first(), value)], ""
        if encoding.is_array(value):
            return [self._array(self._first(), value, lone=True)], ""
        if isinstance(value, dict) and value and all(map(_is_tensor, value.values())):
            return [self._entry(str(name), item) for name, item in value.items()], "dict"
        if isinstance(value, (list, tuple)):
            return [self._list(list(value))], ""
        return [self._document(value)], ""

    def _first(self) -> str:
        return self._names[0] if self._names else "output-0"

    def _column(self, name: str, series: Any) -> Output:
        datatype = _DATATYPES.get(str(series.dtype).lower().removesuffix("[pyarrow]"))
        if datatype and str(series.dtype) in _DATATYPES:
            return Output(
                name=name, shape=[len(series), 1], datatype=datatype, content="np", data=series.to_numpy()
            )
        return self._items(name, series.tolist(), [len(series), 1])

    def _array(self, name: str, array: Any, *, lone: bool) -> Output:
        shape = list(array.shape)
        if lone and len(shape) == 1 and not self._flat:
            shape = [*shape, 1]
        datatype = _DATATYPES.get(array.dtype.name)
        if datatype:
            data = array.ravel()
            return Output(name=name, shape=shape or [1], datatype=datatype, content="np", data=data)
        if array.dtype.kind == "M":
            import numpy as np

            text = ["NaT" if np.isnat(v) else str(v) for v in array.ravel()]
            return Output(name=name, shape=shape or [1], datatype="BYTES", content="datetime", data=text)
        return self._items(name, array.ravel().tolist(), shape or [1])

    def _entry(self, name: str, value: Any) -> Output:
        if encoding.is_array(value):
            return self._array(name, value, lone=False)
        pandas = imported("pandas")
        if pandas is not None and isinstance(value, pandas.Series):
            return self._array(name, value.to_numpy(), lone=False)
        item = value.item() if hasattr(value, "item") else value
        datatype, content = _PYTHON[type(item)]
        declared = self._types.get(name)
        if declared and declared[0][:2] == datatype[:2]:
            datatype = declared[0]
        return Output(name=name, shape=[1], datatype=datatype, content=content, data=[item])

    def _list(self, values: list[Any]) -> Output:
        values = [v.item() if hasattr(v, "item") and not encoding.is_array(v) else v for v in values]
        if values and all(isinstance(v, (list, tuple)) or encoding.is_array(v) for v in values):
            import numpy as np

            array = np.array(values)
            return self._array(self._first(), array, lone=True)
        shape = [len(values)] if self._flat else [len(values), 1]
        return self._items(self._first(), values, shape)

    def _items(self, name: str, values: list[Any], shape: list[int]) -> Output:
        """Python values of one kind as its datatype, a mixture as JSON documents."""
        missing = [_is_missing(v) for v in values]
        kinds = {type(v) for v, gone in zip(values, missing, strict=True) if not gone}
        declared = self._types.get(name, ("BYTES", "str"))[1]
        datatype, content, write = _writer(kinds, declared, has_missing=any(missing))
        data: list[Any]
        if write is _document:
            data = [_document(v) for v in values]
        else:
            data = [None if gone else write(v) for v, gone in zip(values, missing, strict=True)]
        return Output(name=name, shape=shape, datatype=datatype, content=content, data=data)

    def _document(self, value: Any) -> Output:
        if isinstance(value, str):
            return Output(name=self._first(), shape=[1], datatype="BYTES", content="str", data=[value])
        return Output(
            name=self._first(), shape=[1], datatype="BYTES", content="pd_json", data=[_document(value)]
        )


def json_body(answer: Answer) -> bytes:
    """The body of an answer over REST."""
    body: dict[str, Any] = {"model_name": answer.model_name, "model_version": answer.model_version}
    if answer.id is not None:
        body["id"] = answer.id
    if answer.content:
        body["parameters"] = {"content_type": answer.content}
    body["outputs"] = [o.body() for o in answer.outputs]
    try:
        return orjson.dumps(body)
    except TypeError:
        # Integers beyond 64 bit or lone surrogates, which orjson refuses.
        return encoding.dumps(body)


def _is_tensor(value: Any) -> bool:
    pandas = imported("pandas")
    return (
        encoding.is_array(value)
        or isinstance(value, (bool, int, float))
        or hasattr(value, "dtype")
        or (pandas is not None and isinstance(value, pandas.Series))
    )


def _is_missing(value: Any) -> bool:
    pandas = imported("pandas")
    if value is None or (isinstance(value, float) and value != value):
        return True
    return pandas is not None and (value is pandas.NA or value is pandas.NaT)


def _document(value: Any) -> str:
    return encoding.dumps(value).decode()


def _same(value: Any) -> Any:
    return value


def _base64(value: bytes) -> str:
    return base64.b64encode(value).decode("ascii")


def _iso(value: Any) -> str:
    return str(value.isoformat())


def _writer(kinds: set[type], declared: str, *, has_missing: bool) -> tuple[str, str, Callable[[Any], Any]]:
    """Datatype, content type and conversion for values of `kinds`; a null exists in floats and text alone."""
    if declared == "pd_json":
        return "BYTES", "pd_json", _document
    if not kinds:
        return "BYTES", "str" if declared == "np" else declared, _same
    if kinds <= {int, float} and (float in kinds or not has_missing):
        return ("FP64", "np", float) if float in kinds else ("INT64", "np", _same)
    if kinds == {bool} and not has_missing:
        return "BOOL", "np", _same
    if kinds == {str}:
        return "BYTES", "str", _same
    if kinds <= {bytes, bytearray}:
        return "BYTES", "base64", _base64
    if all(hasattr(kind, "isoformat") for kind in kinds):
        return "BYTES", "datetime", _iso
    return "BYTES", "pd_json", _document
