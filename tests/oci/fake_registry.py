"""A container registry small enough to read, real enough to push to, and willing to fail when told."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import ssl
import threading
import time
import urllib.parse
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Fault:
    """What happens to requests that match, instead of what should."""

    method: str
    path: str
    """A regular expression found in path and query."""
    status: int = 500
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    skip: int = 0
    """Matching requests that go well first."""
    times: int = 1
    read: int | None = None
    """Instead of an answer: take this many bytes of the body, keep them, and hang up."""
    send: int | None = None
    """Instead of a whole answer: send this many bytes of it, and hang up."""


@dataclass
class Behaviour:
    """How this registry differs from the plainest one."""

    token_users: dict[str, str] | None = None
    """Bearer tokens are wanted; user → password, `""` lets anonymous pulls through."""
    token_seconds: int = 300
    basic_users: dict[str, str] | None = None
    mounts: bool = True
    chunks: bool = True
    max_chunk: int | None = None
    absolute_locations: bool = False
    head: bool = True
    needs_accept: bool = True
    rewrites_manifests: bool = False
    immutable_tags: bool = False
    blob_redirect: str | None = None
    realm: str | None = None
    tells_digest: bool = True
    referrers: bool = False
    """Has the referrers API of OCI 1.1, in pages of one entry."""


class FakeRegistry:
    """The server and everything in it."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.behaviour = Behaviour()
        self.faults: list[Fault] = []
        self.blobs: dict[str, dict[str, bytes]] = {}
        self.manifests: dict[str, dict[str, tuple[str, bytes]]] = {}
        self.lands: dict[str, tuple[str, bytes]] = {}
        """What someone else pushes under a tag just after we did."""
        self.uploads: dict[str, bytearray] = {}
        self.log: list[tuple[str, str]] = []
        self.authorizations: list[str] = []
        self.tokens: dict[str, tuple[str, float]] = {}
        self.uploaded = 0
        self.lock = threading.Lock()
        registry = self

        class Handler(_Handler):
            fake = registry

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.scheme = "https" if tls else "http"
        if tls:
            self.server.socket = tls.wrap_socket(self.server.socket, server_side=True)
        self.port = self.server.server_address[1]
        self.host = f"127.0.0.1:{self.port}"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    def count(self, method: str, pattern: str = "") -> int:
        """How many requests of this kind came."""
        return sum(1 for m, path in self.log if m == method and re.search(pattern, path))

    def put_image(self, repository: str, tag: str, manifest: bytes, media_type: str, *blobs: bytes) -> str:
        """An image that was here before the test; returns its digest."""
        digest = _digest(manifest)
        self.manifests.setdefault(repository, {}).update(
            {tag: (media_type, manifest), digest: (media_type, manifest)}
        )
        self.blobs.setdefault(repository, {}).update({_digest(blob): blob for blob in blobs})
        return digest


@contextmanager
def running(tls: ssl.SSLContext | None = None) -> Iterator[FakeRegistry]:
    """A registry for the time of a test."""
    registry = FakeRegistry(tls)
    try:
        yield registry
    finally:
        registry.close()


