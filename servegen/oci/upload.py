"""Bringing one blob into a repository: already there, mounted, in one piece, or in resumable chunks."""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import BinaryIO, cast

from servegen.errors import ImageNotFoundError, RegistryError
from servegen.oci.calls import Response, TransientError, said
from servegen.oci.descriptor import Descriptor
from servegen.oci.http import wait
from servegen.oci.repository import Repository
from servegen.oci.store import Store

_BINARY = {"Content-Type": "application/octet-stream"}
_MARGIN = 64 << 10
_MOUNT_FAILURES = 2
_DONE = (200, 201, 204)
_LOST = (400, 404, 416)
"""What registries answer to an upload that they know nothing of, or whose pieces do not fit together."""


@dataclass(frozen=True, kw_only=True)
class UploadLimits:
    """Sizes at which an upload changes its form."""

    single: int = 128 << 20
    """Up to this many bytes a blob is sent in one piece."""
    chunk: int = 96 << 20


class Uploader:
    """Uploads blobs of a store; safe for many threads."""

    def __init__(
        self,
        repository: Repository,
        store: Store,
        *,
        limits: UploadLimits,
        sent: Callable[[Descriptor, int], None],
    ) -> None:
        self._repository = repository
        self._transport = repository.transport
        self._store = store
        self._limits = limits
        self._sent = sent
        self._mounts = repository.mount_from is not None
        self._failed_mounts = 0

    def send(self, blob: Descriptor) -> None:
        """Returns when the blob is in the repository; `sent` is told how much of it went over the wire."""
        self._transport.retried(lambda: self._has(blob) or self._bring(blob))

    def send_again(self, blob: Descriptor) -> None:
        """Like `send`, for a blob that the registry said to have and then missed."""
        self._mounts = False
        self._transport.retried(lambda: self._bring(blob))

    def _has(self, blob: Descriptor) -> bool:
        path = f"blobs/{blob.digest}"
        answer = self._transport.once(self._repository.request("HEAD", path, ok=(200, 404, 405)))
        if answer.status == 404:
            return False
        if answer.status == 200 and _fits(blob, answer.headers, answer.headers.get("Content-Length")):
            return True
        # No HEAD here, or one that tells of something else; what a GET would send is the last word.
        request = self._repository.request(
            "GET", path, headers={"Range": "bytes=0-0"}, ok=(200, 206, 404, 416)
        )
        with self._transport.opened(request) as (ranged, _):
            total = (ranged.headers.get("Content-Range") or "").rpartition("/")[2]
            size = total if ranged.status == 206 else ranged.headers.get("Content-Length")
            return ranged.status in (200, 206) and _fits(blob, ranged.headers, size)

    def _bring(self, blob: Descriptor) -> bool:
        self._upload(blob)
        if not self._has(blob):
            # A mount that did nothing would do so again.
            self._mounts = False
            msg = f"{self._transport.host} answered that it stored {blob.digest}, but does not have it"
            raise TransientError(RegistryError(msg, hint="look at the registry's log and storage"))
        return True

    def _upload(self, blob: Descriptor) -> None:
        started = self._mount(blob) if self._mounts else None
        if started and started.status == 201:
            return
        if not self._store.has(blob.digest, blob.size):
            where = f"{self._transport.host}/{self._repository.name}"
            msg = f"{blob.digest} is neither on this machine nor in {where}"
            raise ImageNotFoundError(msg, hint="pull the image that it belongs to, or build it again")
        if started is None:
            started = self._transport.once(self._repository.request("POST", "blobs/uploads/", ok=(202,)))
        if blob.size <= self._limits.single:
            url = _with_digest(started.location(), blob)
            self._ended(blob, self._send_part("PUT", url, blob, 0, blob.size, ok=(*_DONE, *_LOST)))
        else:
            self._in_chunks(blob, started)

    def _ended(self, blob: Descriptor, answer: Response) -> None:
        """Checks the answer to the request that ends an upload."""
        if answer.status in _LOST:
            raise self._lost(blob, answer)
        told = answer.headers.get("Docker-Content-Digest") or ""
        if told.startswith("sha256:") and told != blob.digest:
            msg = f"{self._transport.host} stored {told} instead of {blob.digest}"
            raise TransientError(RegistryError(msg, hint="something between here and there changes uploads"))

    def _mount(self, blob: Descriptor) -> Response | None:
        """The answer to a mount: 201 when done, 202 with an upload instead; None when it is refused."""
        query = urllib.parse.urlencode({"mount": blob.digest, "from": self._repository.mount_from})
        try:
            request = self._repository.request("POST", f"blobs/uploads/?{query}", ok=(201, 202))
            return self._transport.once(request)
        except TransientError:
            # A registry may be able to do all but this.
            self._failed_mounts += 1
            self._mounts = self._mounts and self._failed_mounts < _MOUNT_FAILURES
            raise
        except RegistryError:
            # Some registries answer 4xx to a mount they will not do, and would to the next one too.
            self._mounts = False
            return None

    def _in_chunks(self, blob: Descriptor, started: Response) -> None:
        url, at, furthest, failures, resumed = started.location(), 0, 0, 0, False
        chunk = self._chunk_size(started)
        while at < blob.size:
            size = min(chunk, blob.size - at)
            try:
                answer = self._send_chunk(url, blob, at, size)
            except TransientError as exc:
                failures += 1
                if failures >= self._transport.network.tries:
                    raise
                wait(self._transport.network, failures - 1, exc.retry_after)
                (url, at), resumed = self._where(blob, url, at), True
                continue
            if answer.status in _LOST:
                if at or resumed or answer.status == 404:
                    raise self._lost(blob, answer)
                # This registry takes a long body, but no pieces of one.
                size = blob.size
                answer = self._send_part("PATCH", url, blob, 0, size, ok=(202, *_LOST))
                if answer.status in _LOST:
                    raise self._lost(blob, answer)
            url, at = answer.location(), at + size
            # A registry that forgets what it took must not keep us sending it forever.
            if at > furthest:
                furthest, failures = at, 0
        # After a break it may have been pieced together wrongly, or have been finished unheard.
        closing = self._repository.at("PUT", _with_digest(url, blob), ok=(*_DONE, *_LOST))
        self._ended(blob, self._transport.call(closing))

    def _chunk_size(self, started: Response) -> int:
        most = started.headers.get("OCI-Chunk-Max-Length") or ""
        # The margin is for registries that count their framing.
        return (
            min(self._limits.chunk, max(int(most) - _MARGIN, _MARGIN))
            if most.isdecimal()
            else self._limits.chunk
        )

    def _send_chunk(self, url: str, blob: Descriptor, at: int, size: int) -> Response:
        span = {"Content-Range": f"{at}-{at + size - 1}"}
        return self._send_part("PATCH", url, blob, at, size, ok=(202, *_DONE, *_LOST), headers=span)

    def _send_part(
        self,
        method: str,
        url: str,
        blob: Descriptor,
        at: int,
        size: int,
        *,
        ok: tuple[int, ...],
        headers: dict[str, str] | None = None,
    ) -> Response:
        def body() -> BinaryIO:
            part = _Part(self._store.blob(blob.digest), at, size, lambda count: self._sent(blob, at + count))
            return cast("BinaryIO", part)

        length = {**_BINARY, "Content-Length": str(size)}
        request = self._repository.at(method, url, headers={**length, **(headers or {})}, body=body, ok=ok)
        return self._transport.once(request)

    def _where(self, blob: Descriptor, url: str, at: int) -> tuple[str, int]:
        """Where a broken upload goes on: its URL now, and how much of the blob the registry has."""
        answer = self._transport.call(self._repository.at("GET", url, ok=(200, 202, 204, *_LOST)))
        if answer.status in _LOST:
            raise self._lost(blob, answer)
        if told := re.fullmatch(r"(?:bytes=)?0-(\d{1,18})", answer.headers.get("Range") or "", re.ASCII):
            # Registries write "0-0" for nothing at all.
            at = int(told[1]) + 1 if int(told[1]) else 0
        return (answer.location() if answer.headers.get("Location") else url), at

    def _lost(self, blob: Descriptor, answer: Response) -> TransientError:
        """For an upload that has to begin anew; BuildError when what is here is not what it should be."""
        if answer.status == 400:
            self._store.check(blob.digest)
        where = f"{self._transport.host} lost the upload of {blob.digest} to {self._repository.name}"
        msg = f"{where} (HTTP {answer.status}{said(answer.data)})"
        return TransientError(
            RegistryError(msg, hint="try again; if it stays so, look at the registry's log")
        )


class _Part:
    """A part of a file as a request body; a fresh one is opened for every try."""

    def __init__(self, path: Path, at: int, size: int, counted: Callable[[int], None]) -> None:
        self._file = path.open("rb", buffering=0)
        self._file.seek(at)
        self._left = size
        self._size = size
        self._counted = counted

    def read(self, size: int = -1) -> bytes:
        """At most `size` bytes more."""
        data = self._file.read(self._left if size < 0 else min(size, self._left)) or b""
        self._left -= len(data)
        self._counted(self._size - self._left)
        return data

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


def _fits(blob: Descriptor, headers: Message, size: str | None) -> bool:
    """Whether an answer tells of `blob`; what it does not tell does not count against it."""
    digest = headers.get("Docker-Content-Digest") or ""
    other = digest.startswith("sha256:") and digest != blob.digest
    return not other and (size is None or not size.isdecimal() or int(size) == blob.size)


def _with_digest(url: str, blob: Descriptor) -> str:
    """The upload's URL with the digest added; what its query holds already is the registry's own."""
    parts = urllib.parse.urlsplit(url)
    query = "&".join(filter(None, (parts.query, "digest=" + urllib.parse.quote(blob.digest, safe=""))))
    return parts._replace(query=query).geturl()
