"""Pushing: blobs first and in parallel, then manifests by digest, the tag last."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from functools import partial
from typing import cast

from servegen.errors import RegistryError
from servegen.oci.descriptor import INDEXES, MANIFESTS, Descriptor, parse_object
from servegen.oci.image import ImageManifest, shown
from servegen.oci.repository import Repository
from servegen.oci.store import Store
from servegen.oci.upload import Uploader, UploadLimits
from servegen.oci.workers import Jobs
from servegen.progress import Progress

THREADS = 6


class Pusher:
    """One push to one repository."""

    def __init__(
        self, repository: Repository, store: Store, progress: Progress, *, limits: UploadLimits | None = None
    ) -> None:
        self._repository = repository
        self._host = repository.transport.host
        self._store = store
        self._progress = progress
        self._limits = limits or UploadLimits()
        self._jobs = Jobs(THREADS)
        self._sent: set[str] = set()
        self._done: dict[str, int] = {}
        self._total = 0
        self._task = f"push {self._host}/{repository.name}"
        self._lock = threading.Lock()

    def push(self, descriptor: Descriptor, tag: str | None) -> str:
        """Sends what is missing and returns the digest; nothing is sent when the tag names it already."""
        previous = self._repository.manifest(tag or descriptor.digest)
        if previous and previous[0].digest == descriptor.digest:
            return descriptor.digest
        images = self._images(descriptor)
        blobs = {blob.digest: blob for image in images for blob in _blobs(self._store.read(image.digest))}
        # What the image under the tag consists of is there; no need to ask blob by blob.
        for blob in _blobs(previous[1]) if previous and previous[0].media_type in MANIFESTS else ():
            blobs.pop(blob.digest, None)
        self._send_all(blobs.values())
        for manifest in dict.fromkeys((*images, descriptor)):
            self._put_manifest(manifest.digest, manifest)
        if tag:
            self._put_tag(tag, descriptor)
        return descriptor.digest

    def _images(self, descriptor: Descriptor) -> list[Descriptor]:
        if descriptor.media_type not in INDEXES:
            return [descriptor]
        found = parse_object(self._store.read(descriptor.digest), "the image index").get("manifests")
        return [Descriptor.from_json(each) for each in cast("list[object]", found or [])]

    def _send_all(self, blobs: Iterable[Descriptor]) -> None:
        biggest_first = sorted(blobs, key=lambda blob: -blob.size)
        self._total = sum(blob.size for blob in biggest_first)
        uploader = Uploader(self._repository, self._store, limits=self._limits, sent=self._sending)

        def send(blob: Descriptor) -> None:
            try:
                uploader.send(blob)
            except RegistryError:
                # A registry refuses what is not what its digest says; then the cache is to blame.
                if self._store.has(blob.digest):
                    self._store.check(blob.digest)
                raise
            self._count(blob, blob.size)

        self._jobs.run(partial(send, blob) for blob in biggest_first)
        if self._sent:
            size = sum(blob.size for blob in biggest_first if blob.digest in self._sent)
            name = f"{self._host}/{self._repository.name}"
            self._progress.step(f"sent {len(self._sent)} blobs ({size / 1e6:.1f} MB) to {name}")

    def _sending(self, blob: Descriptor, done: int) -> None:
        self._jobs.checkpoint()
        self._sent.add(blob.digest)
        # The last byte counts when the registry has confirmed it.
        self._count(blob, min(done, blob.size - 1))

    def _count(self, blob: Descriptor, done: int) -> None:
        with self._lock:
            self._done[blob.digest] = done
            if blob.digest in self._sent:
                self._progress.bytes(f"upload {shown(blob)}", done, blob.size)
            self._progress.bytes(self._task, sum(self._done.values()), self._total)

    def _put_manifest(self, reference: str, manifest: Descriptor) -> None:
        request = self._repository.request(
            "PUT",
            f"manifests/{reference}",
            headers={"Content-Type": manifest.media_type},
            body=self._store.read(manifest.digest),
            ok=(200, 201, 202),
        )
        told = self._repository.transport.call(request).headers.get("Docker-Content-Digest")
        if told and told.startswith("sha256:") and told != manifest.digest:
            msg = f"{self._host} stored {told} instead of {manifest.digest}: it rewrites manifests"
            raise RegistryError(msg, hint="turn that off in the registry, or use another one")

    def _put_tag(self, tag: str, manifest: Descriptor) -> None:
        try:
            self._put_manifest(tag, manifest)
        except RegistryError:
            # A tag that may not be changed is no obstacle when someone just gave it to the same image.
            if self._repository.digest(tag) != manifest.digest:
                raise


def _blobs(manifest: bytes) -> tuple[Descriptor, ...]:
    read = ImageManifest.from_bytes(manifest)
    return (read.config, *read.layers)
