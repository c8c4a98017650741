"""A proxy before a container registry that does to some requests what registries do on bad days."""

from __future__ import annotations

import http.client
import json
import re
import socket
import struct
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

_OWN = {"connection", "transfer-encoding", "content-length", "proxy-connection"}


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What goes back to the client."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    def telling(self, **headers: str) -> Answer:
        """The same with other values of headers; `_` stands for `-`."""
        return replace(self, headers={**self.headers, **{k.replace("_", "-"): v for k, v in headers.items()}})


@dataclass(kw_only=True)
class Fault:
    """What happens to some of the requests whose `METHOD path?query range` a pattern is found in."""

    pattern: str
    act: Callable[[Call], Answer | None]
    """Returns what is answered; None when the connection is not to be used any more."""
    skip: int = 0
    times: int = 1
    hits: int = 0


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        # Clients hang up on what is done to them here.
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class FaultyProxy:
    """Passes everything on to the registry at `upstream`, but for `faults`."""

    def __init__(self, upstream: str) -> None:
        self.upstream = upstream
        self.faults: list[Fault] = []
        self.log: list[str] = []
        self.hosts: set[str] = set()
        """Those that clients wanted to be led to as by an HTTP proxy."""
        self.lock = threading.Lock()
        proxy = self

        class Handler(Call):
            faulty = proxy

        self._server = _Server(("127.0.0.1", 0), Handler)
        self.host = f"127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def begin(self, *faults: Fault) -> None:
        """Forgets what was; from now on these faults happen."""
        with self.lock:
            self.faults, self.log = list(faults), []

    def choose(self, call: str) -> Fault | None:
        with self.lock:
            self.log.append(call)
            for fault in self.faults:
                if not re.search(fault.pattern, call) or fault.hits >= fault.times:
                    continue
                if fault.skip:
                    fault.skip -= 1
                    continue
                fault.hits += 1
                return fault
        return None


@contextmanager
def faulty(upstream: str) -> Iterator[FaultyProxy]:
    """A proxy for the time of a test."""
    proxy = FaultyProxy(upstream)
    try:
        yield proxy
    finally:
        proxy.close()


class Call(BaseHTTPRequestHandler):
    """One request, and what can be done to it."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    faulty: FaultyProxy
    _upstream: http.client.HTTPConnection | None = None

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        pass

    def do_GET(self) -> None:
        self._read = False
        # A client that takes this for its HTTP proxy names the whole URL.
        if absolute := re.match("http://([^/]+)", self.path):
            self.faulty.hosts.add(absolute[1])
            self.path = self.path[absolute.end() :]
        if self.path.startswith("/token"):
            answer: Answer | None = Answer(status=200, body=b'{"token": "t"}')
        else:
            fault = self.faulty.choose(f"{self.command} {self.path} {self.headers.get('Range', '')}")
            answer = fault.act(self) if fault else self.forward()
        if answer is None:
            self.close_connection = True
            return
        self.body()
        self.wfile.write(self.head(answer) + answer.body)

    do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_GET  # noqa: N815 - the base class's names

    def finish(self) -> None:
        super().finish()
        if self._upstream:
            self._upstream.close()

    def length(self) -> int:
        return int(self.headers.get("Content-Length") or 0)

    def body(self, size: int | None = None) -> bytes:
        """The request's body, or its beginning; empty when it was read already."""
        if self._read:
            return b""
        self._read = True
        return self.rfile.read(self.length() if size is None else size)

    def forward(self, body: bytes | None = None, **changed: str) -> Answer:
        """What the registry answers to this request, or to one with another body and other headers."""
        body = self.body() if body is None else body
        headers = {k: v for k, v in self.headers.items() if k.lower() not in _OWN} | changed
        if self.command in ("POST", "PUT", "PATCH"):
            headers["Content-Length"] = str(len(body))
        if self._upstream is None:
            self._upstream = http.client.HTTPConnection(self.faulty.upstream, timeout=20)
        self._upstream.request(self.command, self.path, body, headers)
        got = self._upstream.getresponse()
        kept = {k: v for k, v in got.headers.items() if k.lower() not in _OWN - {"content-length"}}
        return Answer(status=got.status, headers=kept, body=got.read())

    def head(self, answer: Answer) -> bytes:
        """Status line and headers; those without a value are left out."""
        headers = {"Content-Length": str(len(answer.body))} | answer.headers
        lines = [f"HTTP/1.1 {answer.status} Status", *(f"{k}: {v}" for k, v in headers.items() if v), "", ""]
        return "\r\n".join(lines).encode()

    def reset(self) -> None:
        """Ends the connection with an RST, as a crash or a firewall does."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.rfile.close()
        self.connection.close()

    def stall(self) -> None:
        """Does nothing until the client gives up."""
        while self.connection.recv(1 << 16):
            pass


def error(status: int, code: str = "", **headers: str) -> Answer:
    """An error as registries write it."""
    body = json.dumps({"errors": [{"code": code, "message": "injected"}]}).encode()
    return Answer(status=status, body=body).telling(**headers)
