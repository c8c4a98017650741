"""Ask at random moments, whether or not earlier answers came: what users do, and a closed loop does not.

    python openloop.py PORT PATH BODIES RATE SECONDS        one line of JSON

A closed loop slows down with the server and so misses the waits it causes (coordinated omission). Here
arrivals follow a Poisson process, and a latency counts from the moment its request was due, also where it had
to wait for a connection. The loop spins instead of sleeping: timers are too coarse, and the core is its own.
"""

from __future__ import annotations

import json
import random
import select
import socket
import sys
import time
from collections import deque
from pathlib import Path

_CONNECTIONS = 512
_PATIENCE = 30.0
_WARM_UP = 1.0


def main(port: int, path: str, bodies: Path, rate: float, seconds: float) -> dict[str, float]:
    """Figures of the arrivals after the first second; latencies in milliseconds."""
    requests = [
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(line)}\r\n\r\n".encode()
        + line
        for line in bodies.read_bytes().splitlines()
    ]
    draw = random.Random(0)
    due = [draw.expovariate(rate)]
    while due[-1] < _WARM_UP + seconds:
        due.append(due[-1] + draw.expovariate(rate))
    client = _Client(port, requests)
    client.run(due)
    counted = [(at, took, good) for at, took, good in client.answers if at >= _WARM_UP]
    times = sorted(took for _, took, _ in counted)
    end = max((at + took for at, took, _ in counted), default=_WARM_UP)
    wanted = sum(at >= _WARM_UP for at in due)
    return {
        "seconds": _WARM_UP + seconds,
        "rate": sum(good for *_, good in counted) / max(seconds, end - _WARM_UP),
        "connections": client.opened,
        "bad": sum(not good for *_, good in counted),
        "broken": wanted - len(counted),
        "max": times[-1] * 1e3,
        **{f"p{p}": times[min(len(times) - 1, len(times) * p // 100)] * 1e3 for p in (50, 90, 99)},
    }


class _Client:
    def __init__(self, port: int, requests: list[bytes]) -> None:
        self._port = port
        self._requests = requests
        self._poll = select.epoll()
        self._idle: list[socket.socket] = []
        self._busy: dict[int, tuple[socket.socket, float, bytearray]] = {}
        self._waiting: deque[float] = deque()
        self._sent = 0
        self.opened = 0
        self.answers: list[tuple[float, float, bool]] = []
        """When it was due, how long after that it was answered, whether with 200."""

    def run(self, due: list[float]) -> None:
        self._begin = time.perf_counter()
        todo = deque(due)
        while todo or self._busy or self._waiting:
            now = time.perf_counter() - self._begin
            if now > due[-1] + _PATIENCE:
                return
            while todo and todo[0] <= now:
                self._waiting.append(todo.popleft())
            while self._waiting and (self._idle or len(self._busy) < _CONNECTIONS):
                self._send(self._waiting.popleft())
            for number, _ in self._poll.poll(0):
                self._receive(number)

    def _send(self, due: float) -> None:
        if self._idle:
            connection = self._idle.pop()
        else:
            connection = socket.create_connection(("127.0.0.1", self._port))
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._poll.register(connection, select.EPOLLIN)
            self.opened += 1
        self._busy[connection.fileno()] = (connection, due, bytearray())
        self._sent += 1
        try:
            connection.sendall(self._requests[self._sent % len(self._requests)])
        except OSError:
            self._drop(connection)

    def _receive(self, number: int) -> None:
        if number not in self._busy:
            # An idle connection that the server closed.
            gone = next(one for one in self._idle if one.fileno() == number)
            self._idle.remove(gone)
            self._drop(gone)
            return
        connection, due, data = self._busy[number]
        try:
            part = connection.recv(65536)
        except OSError:
            part = b""
        data += part
        if not part:
            self._drop(connection)
        elif _complete(data):
            took = time.perf_counter() - self._begin - due
            self.answers.append((due, took, data.startswith(b"HTTP/1.1 200 ")))
            del self._busy[number]
            self._idle.append(connection)

    def _drop(self, connection: socket.socket) -> None:
        self._busy.pop(connection.fileno(), None)
        self._poll.unregister(connection)
        connection.close()


def _complete(data: bytearray) -> bool:
    end = data.find(b"\r\n\r\n")
    if end < 0:
        return False
    for line in bytes(data[:end]).lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return len(data) >= end + 4 + int(line.split(b":")[1])
    return data.endswith(b"\r\n0\r\n\r\n")


if __name__ == "__main__":
    answer = main(int(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), float(sys.argv[4]), float(sys.argv[5]))
    print(json.dumps(answer))
