"""The protocol of MLflow's scoring server: bodies of `/invocations` to calls of the model."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Iterator
from typing import Any

from servegen.server import encoding
from servegen.server.body import has_lone_surrogate, loads, too_deep
from servegen.server.dispatch import Dispatcher
from servegen.server.errors import LossyError, RefusedError, bad_request, invalid_params
from servegen.server.forms import KEYS, LLM_KEYS, TableReader
from servegen.server.inputs import Call, Csv, Form, Input, Parquet, Whole
from servegen.server.modelfile import ModelFile
from servegen.server.params import ParamReader
from servegen.server.predictors import Predictor
from servegen.server.tensors import TensorReader

_TYPES = ("application/json", "text/csv", "application/vnd.apache.parquet")


class Invocations:
    """Reads bodies of `/invocations` for one model."""

    def __init__(self, model: ModelFile, *, lenient: bool) -> None:
        signature = model.signature
        self._params = ParamReader(signature.params)
        self._type_hints = signature.type_hints
        self._streamable = model.streamable
        self._table: TableReader | TensorReader | None = None
        if not lenient and not signature.type_hints and signature.columns:
            self._table = TableReader(signature.columns)
        elif not lenient and signature.tensors:
            self._table = TensorReader(signature.tensors)

    def read(self, content_type: bytes | None, body: bytes) -> tuple[Call, bool]:
        """The call that a request asks for, and whether the answer is to be streamed."""
        kind = media_type(content_type)
        if kind == "text/csv":
            return self._call(Csv(text=_text(body)), None), False
        if kind == "application/vnd.apache.parquet":
            return self._call(Parquet(content=body), None), False
        try:
            return self._json(body)
        except RecursionError:
            raise too_deep() from None

    def _json(self, body: bytes) -> tuple[Call, bool]:
        value = loads(body)
        if type(value) is not dict:
            msg = "The request body must be a JSON object."
            raise bad_request(msg)
        streamed = self._streamable and value.get("stream") is True
        if streamed:
            del value["stream"]
        if any(key in value for key in LLM_KEYS):
            params = {k: v for k, v in value.items() if k in self._params.names}
            whole = Whole(value={k: v for k, v in value.items() if k not in params})
            return Call(input=whole, params=self._params.read(params), encode=encoding.dumps), streamed
        try:
            data = self._data(value, is_odd=has_lone_surrogate(body))
        except LossyError:
            self._params.read(value.get("params"))
            raise
        return self._call(data, value.get("params")), streamed

    def _call(self, data: Input, params: Any) -> Call:
        checked = None
        try:
            checked = self._params.read(params)
        except RefusedError as refusal:
            if not isinstance(data, Form):
                raise
            # MLflow reads the form first, and it may be worse.
            data = data._replace(refusal=refusal)
        return Call(input=data, params=checked, encode=encoding.predictions)

    def _data(self, value: dict[str, Any], *, is_odd: bool) -> Input:
        if self._type_hints:
            if "inputs" not in value:
                msg = "the request needs the key `inputs`"
                raise invalid_params(msg)
            return Whole(value=value["inputs"])
        keys = [key for key in KEYS if key in value]
        if len(keys) != 1:
            msg = f"The request needs exactly one of the keys {', '.join(KEYS)}."
            raise bad_request(msg)
        key = keys[0]
        if self._table is not None:
            # Whether a frame can hold half a character depends on the version of pandas.
            return (self._table.form if is_odd else self._table.read)(key, value[key])
        return Form(key=key, value=value[key])


def media_type(content_type: bytes | None) -> str:
    """The type of a supported `Content-Type` header; raises RefusedError for every other header or none."""
    if content_type == b"application/json":
        return "application/json"
    if content_type is None:
        msg = "The Content-Type header is missing."
        raise RefusedError(415, "BAD_REQUEST", msg)
    kind, *parameters = [part.strip() for part in content_type.decode("latin-1").split(";")]
    pairs = dict(parameter.partition("=")[::2] for parameter in parameters)
    if pairs.get("charset", "utf-8").lower() != "utf-8":
        msg = "Only the charset utf-8 is supported."
        raise RefusedError(415, "BAD_REQUEST", msg)
    if pairs.keys() - {"charset"}:
        msg = "The Content-Type header may have no parameter but charset."
        raise RefusedError(415, "BAD_REQUEST", msg)
    if kind not in _TYPES:
        raise RefusedError(415, "BAD_REQUEST", f"The Content-Type must be one of {', '.join(_TYPES)}.")
    return kind


async def events(dispatcher: Dispatcher, predictor: Predictor, call: Call) -> AsyncGenerator[bytes, None]:
    """The frames of a streamed answer; raises RefusedError while none is written."""

    def chunks() -> Iterator[bytes]:
        for chunk in predictor.stream(call.input, call.params):
            yield encoding.dumps(chunk)

    stream = dispatcher.stream(chunks)
    first = await anext(stream, None)
    return _frames(first, stream)


async def _frames(first: bytes | None, rest: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    try:
        async with contextlib.aclosing(rest):
            if first is not None:
                yield b"data: " + first + b"\n\n"
            async for chunk in rest:
                yield b"data: " + chunk + b"\n\n"
    except RefusedError as refusal:
        yield f"data: {encoding.text({'error': refusal.message})}\n\n".encode()
    yield b"data: [DONE]\n\n"


def _text(body: bytes) -> str:
    try:
        return body.decode("utf-8")
    except UnicodeDecodeError:
        msg = "The CSV body is not UTF-8."
        raise bad_request(msg) from None
