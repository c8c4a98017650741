"""Whether an image in a registry is, byte for byte, what the owner of a key signed."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from functools import partial
from typing import cast

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

from servegen.attest.documents import NAMES, documents_of, subject_of
from servegen.attest.signing import is_made_with, is_signed, signed_digest
from servegen.errors import ImageNotFoundError, TamperedError, UnsignedError, WrongKeyError
from servegen.oci.blobs import check_blob
from servegen.oci.descriptor import INDEXES, Descriptor, parse_object
from servegen.oci.image import ImageManifest
from servegen.oci.push import THREADS
from servegen.oci.referrers import Referrers
from servegen.oci.registry import Registry
from servegen.oci.repository import Repository
from servegen.oci.signatures import signatures
from servegen.oci.store import Store
from servegen.oci.workers import Jobs
from servegen.progress import Progress
from servegen.values.image import ImageRef


@dataclass(frozen=True, kw_only=True)
class Checked:
    """What was found to be in order."""

    image: str
    """The reference with the digest that is signed."""
    documents: tuple[str, ...]
    """What is attached: `SBOM`, `provenance`; their signatures were checked too."""
    blobs: int
    bytes: int


def check_signed(
    ref: ImageRef, key: EllipticCurvePublicKey, remote: Registry, store: Store, progress: Progress
) -> Checked:
    """Check signature, documents and every blob of `ref`, all as the registry has them now.

    Raises UnsignedError, WrongKeyError or TamperedError for the first thing that is not in order.
    """
    repository = remote.repository(ref)
    found = repository.manifest(ref.digest or ref.tag or "latest")
    if found is None:
        msg = f"{ref} is not in the registry"
        raise ImageNotFoundError(msg, hint="check name and tag; was it pushed?")
    top, data = found
    _check_signature(repository, top.digest, str(ref), key)
    documents: dict[str, None] = {}
    blobs: dict[str, Descriptor] = {}
    for digest, manifest in _images(repository, top, data):
        read = ImageManifest.from_bytes(manifest)
        blobs |= {blob.digest: blob for blob in (read.config, *read.layers)}
        listed = documents_of(ref, digest, remote, store)
        for media_type, name in NAMES.items():
            same = [each for each in listed if each.artifact_type == media_type]
            signed = [each for each in same if is_signed(repository, each.descriptor.digest, key)]
            if same and not signed:
                _check_signature(repository, same[0].descriptor.digest, f"the {name} of {ref}", key)
            if len(signed) < len(same):
                progress.warn(
                    f"{len(same) - len(signed)} more {name} of {ref} without a signature by this key"
                )
            for referrer in signed:
                about = subject_of(media_type, Referrers(repository, store).read(referrer))
                if about != digest:
                    msg = f"the {name} of {ref} is about {about or 'no image'}, not about {digest}"
                    raise TamperedError(msg, hint="delete it in the registry, then push the image again")
                documents[name] = None
    _check_blobs(repository, list(blobs.values()), progress)
    size = sum(blob.size for blob in blobs.values())
    return Checked(image=ref.at(top.digest).pinned, documents=tuple(documents), blobs=len(blobs), bytes=size)


def _check_signature(repository: Repository, digest: str, what: str, key: EllipticCurvePublicKey) -> None:
    found = signatures(repository, digest)
    if not found:
        msg = f"{what} is not signed"
        raise UnsignedError(msg, hint="servegen package --push --sign-key KEY signs it")
    by_key = [signature for signature in found if is_made_with(signature, key)]
    if not by_key:
        msg = f"{what} is signed, but not with this key (signatures: {len(found)})"
        raise WrongKeyError(msg, hint="name the public half of the key that signed it")
    about = [signed_digest(signature) for signature in by_key]
    if digest not in about:
        msg = f"{what} carries the signature of {about[0] or 'something else'}, not of {digest}"
        raise TamperedError(msg, hint="do not run it; somebody copied the signature of another image")


def _images(repository: Repository, top: Descriptor, data: bytes) -> list[tuple[str, bytes]]:
    """Digest and manifest of each image that a reference names, one for each platform."""
    if top.media_type not in INDEXES:
        return [(top.digest, data)]
    images = []
    for entry in cast("list[object]", parse_object(data, "the image index").get("manifests") or []):
        digest = Descriptor.from_json(entry).digest
        found = repository.manifest(digest)
        if found is None:
            msg = f"{repository.name} lacks the image {digest}, which its index names"
            raise TamperedError(msg, hint="push the image again, and ask who deletes in this registry")
        images.append((digest, found[1]))
    return images


def _check_blobs(repository: Repository, blobs: list[Descriptor], progress: Progress) -> None:
    total, done, lock = sum(blob.size for blob in blobs), 0, threading.Lock()
    jobs = Jobs(THREADS)
    progress.step(f"reading {len(blobs)} blobs ({total / 1e6:.1f} MB)")

    def counted(size: int) -> None:
        nonlocal done
        jobs.checkpoint()
        with lock:
            done += size
            progress.bytes("check", done, total)

    biggest_first = sorted(blobs, key=lambda blob: -blob.size)
    jobs.run(partial(check_blob, repository, blob, counted) for blob in biggest_first)
