"""Closing the port, with real sockets whose other ends are in the same thread: the loop runs when told."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from functools import partial

import pytest
import uvicorn

from servegen.server import connection
from servegen.server.app import Phase
from servegen.server.closing import Server
from servegen.server.connection import connections_to
from tests.server.asgi import BODY, run, toy

REQUEST = (
    "POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    f"Content-Length: {len(BODY)}\r\n\r\n{BODY}"
).encode()


class Door:
    """A server that is up, and its address."""

    def __init__(self, server: Server, listener: socket.socket, app: object) -> None:
        self.server = server
        self.listener = listener
        self.address = listener.getsockname()
        self.app = app

    def connect(self) -> socket.socket:
        """A connection as far as the kernel is concerned; the server has not looked yet."""
        return socket.create_connection(self.address, timeout=10)

    async def close(self) -> None:
        await self.server.shutdown([self.listener])


@asynccontextmanager
async def door() -> AsyncIterator[Door]:
    async with toy() as app:
        listener = socket.create_server(("127.0.0.1", 0))
        listener.setblocking(False)
        config = uvicorn.Config(
            app,
            http=connections_to(app),
            lifespan="off",
            log_config=None,
            timeout_graceful_shutdown=5,
        )
        config.load()
        server = Server(config, listener)
        server.lifespan = config.lifespan_class(config)
        await server.startup(sockets=[listener])
        yield Door(server, listener, app)


async def answer(client: socket.socket) -> bytes:
    """All that comes until the server closes."""
    return await asyncio.to_thread(lambda: b"".join(iter(partial(client.recv, 65536), b"")))


def test_connections_that_nobody_has_accepted_yet_are_answered():
    async def scenario() -> None:
        async with door() as at:
            clients = [at.connect() for _ in range(20)]
            for client in clients:
                client.sendall(REQUEST)
            at.app.enter(Phase.CLOSED)
            ending = asyncio.ensure_future(at.close())
            for client in clients:
                with closing(client):
                    assert b"503 Service Unavailable" in (got := await answer(client))
                    assert b"connection: close" in got
            await ending

    run(scenario)


def test_a_request_on_a_kept_connection_that_nobody_has_read_yet_is_answered():
    async def scenario() -> None:
        async with door() as at:
            with closing(at.connect()) as client:
                client.sendall(REQUEST)
                assert b"200 OK" in await asyncio.to_thread(client.recv, 65536)
                at.app.enter(Phase.CLOSED)
                (kept,) = at.server.server_state.connections
                client.sendall(REQUEST)
                kept.shutdown()
                assert b"503 Service Unavailable" in await answer(client)
            await at.close()

    run(scenario)


def test_a_connection_that_is_about_to_ask_is_given_time_and_an_idle_one_is_not(
    monkeypatch: pytest.MonkeyPatch,
):
    # It ends as soon as it has its answer.
    monkeypatch.setattr(connection, "_GRACE", 10.0)

    async def scenario() -> None:
        async with door() as at:
            with closing(at.connect()) as idle, closing(at.connect()) as new:
                idle.sendall(REQUEST)
                await asyncio.to_thread(idle.recv, 65536)
                at.app.enter(Phase.CLOSED)
                ending = asyncio.ensure_future(at.close())
                assert await answer(idle) == b""
                new.sendall(REQUEST)
                assert b"503 Service Unavailable" in await answer(new)
                await ending

    run(scenario)


def test_nobody_can_connect_any_more():
    async def scenario() -> None:
        async with door() as at:
            await at.close()
            with pytest.raises(ConnectionRefusedError):
                at.connect()

    run(scenario)
