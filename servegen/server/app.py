"""The ASGI application: routes, gates, limits and metrics around the two protocols."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from time import perf_counter
from typing import Any

from servegen.server import encoding, metrics
from servegen.server.access import AccessLog
from servegen.server.dispatch import Dispatcher
from servegen.server.errors import ModelFailedError, RefusedError, internal, unavailable
from servegen.server.http import JSON, TEXT, ClientGoneError, Receive, Request, Response, Scope, Send
from servegen.server.inputs import Call
from servegen.server.invocations import Invocations, events, media_type
from servegen.server.modelfile import ModelFile
from servegen.server.openapi import document, page
from servegen.server.predictors import Predictor
from servegen.server.settings import Settings
from servegen.server.v2 import OpenInference

_log = logging.getLogger("servegen")
LARGE = 256 * 1024
"""A body from this size is parsed in a thread, so that probes are answered meanwhile."""
WARM_UP = "servegen.warm-up"
"""Key in the scope of requests that the server sends to itself before it is ready."""


class Phase(Enum):
    """Where the server is in its life."""

    LOADING = "loading"
    READY = "ready"
    LEAVING = "leaving"
    """SIGTERM was seen: not ready any more, but requests are still answered."""
    CLOSED = "closed"
    """Only accepted requests are finished."""


Handler = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, kw_only=True)
class _Route:
    template: str
    handlers: dict[str, Handler]
    phases: frozenset[Phase]
    """In any other phase the answer is 503."""
    v2: bool = False
    logged: bool = False


@dataclass(frozen=True, kw_only=True)
class Lane:
    """A route whose requests need no coroutine: a small body in memory, one answer."""

    template: str
    read: Callable[[bytes], Call | None]
    """The call that a body asks for; None when the answer is a stream. Raises RefusedError."""
    v2: bool = False


_ALWAYS = frozenset(Phase)
LOADED = frozenset((Phase.READY, Phase.LEAVING, Phase.CLOSED))
_HEALTHY = frozenset((Phase.READY,))
SERVING = frozenset((Phase.READY, Phase.LEAVING))


class App:
    """Serves one model; the phase is set from outside, the predictor given once it is loaded."""

    def __init__(self, model: ModelFile, settings: Settings, *, version: str) -> None:
        self.phase = Phase.LOADING
        self.model = model
        self.metrics = metrics.Metrics(
            model, queue_limit=settings.queue_size, dialects=settings.metrics_compat
        )
        self.dispatcher = Dispatcher(
            queue_size=settings.queue_size,
            timeout=settings.request_timeout,
            batch_rows=settings.batch_max_rows if model.batchable else 1,
            batch_wait=settings.batch_max_wait,
            metrics=self.metrics,
        )
        self._version = version
        self.max_body_bytes = settings.max_body_bytes
        self._debug = settings.debug_errors
        self._patience = settings.request_timeout
        self.server_metadata: dict[str, Any] = {"name": "servegen", "version": version, "extensions": []}
        self._invocations = Invocations(model, lenient=settings.lenient)
        self.v2 = OpenInference(model)
        self._predictor: Predictor | None = None
        self._access = AccessLog()
        self._routes = self._make_routes()
        self.lanes = self._make_lanes()
        """By the path as it is on the wire."""

    def serve(self, predictors: Sequence[Predictor]) -> None:
        """Answer requests with `predictors`, a thread each; must run in the event loop's thread."""
        self._predictor = predictors[0]
        self.dispatcher.start(predictors)

    def enter(self, phase: Phase) -> None:
        """Go on to `phase`."""
        self.phase = phase
        self.metrics.ready.set(phase is Phase.READY)

    @property
    def is_healthy(self) -> bool:
        """Whether requests should come here: loaded, not leaving, and a worker is left that answers."""
        return self.phase is Phase.READY and not self.dispatcher.is_stuck

    def close(self) -> None:
        """Write what is left of the access log."""
        self._access.flush()

    def answers(self, path: str) -> bool:
        """Whether `path` is one of our routes."""
        return path in self._routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one HTTP request; of other protocols, a lifespan is acknowledged."""
        if scope["type"] != "http":
            await _acknowledge(scope, receive, send)
            return
        started = perf_counter()
        request = Request(scope, receive, limit=self.max_body_bytes)
        method = scope["method"]
        route = self._routes.get(scope["path"])
        try:
            response = await self._respond(request, route, method)
            if self.phase is Phase.LEAVING and route is not None and route.logged:
                # An idle connection might carry its next request just when the port closes.
                response.headers = (*response.headers, (b"connection", b"close"))
            await response.send(
                send, receive, request.id, with_body=method != "HEAD", patience=self._patience
            )
        except ClientGoneError:
            # Nobody reads it, but BentoML's middleware waits for some answer.
            with contextlib.suppress(Exception):
                await Response(499).send(send, receive, request.id, with_body=False, patience=0)
            return
        template = route.template if route is not None else "other"
        self.answered(
            request.id,
            method,
            template,
            response,
            perf_counter() - started,
            logged=route is None or route.logged,
        )

    def answered(
        self,
        request_id: bytes,
        method: str,
        template: str,
        response: Response,
        seconds: float,
        *,
        logged: bool = True,
    ) -> None:
        """Count and log one answered request."""
        if method not in _METHODS:
            method = "other"
        self.metrics.answered(template, method, response.status, seconds)
        if response.code:
            self.metrics.failed(response.code)
        if logged:
            self._access.add(request_id, method, template, response.status, seconds)

    def failed(self, request_id: bytes, exc: Exception, *, v2: bool) -> Response:
        """The answer to a request that ended with `exc`."""
        if isinstance(exc, RefusedError):
            return self._refused(request_id, exc, v2=v2)
        _log.error("request %s failed", request_id.decode(), exc_info=exc)
        return self._refused(request_id, internal("The server failed."), v2=v2)

    async def _respond(self, request: Request, route: _Route | None, method: str) -> Response:
        v2 = route.v2 if route is not None else request.scope["path"].startswith("/v2/")
        try:
            if route is None:
                msg = "There is no such route."
                raise RefusedError(404, "ENDPOINT_NOT_FOUND", msg)
            handler = route.handlers.get(method)
            if handler is None:
                allowed = ", ".join(route.handlers)
                raise _NotAllowedError(allowed)
            if not self._opens(route) and WARM_UP not in request.scope:
                if route.template == "/v2/health/ready":
                    return Response(503, b'{"ready":false}')
                return self.not_now(route.phases, v2=route.v2)
            return await handler(request)
        except ClientGoneError:
            raise
        except Exception as exc:  # noqa: BLE001  whatever it was, the client gets an answer and the log the reason
            return self.failed(request.id, exc, v2=v2)

    def _opens(self, route: _Route) -> bool:
        return self.is_healthy if route.phases is _HEALTHY else self.phase in route.phases

    def not_now(self, phases: frozenset[Phase], *, v2: bool) -> Response:
        """The answer, outside of `phases`, of what is answered in these alone."""
        if self.phase is Phase.CLOSED and phases is SERVING:
            self.metrics.rejected("draining")
        word = _NOT_NOW.get(self.phase, "shutting down")
        # Not logged: probes ask every few seconds until the model is there.
        response = self._refusal(unavailable(f"The model server is {word}."), v2=v2)
        if self.phase is Phase.CLOSED:
            response.headers = (*response.headers, (b"connection", b"close"))
        return response

    def _refused(self, request_id: bytes, refusal: RefusedError, *, v2: bool) -> Response:
        if refusal.status >= 500 or refusal.status == 400:
            _log.info("request %s: %d %s", request_id.decode(), refusal.status, refusal.message)
        return self._refusal(refusal, v2=v2)

    def _refusal(self, refusal: RefusedError, *, v2: bool) -> Response:
        status = 500 if v2 and isinstance(refusal, ModelFailedError) else refusal.status
        if v2:
            body: dict[str, Any] = {"error": refusal.message}
        else:
            body = {"error_code": refusal.code, "message": refusal.message}
            if refusal.error_class:
                body |= {"sqlstate": "KAM01", "error_class": refusal.error_class}
        if self._debug and refusal.stack_trace:
            body["stack_trace"] = refusal.stack_trace
        headers: list[tuple[bytes, bytes]] = []
        if refusal.retry_after:
            headers.append((b"retry-after", b"%d" % refusal.retry_after))
        if isinstance(refusal, _NotAllowedError):
            headers.append((b"allow", refusal.allowed.encode()))
        if status == 413:
            headers.append((b"connection", b"close"))
            self.metrics.rejected("too_large")
        return Response(status, encoding.text(body).encode(), headers=headers, code=refusal.code)

    def _make_routes(self) -> dict[str, _Route]:
        newline, ok = Response(200, b"\n"), Response(200, b"ok", content_type=TEXT)
        version = Response(200, self.model.mlflow_version.encode())
        name = self.model.name

        def fixed(
            template: str,
            response: Response,
            phases: frozenset[Phase],
            *,
            path: str = "",
            v2: bool = False,
            head: bool = True,
        ) -> None:
            async def handler(request: Request) -> Response:  # noqa: ARG001  the type of a handler
                return response

            handlers: dict[str, Handler] = (
                {"GET": handler} if v2 or not head else {"GET": handler, "HEAD": handler}
            )
            routes[path or template] = _Route(template=template, handlers=handlers, phases=phases, v2=v2)

        def post(path: str, template: str, handler: Handler, *, v2: bool = False) -> None:
            routes[path] = _Route(
                template=template, handlers={"POST": handler}, phases=SERVING, v2=v2, logged=True
            )

        routes: dict[str, _Route] = {}
        fixed("/ping", newline, _HEALTHY)
        fixed("/health", newline, _HEALTHY)
        fixed("/version", version, _ALWAYS)
        fixed("/livez", ok, _ALWAYS)
        fixed("/readyz", ok, _HEALTHY)
        post("/invocations", "/invocations", self._invoke)
        scrape: dict[str, Handler] = {"GET": self._scrape}
        routes["/metrics"] = _Route(template="/metrics", handlers=scrape, phases=_ALWAYS)
        openapi = document(self.model, self.v2.metadata(), version=self._version)
        fixed("/openapi.json", Response(200, json.dumps(openapi).encode()), LOADED, head=False)
        fixed(
            "/docs",
            Response(200, page(openapi), content_type=b"text/html; charset=utf-8"),
            LOADED,
            head=False,
        )
        fixed("/v2", _json(self.server_metadata), _ALWAYS, v2=True)
        fixed("/v2/health/live", Response(200, b'{"live":true}'), _ALWAYS, v2=True)
        fixed("/v2/health/ready", Response(200, b'{"ready":true}'), _HEALTHY, v2=True)
        for base, template in (
            (f"/v2/models/{name}", "/v2/models/{model}"),
            (f"/v2/models/{name}/versions/{self.model.version}", "/v2/models/{model}/versions/{version}"),
        ):
            ready = _json({"name": name, "ready": True})
            fixed(template, _json(self.v2.metadata()), LOADED, path=base, v2=True)
            fixed(f"{template}/ready", ready, _HEALTHY, path=f"{base}/ready", v2=True)
            post(f"{base}/infer", f"{template}/infer", self._infer, v2=True)
        return routes

    def _make_lanes(self) -> dict[bytes, Lane]:
        def read(body: bytes) -> Call | None:
            call, streamed = self._invocations.read(JSON, body)
            return None if streamed else call

        lanes = {b"/invocations": Lane(template="/invocations", read=read)}
        for path, route in self._routes.items():
            if route.v2 and "POST" in route.handlers:
                lanes[path.encode()] = Lane(template=route.template, read=self.v2.read, v2=True)
        return lanes

    async def _invoke(self, request: Request) -> Response:
        kind = request.content_type
        if kind != b"application/json":
            # Refused before the body is read.
            media_type(kind)
        body = await request.body()
        if len(body) < LARGE:
            call, streamed = self._invocations.read(kind, body)
        else:
            call, streamed = await asyncio.to_thread(self._invocations.read, kind, body)
        if streamed and self._predictor is not None:
            return Response(
                200,
                content_type=b"text/event-stream",
                headers=((b"cache-control", b"no-cache"),),
                stream=await events(self.dispatcher, self._predictor, call),
            )
        return Response(200, await self._answer(request, call))

    async def _infer(self, request: Request) -> Response:
        if request.header(b"inference-header-content-length") is not None:
            msg = "binary tensors are not supported; send JSON data"
            raise RefusedError(400, "BAD_REQUEST", msg)
        if request.header(b"content-encoding") not in (None, b"identity"):
            msg = "only the content encoding identity is supported"
            raise RefusedError(415, "BAD_REQUEST", msg)
        body = await request.body()
        call: Call
        if len(body) < LARGE:
            call = self.v2.read(body)
        else:
            call = await asyncio.to_thread(self.v2.read, body)
        return Response(200, await self._answer(request, call))

    async def _answer(self, request: Request, call: Call) -> bytes:
        """The encoded answer to `call`; when its client leaves the call is dropped: ClientGoneError."""
        answer = asyncio.ensure_future(self.dispatcher.run(call))
        gone = asyncio.ensure_future(request.left())
        try:
            await asyncio.wait((answer, gone), return_when=asyncio.FIRST_COMPLETED)
            if not answer.done() and gone.exception() is None:
                raise ClientGoneError
            return await answer
        finally:
            gone.cancel()
            answer.cancel()

    async def _scrape(self, request: Request) -> Response:  # noqa: ARG002  the type of a handler
        content_type = metrics.CONTENT_TYPE.encode()
        return Response(200, self.metrics.render(), content_type=content_type)


_NOT_NOW = {Phase.LOADING: "still loading", Phase.READY: "waiting for a model that does not answer"}
_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))


class _NotAllowedError(RefusedError):
    def __init__(self, allowed: str) -> None:
        super().__init__(405, "BAD_REQUEST", f"The method is not allowed here; use {allowed}.")
        self.allowed = allowed


def _json(value: Any) -> Response:
    return Response(200, json.dumps(value, separators=(",", ":")).encode())


async def _acknowledge(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1000})
        return
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
