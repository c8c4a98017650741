"""Connections of uvicorn with a short way through for what nearly all requests are.

uvicorn starts a task for every request and writes the head and the body of an answer one after the other.
A small JSON body posted to the model needs neither: it is parsed where it arrives, queued with a callback,
and answered by one write. Every other request takes uvicorn's own way into the ASGI application.
"""

from __future__ import annotations

import array
import asyncio
import contextlib
import fcntl
import os
import socket
import termios
from time import perf_counter
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from servegen.server.app import App, Lane, Phase
from servegen.server.http import JSON, REQUEST_ID, Response, new_id
from servegen.server.workers import Job

_DIGITS = 4
"""Of a small body's length. From 64 KiB uvicorn stops reading until the application asks for the body."""
_UNUSUAL = frozenset(
    (b"inference-header-content-length", b"content-encoding", b"transfer-encoding", b"upgrade")
)

_GRACE = 0.3
"""Seconds that a leaving server gives a client that has connected and not asked yet."""


class Connection(HttpToolsProtocol):
    """One client's connection."""

    served: App
    """What answers; see `connections_to`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._waited = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # uvicorn's is as narrow
        """Take over a new connection."""
        self.joined = _Joining(transport, self.loop)
        super().connection_made(self.joined)  # type: ignore[arg-type]  # it has all that is used

    def shutdown(self) -> None:
        """Close the connection once nothing is going on; a request that is on its way gets its answer."""
        if self.transport.is_closing():
            return
        asked = bool(self.cycle)
        if asked and not self.cycle.response_complete:
            self.cycle.keep_alive = False
        elif _waiting(self.transport) or not (asked or self._waited):
            # Whoever has connected and not asked yet is about to.
            self._waited = True
            self.loop.call_later(_GRACE, self.shutdown)
        else:
            _say_goodbye(self.transport)
            self.transport.close()

    def on_headers_complete(self) -> None:
        """Choose the way of the request whose headers are known."""
        exchange = self._exchange()
        if exchange is None:
            super().on_headers_complete()
        else:
            self.cycle = exchange  # type: ignore[assignment]  # it has all that uvicorn asks of one

    def _exchange(self) -> Exchange | None:
        """The short way for the current request; None when it has to go the long one."""
        lane = self.served.lanes.get(self.url)
        parser = self.parser
        if (
            lane is None
            or parser.get_method() != b"POST"
            or self.served.phase is not Phase.READY
            or (self.cycle is not None and not self.cycle.response_complete)
            or self.expect_100_continue
            or parser.get_http_version() != "1.1"
        ):
            return None
        headers = dict(self.headers)
        length = headers.get(b"content-length", b"")
        if (
            not (lane.v2 or headers.get(b"content-type") == JSON)
            or not 0 < len(length) <= _DIGITS
            or int(length) > self.served.max_body_bytes
            or not _UNUSUAL.isdisjoint(headers)
        ):
            return None
        request_id = headers.get(b"x-request-id")
        if request_id is None or not REQUEST_ID.fullmatch(request_id):
            request_id = new_id()
        return Exchange(self, lane, request_id, keep_alive=parser.should_keep_alive())

    def take_the_long_way(self, exchange: Exchange) -> None:
        """Hand a request that was read to the ASGI application after all."""
        super().on_headers_complete()
        self.cycle.body = bytearray(exchange.body)
        self.cycle.more_body = False
        self.cycle.message_event.set()

    def head(self) -> bytes:
        """Header lines that every answer has."""
        return b"".join(b"%s: %s\r\n" % pair for pair in self.server_state.default_headers)


def connections_to(app: App) -> type[Connection]:
    """The class of connections to `app`, for uvicorn to make."""
    return type("ConnectionToApp", (Connection,), {"served": app})


def _waiting(transport: asyncio.Transport) -> int:
    """How many bytes have arrived that nobody has read yet."""
    count = array.array("i", [0])
    fcntl.ioctl(_descriptor(transport), termios.FIONREAD, count)
    return count[0]


def _say_goodbye(transport: asyncio.Transport) -> None:
    """Tell the client now; an event loop may take milliseconds to close, in which requests would be sent."""
    with contextlib.suppress(OSError), socket.socket(fileno=os.dup(_descriptor(transport))) as connection:
        connection.shutdown(socket.SHUT_WR)


def _descriptor(transport: asyncio.Transport) -> int:
    number: int = transport.get_extra_info("socket").fileno()
    return number


class Exchange:
    """One request and its answer; stands where uvicorn has its RequestResponseCycle."""

    __slots__ = (
        "_begun",
        "_connection",
        "_id",
        "_job",
        "_lane",
        "_started",
        "body",
        "disconnected",
        "keep_alive",
        "message_event",
        "more_body",
        "response_complete",
    )

    def __init__(self, connection: Connection, lane: Lane, request_id: bytes, *, keep_alive: bool) -> None:
        self._connection = connection
        self._lane = lane
        self._id = request_id
        self._started = perf_counter()
        self._job: Job | None = None
        self._begun = False
        self.keep_alive = keep_alive
        self.body = b""
        self.more_body = True
        self.disconnected = False
        self.response_complete = False
        self.message_event = self

    def set(self) -> None:
        """Go on: there is more of the body, all of it, or the client is gone."""
        if self.disconnected:
            if self._job is not None:
                self._connection.served.dispatcher.forget(self._job)
        elif not (self.more_body or self._begun):
            # uvicorn sets it again when the connection ends.
            self._begun = True
            self._begin()

    def _begin(self) -> None:
        app = self._connection.served
        try:
            call = self._lane.read(self.body)
            if call is not None:
                self._job = app.dispatcher.submit(call, self._answer)
                return
        except Exception as exc:  # noqa: BLE001  whatever it was, the client gets an answer
            self._write(app.failed(self._id, exc, v2=self._lane.v2))
            return
        self.response_complete = True
        self._connection.take_the_long_way(self)

    def _answer(self, job: Job) -> None:
        if job.error is None:
            self._write(Response(200, job.result))
        else:
            self._write(self._connection.served.failed(self._id, job.error, v2=self._lane.v2))

    def _write(self, response: Response) -> None:
        connection = self._connection
        app = connection.served
        app.answered(self._id, "POST", self._lane.template, response, perf_counter() - self._started)
        if app.phase is not Phase.READY:
            # An idle connection might carry its next request just when the port closes.
            self.keep_alive = False
        head = [
            STATUS_LINE[response.status],
            connection.head(),
            b"content-type: %s\r\nx-request-id: %s\r\ncontent-length: %d\r\n"
            % (response.content_type, self._id, len(response.body)),
            *(b"%s: %s\r\n" % pair for pair in response.headers),
        ]
        if not self.keep_alive:
            head.append(b"connection: close\r\n")
        connection.joined.write_now(b"%s\r\n%s" % (b"".join(head), response.body))
        self.response_complete = True
        if not self.keep_alive:
            connection.transport.close()
        connection.on_response_complete()


class _Joining:
    """A transport that holds what is written until the next write, or the event loop's next iteration."""

    __slots__ = ("_held", "_loop", "_transport")

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._held = b""

    def write(self, data: bytes) -> None:
        """Send `data`, which need not be at once."""
        held = self._held
        if held:
            self._held = b""
            self._transport.write(held + data)
        else:
            self._held = data
            self._loop.call_soon(self._flush)

    def write_now(self, data: bytes) -> None:
        """Send `data`."""
        self._transport.write(self._held + data)
        self._held = b""

    def close(self) -> None:
        """Close the connection once everything is sent."""
        self._flush()
        self._transport.close()

    def is_closing(self) -> bool:
        """Whether the connection is closed or about to be."""
        return self._transport.is_closing()

    def _flush(self) -> None:
        held = self._held
        if held:
            self._held = b""
            self._transport.write(held)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)
