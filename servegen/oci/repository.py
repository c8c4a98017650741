"""One repository of a registry: its manifests and blobs."""

from __future__ import annotations

import hashlib
import http.client
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import BinaryIO

from servegen.errors import BuildError, RegistryError
from servegen.oci.calls import Body, Request, TransientError
from servegen.oci.descriptor import (
    DOCKER_INDEX,
    DOCKER_MANIFEST,
    INDEX,
    MANIFEST,
    Descriptor,
    checked_digest,
    digest_of,
    parse_object,
)
from servegen.oci.store import Store
from servegen.oci.transport import Transport

# Without it some registries answer "not found" for a manifest they hold in another format.
ACCEPT = {"Accept": ", ".join((INDEX, MANIFEST, DOCKER_INDEX, DOCKER_MANIFEST))}
_PIECE = 1 << 20
# A blob that is damaged where it is stored is not worth as many downloads as one that broke off.
_DAMAGED_TRIES = 3


class Repository:
    """Calls to one repository, all with the same token scope; safe for many threads."""

    def __init__(
        self, transport: Transport, name: str, *, action: str = "pull", mount_from: str | None = None
    ) -> None:
        self.transport = transport
        self.name = name
        self.mount_from = mount_from
        """Another repository of the registry, whose blobs may be linked here."""
        self._action = action

    def manifest(self, reference: str) -> tuple[Descriptor, bytes] | None:
        """The manifest or index under a tag or digest, and its bytes; None when there is none."""
        return self.transport.retried(lambda: self._manifest(reference))

    def _manifest(self, reference: str) -> tuple[Descriptor, bytes] | None:
        request = self.request("GET", f"manifests/{reference}", headers=ACCEPT, ok=(200, 404))
        answer = self.transport.once(request)
        if answer.status == 404:
            return None
        digest = digest_of(answer.data)
        told = answer.headers.get("Docker-Content-Digest")
        wanted = reference if reference.startswith("sha256:") else told
        if wanted and wanted.startswith("sha256:") and wanted != digest:
            msg = f"{self.transport.host} sent a manifest with digest {digest} as {wanted}"
            hint = "the registry, or a proxy before it, changes manifests; nothing was used"
            raise TransientError(RegistryError(msg, hint=hint))
        content_type = (answer.headers.get("Content-Type") or "").partition(";")[0].strip()
        media_type = (
            parse_object(answer.data, f"the manifest of {self.name}").get("mediaType") or content_type
        )
        return Descriptor.of(answer.data, str(media_type)), answer.data

    def digest(self, reference: str) -> str | None:
        """The digest behind a tag, None when there is none."""
        request = self.request("HEAD", f"manifests/{reference}", headers=ACCEPT, ok=(200, 404, 405))
        answer = self.transport.call(request)
        if answer.status == 404:
            return None
        told = answer.headers.get("Docker-Content-Digest")
        if answer.status == 200 and told:
            return checked_digest(told)
        found = self.manifest(reference)
        return found[0].digest if found else None

    def fetch(self, blob: Descriptor, store: Store, counted: Callable[[int], None]) -> Path:
        """Brings a blob into the store, telling `counted` each piece; goes on where a download broke."""
        if store.has(blob.digest, blob.size):
            return store.blob(blob.digest)
        with store.scratch() as tmp:
            with tmp.open("wb") as out:
                download = _Download(out, blob, counted)
                self.transport.retried(lambda: self._whole(blob, download), _DAMAGED_TRIES)
            return store.commit(tmp, blob.digest)

    def _whole(self, blob: Descriptor, download: _Download) -> None:
        self.transport.retried(lambda: self._download(blob, download))
        if download.digest() != blob.digest:
            download.restart()
            msg = f"{self.transport.host} sent other bytes than {blob.digest}"
            hint = "the blob is damaged in the registry; push the image again"
            raise TransientError(RegistryError(msg, hint=hint))

    def _download(self, blob: Descriptor, download: _Download) -> None:
        if download.done == blob.size:
            return
        headers = {"Range": f"bytes={download.done}-"} if download.done else {}
        request = self.request("GET", f"blobs/{blob.digest}", headers=headers, ok=(200, 206, 416))
        with self.transport.opened(request) as (answer, _):
            if answer.status == 416 or _start(answer, download.done) != download.done:
                # Not to be gone on with; the next try begins anew.
                download.restart()
                raise self._broken_off(blob)
            if answer.status == 200:
                download.restart()
            while piece := answer.read(_PIECE):
                download.add(piece)
        if download.done < blob.size:
            raise self._broken_off(blob)

    def _broken_off(self, blob: Descriptor) -> TransientError:
        msg = f"{self.transport.host} broke off the download of {blob.digest}"
        return TransientError(RegistryError(msg, hint="check the network, then try again"))

    def request(
        self,
        method: str,
        rest: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: Body = None,
        ok: tuple[int, ...] = (200,),
    ) -> Request:
        """A call for `rest`, such as `manifests/v1`, below this repository."""
        return self.at(method, self.transport.url(self.name, rest), headers=headers, body=body, ok=ok)

    def at(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: Body = None,
        ok: tuple[int, ...] = (200,),
    ) -> Request:
        """A call of a URL that the registry gave for this repository."""
        return Request(
            method=method,
            url=url,
            repository=self.name,
            action=self._action,
            mount_from=self.mount_from,
            headers=headers or {},
            body=body,
            ok=ok,
        )


class _Download:
    """What came of a blob so far."""

    def __init__(self, out: BinaryIO, blob: Descriptor, counted: Callable[[int], None]) -> None:
        self.done = 0
        self._out = out
        self._blob = blob
        self._counted = counted
        self._hash = hashlib.sha256()

    def restart(self) -> None:
        self._counted(-self.done)
        self.done = 0
        self._hash = hashlib.sha256()
        self._out.seek(0)
        self._out.truncate()

    def add(self, piece: bytes) -> None:
        self.done += len(piece)
        if self.done > self._blob.size:
            self.done -= len(piece)
            self.restart()
            msg = f"{self._blob.digest} is longer than the {self._blob.size} bytes its manifest tells"
            raise TransientError(RegistryError(msg, hint="the image is damaged; push it again"))
        self._hash.update(piece)
        try:
            self._out.write(piece)
        except OSError as exc:
            # As an OSError it would pass for a broken connection.
            msg = f"{self._out.name} cannot be written: {os.strerror(exc.errno or 0)}"
            raise BuildError(msg, hint="free some space, or choose another --cache-dir") from exc
        self._counted(len(piece))

    def digest(self) -> str:
        return "sha256:" + self._hash.hexdigest()


def _start(answer: http.client.HTTPResponse, wanted: int) -> int:
    """Where the answer to a range request begins; `wanted` for one that does not say."""
    told = re.match(r"bytes (\d{1,18})-", answer.headers.get("Content-Range") or "", re.ASCII)
    return int(told[1]) if told and answer.status == 206 else wanted
