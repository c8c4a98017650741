"""Making the documents about an image once, and bringing them, with signatures, to where the image is."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from servegen import __version__
from servegen.errors import RegistryAuthError, RegistryError
from servegen.oci.descriptor import Descriptor
from servegen.oci.referrers import Artifact, Referrer, Referrers, keep, kept
from servegen.oci.registry import Registry
from servegen.oci.store import Store
from servegen.progress import Progress
from servegen.values.attestation import BuildRun
from servegen.values.image import Image, ImageRef, StoredImage
from servegen.values.lock import PlatformLock

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

SBOM = "application/vnd.cyclonedx+json"
PROVENANCE = "application/vnd.in-toto+json"
NAMES = {SBOM: "SBOM", PROVENANCE: "provenance"}
VERSION = "dev.servegen.version"
"""Marks a document as ours. On the document and not on the image, whose digest a release must not change."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """Which documents, and what only the caller knows of them."""

    types: frozenset[str]
    parameters: Mapping[str, object]
    """The options of the build."""
    run: BuildRun


def attest(stored: StoredImage, lock: PlatformLock, wanted: Wanted) -> None:
    """Keep the wanted documents beside the image in the store; one that is there is not made again."""
    store = Store(stored.store)
    digest = str(stored.image.ref.digest)
    present = {artifact.media_type for artifact in kept(store, digest)}
    missing = [each for each in NAMES if each in wanted.types and each not in present]
    if missing:
        made = [_made(each, stored.image, lock, wanted) for each in missing]
        keep(store, store.manifest(digest), made)


def attest_rebased(
    stored: StoredImage, old: Image, base: Mapping[str, object], wanted: Wanted, remote: Registry
) -> bool:
    """As `attest`, for an image that has all but its base from `old`; False where `old` has no SBOM to go by.

    `base` is what a lock keeps of the new one. The documents of an image that did not change are taken over.
    """
    store, image = Store(stored.store), stored.image
    subject = store.manifest(str(image.ref.digest))
    present = {artifact.media_type for artifact in kept(store, subject.digest)}
    known = {each: _found(old, each, store, remote) for each in wanted.types - present}
    made = []
    for media_type, before in known.items():
        if image.ref.digest == old.ref.digest:
            made += [before] if before else []
        elif media_type == PROVENANCE:
            from servegen.attest.provenance import rebase_provenance

            data = rebase_provenance(image, base, old.ref, wanted.parameters, wanted.run)
            made.append(_artifact(media_type, data))
        elif before is not None:
            from servegen.attest.sbom import rebased_sbom

            made.append(_artifact(media_type, rebased_sbom(image, base, before.data)))
    if made:
        keep(store, subject, sorted(made, key=lambda each: list(NAMES).index(each.media_type)))
    return known.get(SBOM, True) is not None


def publish(
    stored: StoredImage,
    types: frozenset[str],
    key: EllipticCurvePrivateKey | None,
    remote: Registry,
    progress: Progress,
) -> None:
    """Attach the kept documents to the pushed image, and sign it and them; nothing is sent twice.

    What others attached is never signed: only who made a document knows that it is true.
    """
    store, ref = Store(stored.store), stored.image.ref
    subject = store.manifest(str(ref.digest))
    ours = {a.referrer(subject): a for a in kept(store, subject.digest) if a.media_type in types}
    there = documents_of(ref, subject.digest, remote, store) if ours else ()
    settled = {
        each.artifact_type
        for each in there
        if key is None or is_signed(ref, each.descriptor.digest, key, remote)
    }
    present = {each.descriptor.digest for each in there}
    missing = [
        artifact
        for referrer, artifact in ours.items()
        if referrer.artifact_type not in settled and referrer.descriptor.digest not in present
    ]
    if missing:
        _attach(ref, subject, missing, remote, store)
        progress.step(f"attached {' and '.join(NAMES[each.media_type] for each in missing)}")
    if key is not None:
        unsigned = [each.descriptor.digest for each in ours if each.artifact_type not in settled]
        sign(ref, [subject.digest, *unsigned], key, remote, store, progress)


def _attach(
    ref: ImageRef, subject: Descriptor, documents: list[Artifact], remote: Registry, store: Store
) -> None:
    try:
        Referrers(remote.repository(ref, write=True), store).attach(subject, documents)
    except RegistryAuthError:
        raise
    except RegistryError as exc:
        msg = f"the image is pushed, but its documents could not be attached: {exc}"
        raise RegistryError(msg, hint="--no-sbom --no-provenance, where this registry takes none") from exc


def is_signed(ref: ImageRef, digest: str, key: EllipticCurvePrivateKey, remote: Registry) -> bool:
    """Whether the repository of `ref` has a signature by this key of the manifest `digest`."""
    from servegen.attest import signing

    return signing.is_signed(remote.repository(ref), digest, key.public_key())


def sign(
    ref: ImageRef,
    digests: Sequence[str],
    key: EllipticCurvePrivateKey,
    remote: Registry,
    store: Store,
    progress: Progress,
) -> None:
    """Sign manifests in the repository of `ref`, each by its digest; what this key signed stays as it is."""
    from servegen.attest.signing import sign_digest

    repository = remote.repository(ref, write=True)
    with ThreadPoolExecutor(max_workers=len(digests)) as pool:
        added = list(pool.map(lambda digest: sign_digest(ref.name, digest, key, repository, store), digests))
    if any(added):
        progress.step("signed the image and what is attached to it")


def documents_of(ref: ImageRef, digest: str, remote: Registry, store: Store) -> tuple[Referrer, ...]:
    """The documents of ours about the image `digest` in the repository of `ref`."""
    found = Referrers(remote.repository(ref), store).of(digest)
    return tuple(
        each for each in found if each.artifact_type in NAMES and each.descriptor.annotation(VERSION)
    )


def read_document(image: Image, media_type: str, folder: Path, remote: Registry) -> bytes | None:
    """The document about `image`, from the store in `folder`, else from the registry; None without one."""
    found = _found(image, media_type, Store(folder), remote)
    return found.data if found else None


def _found(image: Image, media_type: str, store: Store, remote: Registry) -> Artifact | None:
    digest = str(image.ref.digest)
    for artifact in kept(store, digest):
        if artifact.media_type == media_type:
            return artifact
    if not image.ref.registry:
        return None
    for referrer in documents_of(image.ref, digest, remote, store):
        if referrer.artifact_type == media_type:
            data = Referrers(remote.repository(image.ref), store).read(referrer)
            return Artifact(media_type=media_type, data=data, annotations=referrer.descriptor.annotations)
    return None


def subject_of(media_type: str, data: bytes) -> str | None:
    """The digest of the image that a document of ours says it is about; None when it does not say."""
    try:
        document = json.loads(data)
        if media_type == SBOM:
            return str(document["metadata"]["component"]["version"])
        return f"sha256:{document['subject'][0]['digest']['sha256']}"
    except (ValueError, KeyError, IndexError, TypeError):
        return None


def _made(media_type: str, image: Image, lock: PlatformLock, wanted: Wanted) -> Artifact:
    if media_type == SBOM:
        # Here, because an image whose documents exist should not wait for the library.
        from servegen.attest.sbom import sbom

        return _artifact(media_type, sbom(image, lock))
    from servegen.attest.provenance import provenance

    return _artifact(media_type, provenance(image, lock, wanted.parameters, wanted.run))


def _artifact(media_type: str, data: bytes) -> Artifact:
    notes = {VERSION: __version__}
    if media_type == PROVENANCE:
        from servegen.attest.provenance import PREDICATE

        # As BuildKit does; in-toto documents of all kinds share one media type.
        notes["in-toto.io/predicate-type"] = PREDICATE
    return Artifact(media_type=media_type, data=data, annotations=tuple(sorted(notes.items())))
