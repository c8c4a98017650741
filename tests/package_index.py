"""A package index on loopback: a folder of distributions behind the simple API, with or without a login."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import html
import json
import re
import threading
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

JSON = "application/vnd.pypi.simple.v1+json"


@dataclass(kw_only=True)
class PackageIndex:
    """What is served, and what was asked for."""

    folder: Path
    login: str | None = None
    """`user:password` without which nothing is given out."""
    uploaded: str | None = "2020-01-01T00:00:00Z"
    """Upload time of every file; None serves HTML, which has no such times."""
    late: dict[str, str] = field(default_factory=dict)
    """Upload times of single files."""
    url: str = ""
    requests: list[tuple[str, int]] = field(default_factory=list)

    def url_with(self, login: str) -> str:
        return self.url.replace("://", f"://{login}@")

    def page(self, project: str) -> bytes | None:
        files = [f for f in sorted(self.folder.iterdir()) if _project(f.name) == project]
        if not files:
            return None
        rows = [(f.name, hashlib.sha256(f.read_bytes()).hexdigest(), f.stat().st_size) for f in files]
        if self.uploaded is None:
            links = [f'<a href="/files/{html.escape(n)}#sha256={digest}">{n}</a>' for n, digest, _ in rows]
            return f"<!DOCTYPE html><html><body>{''.join(links)}</body></html>".encode()
        found = [
            {
                "filename": n,
                "url": f"/files/{n}",
                "hashes": {"sha256": digest},
                "size": size,
                "upload-time": self.late.get(n, self.uploaded),
            }
            for n, digest, size in rows
        ]
        return json.dumps({"meta": {"api-version": "1.1"}, "name": project, "files": found}).encode()


@contextlib.contextmanager
def serving(index: PackageIndex) -> Iterator[PackageIndex]:
    """The index, answering on a free port."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            wanted = index.login and "Basic " + base64.b64encode(index.login.encode()).decode()
            path = urllib.parse.unquote(self.path)
            if wanted and self.headers.get("Authorization") != wanted:
                return self._answer(401, b"login wanted")
            if match := re.fullmatch(r"/simple/([a-z0-9-]+)/", path):
                body = index.page(match[1])
                kind = "text/html" if index.uploaded is None else JSON
                return self._answer(200, body, kind) if body else self._answer(404, b"no such project")
            file = index.folder / path.removeprefix("/files/")
            if path.startswith("/files/") and "/" not in path[7:] and file.is_file():
                return self._answer(200, file.read_bytes(), "application/octet-stream")
            return self._answer(404, b"nothing here")

        do_HEAD = do_GET  # noqa: N815 (named by the base class)

        def _answer(self, status: int, body: bytes, kind: str = "text/plain") -> None:
            index.requests.append((self.path, status))
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            if status == 401:
                self.send_header("WWW-Authenticate", 'Basic realm="packages"')
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    index.url = f"http://127.0.0.1:{server.server_port}/simple"
    try:
        yield index
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _project(file: str) -> str:
    name = file.split("-")[0]
    return re.sub(r"[-_.]+", "-", name).lower()