def _digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    fake: FakeRegistry
    fault: Fault | None

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        pass

    def do_GET(self) -> None:
        self._serve()

    do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_GET  # noqa: N815 - the base class's names

    def _serve(self) -> None:
        self.parts = urllib.parse.urlsplit(self.path)
        self.query = dict(urllib.parse.parse_qsl(self.parts.query))
        self.body_read = False
        with self.fake.lock:
            self.fake.log.append((self.command, self.path))
            self.fake.authorizations.append(self.headers.get("Authorization", ""))
            self.fault = self._find_fault()
        if self.fault and self.fault.send is None:
            self._fail(self.fault)
            return
        if self.parts.path == "/token":
            self._token()
        elif self._allowed():
            self._route()

    def _find_fault(self) -> Fault | None:
        for fault in self.fake.faults:
            if fault.method == self.command and re.search(fault.path, self.path) and fault.times:
                if fault.skip:
                    fault.skip -= 1
                    continue
                fault.times -= 1
                return fault
        return None

    def _fail(self, fault: Fault) -> None:
        if fault.read is None:
            self._body()
            self._answer(fault.status, fault.body, fault.headers)
            return
        taken = self.rfile.read(min(fault.read, self._length()))
        upload = self.fake.uploads.get(self.parts.path.rpartition("/")[2])
        if upload is not None and self.command == "PATCH":
            upload += taken
        self.close_connection = True
        self.connection.close()

    def _length(self) -> int:
        return int(self.headers.get("Content-Length") or 0)

    def _body(self) -> bytes:
        if self.body_read:
            return b""
        self.body_read = True
        return self.rfile.read(self._length())

    def _answer(self, status: int, body: bytes = b"", headers: dict[str, str] | None = None) -> None:
        self._body()
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        if "Content-Length" not in (headers or {}):
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "HEAD":
            return
        if self.fault and self.fault.send is not None:
            self.wfile.write(body[: self.fault.send])
            self.close_connection = True
            return
        self.wfile.write(body)

    def _error(
        self, status: int, code: str, message: str = "", headers: dict[str, str] | None = None
    ) -> None:
        body = json.dumps({"errors": [{"code": code, "message": message}]}).encode()
        self._answer(status, body, headers)

    def _allowed(self) -> bool:
        how = self.fake.behaviour
        given = self.headers.get("Authorization", "")
        if how.basic_users is not None:
            user, _, password = base64.b64decode(given.removeprefix("Basic ")).decode().partition(":")
            if given.startswith("Basic ") and how.basic_users.get(user) == password:
                return True
            self._error(401, "UNAUTHORIZED", "who are you", {"WWW-Authenticate": 'Basic realm="fake"'})
            return False
        if how.token_users is not None:
            scope, until = self.fake.tokens.get(given.removeprefix("Bearer "), ("", 0.0))
            action = "pull" if self.command in ("GET", "HEAD") else "push"
            repository = self._repository()
            granted = any(
                each.startswith(f"repository:{repository}:") and action in each.rpartition(":")[2].split(",")
                for each in scope.split(" ")
            )
            if granted and until > time.monotonic():
                return True
            realm = how.realm or f"http://{self.fake.host}/token"
            challenge = f'Bearer realm="{realm}",service="fake",scope="repository:{repository}:pull"'
            self._error(401, "UNAUTHORIZED", "get a token", {"WWW-Authenticate": challenge})
            return False
        return True

    def _token(self) -> None:
        users = self.fake.behaviour.token_users or {}
        query = urllib.parse.parse_qs(self.parts.query)
        scopes = query.get("scope", [])
        if self.command == "POST":
            form = urllib.parse.parse_qs(self._body().decode())
            user, scopes = form["refresh_token"][0], form["scope"]
            if users.get(user) != "identity":
                self._error(401, "DENIED")
                return
        else:
            given = base64.b64decode(self.headers.get("Authorization", "").removeprefix("Basic ")).decode()
            user, _, password = given.partition(":")
            if given and users.get(user) != password:
                self._error(401, "DENIED")
                return
            if not given:
                if "" not in users:
                    self._error(401, "DENIED")
                    return
                scopes = [scope.rpartition(":")[0] + ":pull" for scope in scopes]
        token = uuid.uuid4().hex
        self.fake.tokens[token] = (" ".join(scopes), time.monotonic() + self.fake.behaviour.token_seconds)
        body = json.dumps({"token": token, "expires_in": self.fake.behaviour.token_seconds}).encode()
        self._answer(200, body)

    def _repository(self) -> str:
        match = re.match(r"/v2/(.+?)/(?:manifests|blobs|referrers)/", self.parts.path)
        return match[1] if match else ""

    def _route(self) -> None:
        repository, rest = self._repository(), self.parts.path.rpartition("/")[2]
        if "/manifests/" in self.parts.path:
            self._manifest(repository, rest)
        elif "/blobs/uploads/" in self.parts.path:
            self._upload(repository, rest)
        elif "/blobs/" in self.parts.path:
            self._blob(repository, rest)
        elif "/referrers/" in self.parts.path and self.fake.behaviour.referrers:
            self._referrers(repository, rest)
        else:
            self._error(404, "NOT_FOUND")

    def _manifest(self, repository: str, reference: str) -> None:
        known = self.fake.manifests.setdefault(repository, {})
        how = self.fake.behaviour
        if self.command == "PUT":
            body = self._body()
            if how.immutable_tags and reference in known and not reference.startswith("sha256:"):
                self._error(409, "TAG_IMMUTABLE")
                return
            stored = body + b"\n" if how.rewrites_manifests else body
            blobs = self.fake.blobs.get(repository, {})
            parsed = json.loads(body)
            for each in [*parsed.get("layers", []), *([parsed["config"]] if "config" in parsed else [])]:
                if each["digest"] not in blobs:
                    self._error(400, "MANIFEST_BLOB_UNKNOWN", each["digest"])
                    return
            value = (self.headers["Content-Type"], stored)
            known[reference] = known[_digest(stored)] = value
            known.update({tag: self.fake.lands[tag] for tag in self.fake.lands if tag == reference})
            told = {"Docker-Content-Digest": _digest(stored)}
            if how.referrers and "subject" in parsed:
                told["OCI-Subject"] = parsed["subject"]["digest"]
            self._answer(201, headers=told)
            return
        if self.command == "HEAD" and not how.head:
            self._error(405, "UNSUPPORTED")
            return
        found = known.get(reference)
        if found is None or (how.needs_accept and found[0] not in self.headers.get("Accept", "")):
            self._error(404, "MANIFEST_UNKNOWN")
            return
        headers = {"Content-Type": found[0]}
        if how.tells_digest:
            headers["Docker-Content-Digest"] = _digest(found[1])
        self._answer(200, found[1], headers)

    def _referrers(self, repository: str, digest: str) -> None:
        found = [
            {
                "mediaType": media_type,
                "digest": name,
                "size": len(data),
                "artifactType": json.loads(data).get("artifactType"),
                "annotations": json.loads(data).get("annotations", {}),
            }
            for name, (media_type, data) in sorted(self.fake.manifests.get(repository, {}).items())
            if name.startswith("sha256:") and json.loads(data).get("subject", {}).get("digest") == digest
        ]
        at = int(self.query.get("n", "0"))
        index = "application/vnd.oci.image.index.v1+json"
        page = {"schemaVersion": 2, "mediaType": index, "manifests": found[at : at + 1]}
        headers = {"Content-Type": index}
        if at + 1 < len(found):
            headers["Link"] = f'</v2/{repository}/referrers/{digest}?n={at + 1}>; rel="next"'
        self._answer(200, json.dumps(page).encode(), headers)

    def _blob(self, repository: str, digest: str) -> None:
        data = self.fake.blobs.get(repository, {}).get(digest)
        how = self.fake.behaviour
        if self.command == "HEAD" and not how.head:
            self._error(405, "UNSUPPORTED")
        elif data is None:
            self._error(404, "BLOB_UNKNOWN")
        elif self.command == "HEAD":
            self._answer(200, headers={"Content-Length": str(len(data))})
        elif how.blob_redirect:
            self._answer(
                307, headers={"Location": how.blob_redirect.format(repository=repository, digest=digest)}
            )
        elif match := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "")):
            start, end = int(match[1]), int(match[2] or len(data) - 1)
            part = f"bytes {start}-{end}/{len(data)}"
            self._answer(206, data[start : end + 1], {"Content-Range": part})
        else:
            self._answer(200, data)

    def _upload(self, repository: str, name: str) -> None:
        how = self.fake.behaviour
        if self.command == "POST":
            source = self.fake.blobs.get(self.query.get("from", ""), {})
            mounted = source.get(self.query.get("mount", ""))
            if mounted is not None and how.mounts:
                self.fake.blobs.setdefault(repository, {})[self.query["mount"]] = mounted
                self._answer(201, headers={"Location": f"/v2/{repository}/blobs/{self.query['mount']}"})
                return
            name = uuid.uuid4().hex
            self.fake.uploads[name] = bytearray()
            extra = {"OCI-Chunk-Max-Length": str(how.max_chunk)} if how.max_chunk else {}
            self._answer(202, headers={"Location": self._location(repository, name), **extra})
            return
        upload = self.fake.uploads.get(name)
        if upload is None:
            self._error(404, "BLOB_UPLOAD_UNKNOWN")
        elif self.command != "GET" and self.query.get("state") != f"a b&{len(upload)}":
            # Like registries whose state is in the URL: it must come back as it was given.
            self._error(400, "BLOB_UPLOAD_INVALID", "stale location")
        elif self.command == "GET":
            self._answer(
                204, headers={"Location": self._location(repository, name), "Range": self._range(upload)}
            )
        elif self.command == "PATCH":
            self._patch(repository, name, upload)
        elif self.command == "PUT":
            self._finish(repository, name, upload)

    def _patch(self, repository: str, name: str, upload: bytearray) -> None:
        how = self.fake.behaviour
        span = self.headers.get("Content-Range")
        if span and not how.chunks:
            self._error(416, "RANGE_INVALID")
            return
        if span and int(span.partition("-")[0]) != len(upload):
            self._error(416, "RANGE_INVALID", "not where it left off")
            return
        if how.max_chunk and self._length() > how.max_chunk:
            self._error(413, "SIZE_INVALID")
            return
        body = self._body()
        upload += body
        self.fake.uploaded += len(body)
        self._answer(
            202, headers={"Location": self._location(repository, name), "Range": self._range(upload)}
        )

    def _finish(self, repository: str, name: str, upload: bytearray) -> None:
        body = self._body()
        self.fake.uploaded += len(body)
        data = bytes(upload + body)
        if _digest(data) != self.query.get("digest"):
            self._error(400, "DIGEST_INVALID")
            return
        self.fake.blobs.setdefault(repository, {})[_digest(data)] = data
        del self.fake.uploads[name]
        self._answer(201, headers={"Docker-Content-Digest": _digest(data)})

    def _location(self, repository: str, name: str) -> str:
        state = urllib.parse.urlencode({"state": f"a b&{len(self.fake.uploads[name])}"})
        path = f"/v2/{repository}/blobs/uploads/{name}?{state}"
        start = f"{self.fake.scheme}://{self.fake.host}" if self.fake.behaviour.absolute_locations else ""
        return start + path

    @staticmethod
    def _range(upload: bytearray) -> str:
        return f"0-{max(len(upload) - 1, 0)}"
