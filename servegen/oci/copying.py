"""An image in another repository: the same bytes under the same digest, with all that refers to it."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import cast

from servegen.errors import ImageNotFoundError
from servegen.oci.descriptor import INDEXES, Descriptor, parse_object
from servegen.oci.image import ImageManifest
from servegen.oci.push import THREADS
from servegen.oci.referrers import Referrers
from servegen.oci.registry import Registry
from servegen.oci.repository import Repository
from servegen.oci.signatures import copy_signatures
from servegen.oci.store import Store
from servegen.oci.workers import Jobs
from servegen.progress import Progress
from servegen.values.image import ImageRef


def copy_image(source: ImageRef, ref: ImageRef, remote: Registry, store: Store, progress: Progress) -> None:
    """Make the image (or index) with the digest of `source` available in the repository of `ref`.

    Documents about it and signatures go with it. Raises ImageNotFoundError where `source` is not there.
    """
    origin, digest = remote.repository(source), str(source.digest)
    found = origin.manifest(digest)
    if found is None:
        msg = f"{source} is not in the registry"
        raise ImageNotFoundError(msg, hint="check name and digest; was it deleted?")
    top, data = found
    store.add_bytes(data)
    images = [(top, data)]
    if top.media_type in INDEXES:
        images = [_listed(origin, entry, source) for entry in _entries(data)]
        for _, manifest in images:
            store.add_bytes(manifest)
    wanted = replace(ref, digest=None)
    progress.step(f"copying {source.pinned} to {ref.name}")
    if source.registry == ref.registry:
        try:
            # Nothing comes here where the registry links blobs itself.
            remote.push(store, top, wanted, mount_from=source)
        except ImageNotFoundError:
            _fetch(origin, images, store)
            remote.push(store, top, wanted)
    else:
        _fetch(origin, images, store)
        remote.push(store, top, wanted)
    target = remote.repository(ref, write=True)
    for about in dict.fromkeys((digest, *(image.digest for image, _ in images))):
        _follow(about, origin, target, store)


def _follow(digest: str, origin: Repository, target: Repository, store: Store) -> None:
    """Bring signatures of `digest`, documents about it and their signatures."""
    copy_signatures(origin, target, store, digest)
    for document in Referrers(target, store).take(digest, Referrers(origin, store)):
        copy_signatures(origin, target, store, document.descriptor.digest)


def _entries(index: bytes) -> list[Descriptor]:
    listed = parse_object(index, "the image index").get("manifests")
    return [Descriptor.from_json(each) for each in cast("list[object]", listed or [])]


def _listed(origin: Repository, entry: Descriptor, source: ImageRef) -> tuple[Descriptor, bytes]:
    found = origin.manifest(entry.digest)
    if found is None:
        msg = f"{source.name} lacks the image {entry.digest}, which its index names"
        raise ImageNotFoundError(msg, hint="push the image again")
    return found


def _fetch(origin: Repository, images: list[tuple[Descriptor, bytes]], store: Store) -> None:
    blobs: dict[str, Descriptor] = {}
    for _, data in images:
        manifest = ImageManifest.from_bytes(data)
        blobs |= {blob.digest: blob for blob in (manifest.config, *manifest.layers)}
    biggest_first = sorted(blobs.values(), key=lambda blob: -blob.size)
    Jobs(THREADS).run(partial(origin.fetch, blob, store, lambda _: None) for blob in biggest_first)
