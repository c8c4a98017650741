"""What a model returned, as the output tensors of the Open Inference Protocol."""

from __future__ import annotations

import base64
import datetime
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import orjson

from servegen.server import encoding
from servegen.server.casting import FLOAT_LIMITS, INFINITY, INTEGER_LIMITS
from servegen.server.datatypes import DATATYPES, DTYPES, MOST_DIMENSIONS
from servegen.server.errors import RefusedError, bad_request, internal
from servegen.server.imported import imported
from servegen.server.modelfile import ModelFile

_EXACT = {"float16": 2**11, "float32": 2**24, "float64": 2**53}
"""Up to here every integer is a float of the dtype."""


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
        self._unnamed = any(c.name is None for c in model.signature.output_columns or ())
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
            names = [str(name) for name in value.columns]
            if self._unnamed and len(names) == len(self._names):
                names = self._names
            return [self._column(name, value.iloc[:, place]) for place, name in enumerate(names)], "pd"
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
        dtype = str(series.dtype).lower().removesuffix("[pyarrow]")
        shape = [len(series), 1]
        # Types of pandas' own have missing cells, which numbers of numpy do not.
        if dtype in DATATYPES and (str(series.dtype) == dtype or not series.hasnans):
            data = series.to_numpy(dtype)
            return Output(name=name, shape=shape, datatype=DATATYPES[dtype], content="np", data=data)
        return self._items(name, series.tolist(), shape)

    def _array(self, name: str, array: Any, *, lone: bool) -> Output:
        shape = list(array.shape) or [1]
        if lone and array.ndim == 1 and not self._flat:
            shape = [*shape, 1]
        datatype = DATATYPES.get(array.dtype.name)
        if datatype:
            return Output(name=name, shape=shape, datatype=datatype, content="np", data=array.ravel())
        if array.dtype.kind == "M":
            data = list(map(str, array.ravel()))
            return Output(name=name, shape=shape, datatype="BYTES", content="datetime", data=data)
        return self._items(name, array.ravel().tolist(), shape)

    def _entry(self, name: str, value: Any) -> Output:
        if encoding.is_array(value):
            return self._array(name, value, lone=False)
        pandas = imported("pandas")
        if pandas is not None and isinstance(value, pandas.Series):
            return self._array(name, value.to_numpy(), lone=False)
        if not hasattr(value, "dtype"):
            return self._items(name, [value], [1])
        import numpy as np

        return self._array(name, np.array(value), lone=False)

    def _list(self, values: list[Any]) -> Output:
        if values and all(_is_scalar(v) or encoding.is_array(v) for v in values):
            import numpy as np

            if len({(v.dtype, v.shape) for v in values}) == 1:
                return self._array(self._first(), np.stack(values), lone=True)
        shape, cells = _rectangle(values)
        if len(shape) == 1 and not self._flat:
            shape = [*shape, 1]
        return self._items(self._first(), cells, shape)

    def _items(self, name: str, values: list[Any], shape: list[int]) -> Output:
        """Python values of one kind as its datatype, a mixture as JSON documents."""
        values = [v.item() if _is_scalar(v) else v for v in values]
        missing = [_is_missing(v) for v in values]
        present = [v for v, gone in zip(values, missing, strict=True) if not gone]
        datatype, content, write = _writer(present, self._types.get(name), has_missing=any(missing))
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
    if encoding.is_array(value) or type(value) in (bool, int, float):
        return True
    pandas = imported("pandas")
    if pandas is not None and isinstance(value, pandas.Series):
        return True
    return _is_scalar(value) and value.dtype.name in DATATYPES


def _is_scalar(value: Any) -> bool:
    """Whether `value` is a numpy scalar."""
    numpy = imported("numpy")
    return numpy is not None and isinstance(value, numpy.generic)


def _is_missing(value: Any) -> bool:
    pandas = imported("pandas")
    if value is None or (isinstance(value, float) and value != value):
        return True
    return pandas is not None and (value is pandas.NA or value is pandas.NaT)


def _rectangle(values: list[Any]) -> tuple[list[int], list[Any]]:
    """Shape and cells of nested lists, as deep as the lists of one level have one length."""
    shape, cells = [len(values)], values
    while (
        cells
        and len(shape) < MOST_DIMENSIONS
        and all(isinstance(cell, (list, tuple)) or encoding.is_array(cell) for cell in cells)
    ):
        inner = [cell.tolist() if encoding.is_array(cell) else cell for cell in cells]
        widths = {len(cell) if isinstance(cell, (list, tuple)) else -1 for cell in inner}
        (width, *others) = widths
        if others or width < 0:
            break
        shape, cells = [*shape, width], [item for cell in inner for item in cell]
    return shape, cells


def _document(value: Any) -> str:
    return encoding.dumps(value).decode()


def _same(value: Any) -> Any:
    return value


def _base64(value: bytes) -> str:
    return base64.b64encode(value).decode("ascii")


def _iso(value: Any) -> str:
    return str(value.isoformat())


def _writer(
    values: list[Any], declared: tuple[str, str] | None, *, has_missing: bool
) -> tuple[str, str, Callable[[Any], Any]]:
    """Datatype, content type and conversion of `values`; a null exists in floats and text alone."""
    datatype, content = declared or ("BYTES", "str")
    kinds = set(map(type, values))
    if content == "pd_json":
        return "BYTES", "pd_json", _document
    if not kinds:
        if datatype != "BYTES" and not (has_missing and not datatype.startswith("FP")):
            return datatype, "np", _same
        return "BYTES", "str" if content == "np" else content, _same
    if kinds == {bool} and not has_missing:
        return "BOOL", "np", _same
    if kinds <= {int, float}:
        number = _number(values, kinds, datatype, has_missing=has_missing)
        if number:
            return number, "np", float if number.startswith("FP") else _same
    if kinds == {str}:
        return "BYTES", "str", _same
    if kinds <= {bytes, bytearray}:
        return "BYTES", "base64", _base64
    if all(issubclass(kind, (datetime.date, datetime.time)) for kind in kinds):
        return "BYTES", "datetime", _iso
    return "BYTES", "pd_json", _document


def _number(values: list[Any], kinds: set[type], declared: str, *, has_missing: bool) -> str:
    """The first datatype that holds every one of `values`; empty without one."""
    whole = kinds == {int} and not has_missing
    candidates = [declared, "INT64", "UINT64"] if whole else [declared]
    if float in kinds:
        candidates.append("FP64")
    for datatype in candidates:
        dtype = DTYPES.get(datatype, "")
        if dtype in FLOAT_LIMITS and _all_fit(values, dtype):
            return datatype
        if whole and dtype in INTEGER_LIMITS:
            low, high = INTEGER_LIMITS[dtype]
            if low <= min(values) and max(values) <= high:
                return datatype
    return ""


def _all_fit(values: list[Any], dtype: str) -> bool:
    """Whether each of `values` stays finite as a float, and whole if it is an int."""
    limit, exact = FLOAT_LIMITS[dtype], _EXACT[dtype]
    return all(
        -exact <= v <= exact if type(v) is int else abs(v) < limit or abs(v) == INFINITY for v in values
    )
