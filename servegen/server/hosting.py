"""One uvicorn server around the application, with signals and draining of our own."""

from __future__ import annotations

import asyncio
import importlib.util
import logging
import os
import signal
import socket
import sys
from collections.abc import Sequence
from time import perf_counter
from typing import TYPE_CHECKING, NoReturn

import uvicorn

from servegen.server.app import App, Phase
from servegen.server.closing import Server
from servegen.server.connection import connections_to
from servegen.server.http import Receive, Scope, Send
from servegen.server.lifecycle import complete, drain, load, start
from servegen.server.predictors import Predictor
from servegen.server.runtimes import ASGI, Runtime
from servegen.server.settings import Settings, SettingsError
from servegen.server.warmup import StartError

if TYPE_CHECKING:
    from servegen.server.inference_grpc.service import InferenceService

_log = logging.getLogger("servegen")
_KEEP_ALIVE = 75
"""Longer than proxies keep an idle connection, so that they close it and no request meets a closed one."""
_BACKLOG = 2048
_GOODBYE = 1.0
"""Seconds that clients have to read their last answer, when draining has taken all of its time."""


class Front:
    """Answers our routes at once; only others go to the framework behind."""

    def __init__(self, app: App) -> None:
        self._app = app
        self.rest: ASGI | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        rest = self.rest
        if rest is None or scope["type"] != "http" or self._app.answers(scope["path"]):
            await self._app(scope, receive, send)
        else:
            await rest(scope, receive, send)


def run(app: App, runtime: type[Runtime], settings: Settings) -> int:
    """Serve until a signal ends it; the exit status of the process."""
    inference = _inference(app, settings)
    listener = _listen(settings)
    loop: asyncio.AbstractEventLoop
    if importlib.util.find_spec("uvloop"):
        import uvloop

        loop = uvloop.new_event_loop()
    else:
        loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    return loop.run_until_complete(_run(app, runtime, settings, listener, inference))


async def _run(
    app: App,
    runtime: type[Runtime],
    settings: Settings,
    listener: socket.socket,
    inference: InferenceService | None,
) -> int:
    front = Front(app)
    server = Server(
        uvicorn.Config(
            front,
            http=connections_to(app),
            lifespan="off",
            ws="none",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=_KEEP_ALIVE,
        ),
        listener,
    )
    hosted = runtime(app, settings)
    leaving = _watch_signals()
    if inference is not None:
        await inference.start()
    serving = asyncio.ensure_future(server.serve(sockets=[listener]))

    def loading() -> Sequence[Predictor]:
        predictors = load(app, settings)
        hosted.prepare()
        return predictors

    async def bring_up() -> Sequence[Predictor]:
        predictors = await start(app, settings, loading)
        front.rest = await hosted.rest()
        return predictors

    starting = asyncio.ensure_future(bring_up())
    left = asyncio.ensure_future(leaving.wait())
    await asyncio.wait({starting, left, serving}, return_when=asyncio.FIRST_COMPLETED)
    if serving.done() and not left.done():
        await serving
        return 1
    if not starting.done() and app.phase is Phase.LOADING:
        # Nothing was accepted yet, and a model that is loading cannot be interrupted.
        _exit(0)
    status, remaining = 0, 0.0
    completing: asyncio.Future[None] | None = None
    try:
        completing = asyncio.ensure_future(complete(await starting))
        lost = asyncio.ensure_future(app.dispatcher.lost.wait())
        await asyncio.wait({left, lost}, return_when=asyncio.FIRST_COMPLETED)
        if not left.done():
            _log.error("the model has stopped answering; the server ends, so that it is started again")
            _exit(1)
        remaining = await drain(app, delay=settings.drain_delay, timeout=settings.drain_timeout)
        await hosted.close()
    except StartError as exc:
        _log.error("%s", exc, exc_info=exc.__cause__)
        status = 1
    if inference is not None:
        began = perf_counter()
        await inference.stop(remaining)
        remaining -= perf_counter() - began
    server.say_goodbye(max(_GOODBYE, remaining))
    server.should_exit = True
    await serving
    app.close()
    if app.dispatcher.accepted or (completing is not None and not completing.done()):
        # A call that does not end holds a thread in the model; the interpreter must not wait for it. Nor can
        # it end while another thread imports.
        _exit(status)
    return status


def _inference(app: App, settings: Settings) -> InferenceService | None:
    """The gRPC server beside ours, where the settings ask for one; raises SettingsError when it cannot be."""
    if settings.grpc_port is None:
        return None
    try:
        from servegen.server.inference_grpc.service import InferenceService
    except ModuleNotFoundError as exc:
        msg = f"SERVEGEN_GRPC_PORT is set, but {exc.name} is not installed; pip install 'servegen[grpc]'"
        raise SettingsError(msg) from exc
    return InferenceService(app, settings)


def _watch_signals() -> asyncio.Event:
    """Set at the first SIGTERM or SIGINT; the second one ends the process."""
    leaving = asyncio.Event()

    def caught(number: int) -> None:
        if leaving.is_set():
            _exit(128 + number)
        leaving.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, caught, int(number))
    return leaving


def _listen(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((settings.host, settings.port))
    listener.listen(_BACKLOG)
    listener.setblocking(False)  # noqa: FBT003  it has no name
    host, port, *_ = listener.getsockname()
    _log.info("listening on %s port %d", host, port)
    return listener


def _exit(status: int) -> NoReturn:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
