"""Requests and responses on top of raw ASGI, with no more work than an answer needs."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, MutableMapping
from itertools import count
from typing import Any

from servegen.server.errors import RefusedError

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

_log = logging.getLogger("servegen")

JSON = b"application/json"
TEXT = b"text/plain; charset=utf-8"

REQUEST_ID = re.compile(rb"[\x20-\x7e]{1,128}")
_PREFIX = os.urandom(6).hex().encode()
_NUMBERS = count()


class Request:
    """One request; its body is read only when a handler asks for it."""

    __slots__ = ("_limit", "_receive", "content_length", "content_type", "id", "scope")

    def __init__(self, scope: Scope, receive: Receive, *, limit: int) -> None:
        self.scope = scope
        self.content_type: bytes | None = None
        self.content_length = 0
        self.id = b""
        self._receive = receive
        self._limit = limit
        for name, value in scope["headers"]:
            if name == b"content-type":
                self.content_type = value
            elif name == b"content-length":
                self.content_length = int(value) if value.isdigit() else 0
            elif name == b"x-request-id" and REQUEST_ID.fullmatch(value):
                self.id = value
        if not self.id:
            self.id = new_id()

    def header(self, name: bytes) -> bytes | None:
        """The last value of the header `name`, which is in lower case."""
        return next((v for n, v in reversed(self.scope["headers"]) if n == name), None)

    async def body(self) -> bytes:
        """The whole body; raises RefusedError when it is larger than allowed."""
        if self.content_length > self._limit:
            raise too_large(self._limit)
        parts: list[bytes] = []
        size, more = 0, True
        while more:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientGoneError
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if size > self._limit:
                raise too_large(self._limit)
            more = message.get("more_body", False)
        return b"".join(parts) if len(parts) > 1 else parts[0]

    async def left(self) -> None:
        """Return when the client is gone; its body must have been read."""
        while (await self._receive())["type"] != "http.disconnect":
            # A server may give an empty rest of the body first.
            await asyncio.sleep(0)


def new_id() -> bytes:
    """An identity for a request that came without one."""
    return b"%s-%x" % (_PREFIX, next(_NUMBERS))


class ClientGoneError(Exception):
    """The client closed the connection before its request was complete."""


class Response:
    """One answer, complete or in pieces."""

    __slots__ = ("body", "code", "content_type", "headers", "status", "stream")

    def __init__(
        self,
        status: int,
        body: bytes = b"",
        *,
        content_type: bytes = JSON,
        headers: Iterable[tuple[bytes, bytes]] = (),
        stream: AsyncGenerator[bytes, None] | None = None,
        code: str = "",
    ) -> None:
        self.status = status
        self.body = body
        self.content_type = content_type
        self.headers = headers
        self.stream = stream
        self.code = code
        """The error code, for the metrics."""

    async def send(
        self, send: Send, receive: Receive, request_id: bytes, *, with_body: bool, patience: float
    ) -> None:
        """Write the answer; a HEAD request gets the headers alone.

        A stream ends when its client takes nothing for `patience` seconds.
        """
        headers = [(b"content-type", self.content_type), (b"x-request-id", request_id), *self.headers]
        if self.stream is None:
            headers.append((b"content-length", b"%d" % len(self.body)))
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        if self.stream is not None:
            await _send_pieces(self.stream, send, receive, patience)
            return
        await send({"type": "http.response.body", "body": self.body if with_body else b""})


async def _send_pieces(
    pieces: AsyncGenerator[bytes, None], send: Send, receive: Receive, patience: float
) -> None:
    # A server may drop what is sent to a client that left; only receive() tells.
    gone = asyncio.ensure_future(receive())
    try:
        async with contextlib.aclosing(pieces):
            async for piece in pieces:
                if gone.done():
                    return
                message = {"type": "http.response.body", "body": piece, "more_body": True}
                try:
                    await asyncio.wait_for(send(message), patience)
                except asyncio.TimeoutError:
                    _log.warning("a client took nothing of its stream for %g s; it is cut", patience)
                    return
        await send({"type": "http.response.body", "body": b""})
    finally:
        gone.cancel()


def too_large(limit: int) -> RefusedError:
    """The body is larger than `limit`."""
    return RefusedError(413, "BAD_REQUEST", f"The request body is larger than {limit} bytes.")
