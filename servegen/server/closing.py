"""Closing the port without losing a request of a client that was already connected."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import socket
import struct
from collections.abc import Iterator

import uvicorn

_LETTING_GO = 0.05
"""Seconds after which an event loop has closed its descriptor, and handshakes that had begun are over."""
_ATTACH_FILTER = 26
"""Linux's SO_ATTACH_FILTER, which Python does not name."""
_DROP_SYN = (
    (0x30, 0, 0, 13),  # load the flags of the TCP header
    (0x45, 0, 1, 2),  # SYN is set: next, else one further
    (0x06, 0, 0, 0),  # drop the packet
    (0x06, 0, 0, 2**32 - 1),  # take all of it
)


class Server(uvicorn.Server):
    """A uvicorn server that leaves signals alone, and takes in who stands at the door before it closes."""

    def __init__(self, config: uvicorn.Config, listener: socket.socket) -> None:
        super().__init__(config)
        self._door = listener.dup()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals alone: uvicorn would close the port at once."""
        yield

    def say_goodbye(self, seconds: float) -> None:
        """Give clients that are connected at most `seconds` once the port closes."""
        self.config.timeout_graceful_shutdown = seconds  # type: ignore[assignment]  # it is only compared

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept the connections that the kernel has queued, close the port, and finish what is running."""
        _turn_newcomers_away(self._door)
        # The event loop lets go of the port, which stays open as long as this second descriptor.
        for server in self.servers:
            server.close()
        for listener in sockets or []:
            listener.close()
        await asyncio.sleep(_LETTING_GO)
        await self._take_in()
        await super().shutdown(sockets)

    async def _take_in(self) -> None:
        loop = asyncio.get_running_loop()

        def protocol() -> asyncio.Protocol:
            return self.config.http_protocol_class(  # type: ignore[call-arg]  # as uvicorn calls it
                config=self.config, server_state=self.server_state, app_state=self.lifespan.state, _loop=loop
            )

        while True:
            try:
                connection, _ = self._door.accept()
            except ConnectionAbortedError:
                continue
            except OSError:
                # Mostly that nobody is left.
                break
            connection.setblocking(False)  # noqa: FBT003  it has no name
            await loop.connect_accepted_socket(protocol, connection)
        self._door.close()


def _turn_newcomers_away(listener: socket.socket) -> None:
    """Let the kernel begin no more handshakes; one that ended as the port closes would be for nothing."""
    program = ctypes.create_string_buffer(b"".join(struct.pack("@HBBI", *step) for step in _DROP_SYN))
    # Where there is no such filter, few microseconds are left in which a client may be disappointed.
    with contextlib.suppress(OSError):
        whole = struct.pack("@HP", len(_DROP_SYN), ctypes.addressof(program))
        listener.setsockopt(socket.SOL_SOCKET, _ATTACH_FILTER, whole)
