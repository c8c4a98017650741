"""The gRPC server: its calls go the way of the REST requests, from the checks to the metrics."""

from __future__ import annotations

import asyncio
import functools
import json
import logging
from collections.abc import Awaitable, Callable
from time import perf_counter
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from servegen.server.app import LARGE, LOADED, SERVING, App, Phase
from servegen.server.errors import RefusedError, bad_request
from servegen.server.http import REQUEST_ID, Response, new_id, too_large
from servegen.server.inference_grpc import health, messages, tensors
from servegen.server.inputs import Call
from servegen.server.settings import Settings
from servegen.server.v2_answers import Answer

_log = logging.getLogger("servegen")
_STATUS = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.NOT_FOUND,
    409: grpc.StatusCode.ABORTED,
    413: grpc.StatusCode.RESOURCE_EXHAUSTED,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    499: grpc.StatusCode.CANCELLED,
    501: grpc.StatusCode.UNIMPLEMENTED,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
}
"""By the status that REST answers with."""
_TICK = 0.02
_ARRIVAL = 0.1
"""Seconds after which the last answer has reached its client, before the connection is reset."""


class InferenceService:
    """Answers the calls of the protocol for one application."""

    def __init__(self, app: App, settings: Settings) -> None:
        self._app = app
        self._limit = settings.max_body_bytes
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        self._address = f"{host}:{settings.grpc_port}"
        self._server: grpc.aio.Server | None = None
        self._accepted = 0
        """Calls that came while the server served, and whose answers are not written yet."""

    async def start(self) -> None:
        """Listen; raises OSError when the port cannot be had."""
        server = grpc.aio.server(
            options=(
                ("grpc.max_receive_message_length", self._limit),
                ("grpc.max_send_message_length", -1),
                # Two servers on one port would share its clients.
                ("grpc.so_reuseport", 0),
            )
        )
        handlers = {name: self._handler(name) for name in messages.methods()}
        inference = grpc.method_handlers_generic_handler(messages.SERVICE, handlers)
        server.add_generic_rpc_handlers((inference, health.handler(self._app)))
        try:
            bound = server.add_insecure_port(self._address)
        except RuntimeError:
            bound = 0
        if not bound:
            msg = f"cannot listen on {self._address} for gRPC"
            raise OSError(msg)
        await server.start()
        self._server = server
        _log.info("listening on %s for gRPC", self._address)

    async def stop(self, remaining: float) -> None:
        """Return when the accepted calls are answered, at most `remaining` seconds later.

        Others are refused until the process ends.
        """
        # The dispatcher has had its time; what it does not know yet is being read.
        end = perf_counter() + remaining
        while self._accepted and perf_counter() < end:
            await asyncio.sleep(_TICK)
        # The port closes with the process. A server of gRPC that stops cancels what comes meanwhile, and
        # clients do not repeat what was CANCELLED; a connection that ends is UNAVAILABLE for them.
        await asyncio.sleep(_ARRIVAL)

    def _handler(self, name: str) -> Any:
        answer: Callable[[bytes], Awaitable[bytes]] = {
            "ServerLive": self._server_live,
            "ServerReady": self._server_ready,
            "ModelReady": self._model_ready,
            "ServerMetadata": self._server_metadata,
            "ModelMetadata": self._model_metadata,
            "ModelInfer": self._infer,
        }[name]
        # Without a deserializer the message comes as bytes: a large one is read in a thread.
        return grpc.unary_unary_rpc_method_handler(functools.partial(self._answer, name, answer))

    async def _answer(
        self, name: str, answer: Callable[[bytes], Awaitable[bytes]], body: bytes, context: Any
    ) -> bytes:
        started = perf_counter()
        app, request_id = self._app, _request_id(context)
        if app.phase in SERVING:
            self._accepted += 1
            context.add_done_callback(self._sent)
        result = b""
        try:
            result = await answer(body)
            response = Response(200)
        except _NotNowError as exc:
            response = exc.response
        except Exception as exc:  # noqa: BLE001  whatever it was, the client gets an answer and the log the reason
            response = app.failed(request_id, exc, v2=True)
        is_inference = name == "ModelInfer"
        seconds = perf_counter() - started
        app.answered(request_id, "POST", f"{messages.SERVICE}/{name}", response, seconds, logged=is_inference)
        trailer = (("x-request-id", request_id.decode()), *_passed_on(response))
        if response.status == 200:
            context.set_trailing_metadata(trailer)
        else:
            fallback = grpc.StatusCode.INVALID_ARGUMENT if response.status < 500 else grpc.StatusCode.INTERNAL
            code = _STATUS.get(response.status, fallback)
            await context.abort(code, json.loads(response.body)["error"], trailer)
        return result

    def _sent(self, context: Any) -> None:  # noqa: ARG002  what gRPC calls it with
        self._accepted -= 1

    def _check(self, name: str, version: str) -> None:
        model = self._app.model
        if name != model.name or version not in ("", model.version):
            msg = "There is no such model or version."
            raise RefusedError(404, "ENDPOINT_NOT_FOUND", msg)

    def _check_phase(self, phases: frozenset[Phase]) -> None:
        if self._app.phase not in phases:
            raise _NotNowError(self._app.not_now(phases, v2=True))

    async def _server_live(self, body: bytes) -> bytes:  # noqa: ARG002  there is nothing in it
        return _written(messages.ServerLiveResponse(live=True))

    async def _server_ready(self, body: bytes) -> bytes:  # noqa: ARG002
        return _written(messages.ServerReadyResponse(ready=self._app.is_healthy))

    async def _model_ready(self, body: bytes) -> bytes:
        request = _read(messages.ModelReadyRequest, body)
        self._check(request.name, request.version)
        return _written(messages.ModelReadyResponse(ready=self._app.is_healthy))

    async def _server_metadata(self, body: bytes) -> bytes:  # noqa: ARG002
        return _written(messages.ServerMetadataResponse(**self._app.server_metadata))

    async def _model_metadata(self, body: bytes) -> bytes:
        request = _read(messages.ModelMetadataRequest, body)
        self._check(request.name, request.version)
        self._check_phase(LOADED)
        return _written(tensors.metadata(self._app.v2.metadata()))

    async def _infer(self, body: bytes) -> bytes:
        self._check_phase(SERVING)
        if len(body) > self._limit:
            # gRPC compares the size as it came, which may be compressed.
            raise too_large(self._limit)
        call = self._call(body) if len(body) < LARGE else await asyncio.to_thread(self._call, body)
        return await self._app.dispatcher.run(call)

    def _call(self, body: bytes) -> Call:
        message = _read(messages.ModelInferRequest, body)
        self._check(message.model_name, message.model_version)
        raw = bool(message.raw_input_contents)

        def write(answer: Answer) -> bytes:
            return tensors.response(answer, raw=raw)

        return self._app.v2.call(tensors.request(message), write)


class _NotNowError(Exception):
    """The phase is not one for the call."""

    def __init__(self, response: Response) -> None:
        super().__init__()
        self.response = response


def _read(kind: Any, body: bytes) -> Any:
    try:
        return kind.FromString(body)
    except DecodeError:
        msg = "The message cannot be read."
        raise bad_request(msg) from None


def _written(message: Any) -> bytes:
    return bytes(message.SerializeToString())


def _request_id(context: Any) -> bytes:
    for name, value in context.invocation_metadata() or ():
        if name == "x-request-id" and isinstance(value, str) and REQUEST_ID.fullmatch(value.encode()):
            return value.encode()
    return new_id()


def _passed_on(response: Response) -> list[tuple[str, str]]:
    return [(name.decode(), value.decode()) for name, value in response.headers if name == b"retry-after"]
