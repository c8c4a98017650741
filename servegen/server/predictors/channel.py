"""Python values over a socket between the server and a process of its own that holds the model.

Pickle is safe here: both ends are this program, and no one else has the socket.
"""

from __future__ import annotations

import io
import pickle
import socket
import struct
from typing import Any

from servegen.server.imported import imported

_HEADER = struct.Struct("!Q")


class StreamEnd:
    """Sent after the last chunk of a stream."""


class Channel:
    """One end of a pair of sockets."""

    def __init__(self, end: socket.socket) -> None:
        self._socket = end

    def send(self, value: Any) -> None:
        """Send `value`; raises TypeError, AttributeError or PicklingError for one that cannot be sent."""
        buffer = io.BytesIO()
        buffer.write(_HEADER.pack(0))
        _Pickler(buffer, protocol=5).dump(value)
        message = buffer.getbuffer()
        _HEADER.pack_into(message, 0, len(message) - _HEADER.size)
        self._socket.sendall(message)

    def receive(self) -> Any:
        """The next value; raises EOFError when the other end is closed.

        Whatever else it raises, the message was read and the next one can be.
        """
        (size,) = _HEADER.unpack(self._exactly(_HEADER.size))
        return pickle.loads(self._exactly(size))  # noqa: S301  sent by ourselves

    def close(self) -> None:
        """Close this end; a receiver at the other one sees the end of the file."""
        self._socket.close()

    def _exactly(self, size: int) -> bytearray:
        message = bytearray(size)
        view, filled = memoryview(message), 0
        while filled < size:
            try:
                count = self._socket.recv_into(view[filled:])
            except OSError:
                count = 0
            if not count:
                raise EOFError
            filled += count
        return message


class _Pickler(pickle.Pickler):
    def reducer_override(self, value: Any) -> Any:
        """Send pydantic models as what they are written as: their classes may be known to the model only."""
        pydantic = imported("pydantic")
        if pydantic is not None and isinstance(value, pydantic.BaseModel):
            return _same, (value.model_dump(),)
        return NotImplemented


def _same(value: Any) -> Any:
    return value
