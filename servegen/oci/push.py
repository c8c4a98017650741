"""Pushing: blobs first and in parallel, then, once approved, manifests by digest, the tag last."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection
from functools import partial
from typing import cast

from servegen.errors import RegistryError
from servegen.oci.calls import BlobUnknownError, TransientError
from servegen.oci.descriptor import INDEXES, MANIFESTS, Descriptor, parse_object
from servegen.oci.image import ImageManifest, names_of
from servegen.oci.repository import Repository
from servegen.oci.store import Store
from servegen.oci.upload import Uploader, UploadLimits
from servegen.oci.workers import Approval, Jobs
from servegen.progress import Progress

THREADS = 6


class Pusher:
    """One push to one repository."""

    def __init__(
        self,
        repository: Repository,
        store: Store,
        progress: Progress,
        *,
        approval: Approval | None = None,
        limits: UploadLimits | None = None,
    ) -> None:
        self._repository = repository
        self._transport = repository.transport
        self._host = self._transport.host
        self._store = store
        self._progress = progress
        self._uploader = Uploader(repository, store, limits=limits or UploadLimits(), sent=self._sending)
        self._approval = approval or Approval(given=True)
        self._jobs = Jobs(THREADS)
        self._sent: set[str] = set()
        self._done: dict[str, int] = {}
        self._total = 0
        self._previous: str | None = None
        self._names: dict[str, str] = {}
        self._task = f"push {self._host}/{repository.name}"
        self._lock = threading.Lock()

    def push(self, descriptor: Descriptor, tag: str | None) -> str:
        """Sends what is missing and returns the digest; nothing is sent when the tag names it already."""
        previous = self._repository.manifest(tag or descriptor.digest)
        self._previous = previous[0].digest if previous else None
        if previous and previous[0].digest == descriptor.digest:
            return descriptor.digest
        images = self._images(descriptor)
        blobs = {blob.digest: blob for image in images for blob in _blobs(self._store.read(image.digest))}
        self._names = names_of(blobs.values())
        # What the image under the tag consists of is there; no need to ask blob by blob.
        for blob in _blobs(previous[1]) if previous and previous[0].media_type in MANIFESTS else ():
            blobs.pop(blob.digest, None)
        self._run(self._uploader.send, blobs.values())
        # Blobs without a manifest are nothing that anybody could run; registries collect them.
        self._approval.wait()
        for image in images:
            self._put_manifest(image.digest, image)
        # By its digest too: an image whose tag moved on can still be had.
        for reference in dict.fromkeys((descriptor.digest, tag or descriptor.digest)):
            self._put_manifest(reference, descriptor)
        return descriptor.digest

    def _images(self, descriptor: Descriptor) -> list[Descriptor]:
        if descriptor.media_type not in INDEXES:
            return [descriptor]
        found = parse_object(self._store.read(descriptor.digest), "the image index").get("manifests")
        return [Descriptor.from_json(each) for each in cast("list[object]", found or [])]

    def _run(self, send: Callable[[Descriptor], None], blobs: Collection[Descriptor]) -> None:
        biggest_first = sorted(blobs, key=lambda blob: -blob.size)
        self._sent.clear()
        self._done.clear()
        self._total = sum(blob.size for blob in biggest_first)
        self._jobs = Jobs(THREADS)

        def job(blob: Descriptor) -> None:
            try:
                send(blob)
            except RegistryError:
                # A registry refuses what is not what its digest says; then the cache is to blame.
                if self._store.has(blob.digest):
                    self._store.check(blob.digest)
                raise
            self._count(blob, blob.size)

        self._jobs.run(partial(job, blob) for blob in biggest_first)
        self._approval.checkpoint()
        if self._sent:
            size = sum(blob.size for blob in biggest_first if blob.digest in self._sent)
            name = f"{self._host}/{self._repository.name}"
            self._progress.step(f"sent {len(self._sent)} blobs ({size / 1e6:.1f} MB) to {name}")

    def _sending(self, blob: Descriptor, done: int) -> None:
        self._jobs.checkpoint()
        self._approval.checkpoint()
        self._sent.add(blob.digest)
        # The last byte counts when the registry has confirmed it.
        self._count(blob, min(done, blob.size - 1))

    def _count(self, blob: Descriptor, done: int) -> None:
        with self._lock:
            self._done[blob.digest] = done
            if blob.digest in self._sent:
                self._progress.bytes(f"upload {self._names[blob.digest]}", done, blob.size)
            self._progress.bytes(self._task, sum(self._done.values()), self._total)

    def _put_manifest(self, reference: str, manifest: Descriptor) -> None:
        """Returns when `reference`, a tag or the digest, names the manifest."""
        attempt = partial(self._try_manifest, reference, manifest)
        try:
            self._transport.retried(attempt)
        except BlobUnknownError as exc:
            # What the image under the tag consists of was not asked for, and garbage collectors have bugs.
            self._bring_again(manifest, exc)
            self._transport.retried(attempt)
        except RegistryError:
            # A tag that may not be changed is no obstacle when someone just gave it to the same image.
            if self._repository.digest(reference) != manifest.digest:
                raise

    def _try_manifest(self, reference: str, manifest: Descriptor) -> None:
        request = self._repository.request(
            "PUT",
            f"manifests/{reference}",
            headers={"Content-Type": manifest.media_type},
            body=self._store.read(manifest.digest),
            ok=(200, 201, 202),
        )
        told = self._transport.once(request).headers.get("Docker-Content-Digest") or ""
        if told.startswith("sha256:") and told != manifest.digest:
            msg = f"{self._host} stored {told} instead of {manifest.digest}: it rewrites manifests"
            hint = "turn that off in the registry, or use another one"
            raise TransientError(RegistryError(msg, hint=hint))
        if self._repository.digest(reference) == manifest.digest:
            return
        # A HEAD may be answered from an old cache; the manifest itself is the last word.
        found = self._repository.manifest(reference)
        digest = found[0].digest if found else None
        if digest in (None, self._previous):
            msg = f"{self._host} answered that it stored {self._repository.name} {reference}, but did not"
            raise TransientError(RegistryError(msg, hint="look at the registry's log and storage"))
        if digest != manifest.digest:
            # To push again here would only take the name from whoever has it now.
            msg = (
                f"{self._repository.name} {reference} was given to another image, {digest}, at the same time"
            )
            raise RegistryError(msg, hint="push again, or give each image a tag of its own")

    def _bring_again(self, manifest: Descriptor, refusal: BlobUnknownError) -> None:
        if manifest.media_type not in MANIFESTS:
            raise refusal
        blobs = {blob.digest: blob for blob in _blobs(self._store.read(manifest.digest))}
        named = [blob for digest, blob in blobs.items() if digest in refusal.digests]
        self._progress.step(
            f"{self._host} lacks {len(named) or 'some'} blobs that it had; sending them again"
        )
        if named:
            self._run(self._uploader.send_again, named)
        else:
            self._run(self._uploader.send, list(blobs.values()))


def _blobs(manifest: bytes) -> tuple[Descriptor, ...]:
    read = ImageManifest.from_bytes(manifest)
    return (read.config, *read.layers)
