"""The HTTP side of a watcher: MLflow's deliveries come in, health and counters go out."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from servegen.errors import ConfigError
from servegen.progress import Progress
from servegen.watch.counting import Counters
from servegen.watch.webhooks import BODY_LIMIT, Event, Gate, RefusedError

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request

PATH = "/webhook"
_HEAD_SECONDS = 5.0
_BODY_SECONDS = 10
_CONNECTIONS = 512
_QUIET_SECONDS = 5.0
_HINT = "--listen HOST:PORT, such as 0.0.0.0:8080 or [::]:8080"


def address(text: str) -> tuple[str, int]:
    """Host and port that `text` names; ConfigError when it names none."""
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not host or not (port.isascii() and port.isdigit()) or not 0 < int(port) < 1 << 16:
        msg = f"{text!r} is no address to listen on"
        raise ConfigError(msg, hint=_HINT)
    return host, int(port)


def app(
    gate: Gate,
    tell: Callable[[Event], None],
    alive: Callable[[], bool],
    counters: Counters,
    progress: Progress,
) -> Starlette:
    """What answers: POST /webhook, GET /healthz and GET /metrics."""
    from starlette.applications import Starlette
    from starlette.requests import ClientDisconnect
    from starlette.responses import JSONResponse, PlainTextResponse, Response
    from starlette.routing import Route

    told = [float("-inf")]

    async def webhook(request: Request) -> Response:
        try:
            body = await asyncio.wait_for(_body(request), _BODY_SECONDS)
            found = gate.admit(dict(request.headers), body)
        except (asyncio.TimeoutError, ClientDisconnect):  # (of Python 3.10, where it is no TimeoutError)
            return _refused(408, "its body does not come")
        except RefusedError as exc:
            return _refused(exc.status, str(exc))
        counters.deliveries.labels("ignored" if found is None else "accepted").inc()
        if found is not None:
            tell(found)
        return JSONResponse({"result": "ignored" if found is None else "accepted"}, status_code=202)

    def _refused(status: int, reason: str) -> Response:
        counters.deliveries.labels("refused").inc()
        # Strangers can make as many as they like, and the log is not theirs.
        if time.monotonic() - told[0] > _QUIET_SECONDS:
            told[0] = time.monotonic()
            progress.warn(f"a delivery was refused: {reason}")
        # What is still to come of a body that is refused would keep the connection.
        return JSONResponse({"error": reason}, status_code=status, headers={"Connection": "close"})

    def health(_request: Request) -> Response:
        return PlainTextResponse("ok\n") if alive() else PlainTextResponse("the loop stands\n", 503)

    def metrics(_request: Request) -> Response:
        return Response(counters.text(), media_type=counters.content_type)

    return Starlette(
        routes=[
            Route(PATH, webhook, methods=["POST"]),
            Route("/healthz", health, methods=["GET"]),
            Route("/metrics", metrics, methods=["GET"]),
        ]
    )


async def _body(request: Request) -> bytes:
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > BODY_LIMIT:
            raise RefusedError(413, f"its body is longer than {BODY_LIMIT} bytes")
    return body


@contextlib.contextmanager
def listening(served: Starlette, host: str, port: int) -> Iterator[None]:
    """Answer on that address in a thread of its own until the end; ConfigError where nothing can listen."""
    import uvicorn
    from uvicorn.protocols.http.h11_impl import H11Protocol

    class Impatient(H11Protocol):
        """Lets nobody have a connection who asks for nothing on it: enough of them would end all answers."""

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # uvicorn's is as narrow
            super().connection_made(transport)
            self.loop.call_later(_HEAD_SECONDS, self._close_unless_asked)

        def _close_unless_asked(self) -> None:
            # uvicorn says that it always has one; before the first request it has none.
            if self.cycle is None:
                self.transport.close()  # type: ignore[unreachable]

    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        taken = socket.create_server((host, port), family=family, backlog=128)
    except OSError as exc:
        msg = f"nothing can listen on {host}:{port}: {exc.strerror}"
        raise ConfigError(msg, hint=_HINT) from exc
    config = uvicorn.Config(
        served,
        http=Impatient,
        log_level="error",
        access_log=False,
        server_header=False,
        limit_concurrency=_CONNECTIONS,
        timeout_graceful_shutdown=5,
        lifespan="off",
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [taken]}, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.should_exit = True
        thread.join(timeout=6)
        taken.close()
