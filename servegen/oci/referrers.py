"""Referrers: documents about an image, stored beside it (OCI 1.1; in older registries under a tag)."""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import cast

from servegen.errors import RegistryError, TamperedError
from servegen.oci.blobs import read_blob
from servegen.oci.calls import Response
from servegen.oci.descriptor import INDEX, JSON, MANIFEST, Descriptor, canonical, parse_object
from servegen.oci.image import ImageManifest
from servegen.oci.repository import Repository
from servegen.oci.store import Store
from servegen.oci.upload import Uploader, UploadLimits

EMPTY = Descriptor.of(b"{}", "application/vnd.oci.empty.v1+json")
TRIES = 5
# What registries answer that do not have the API.
_LACKING = (400, 404, 405, 501)
_NEXT = re.compile(r'<([^>]+)>\s*;\s*rel="?next"?')


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """A document about an image."""

    media_type: str
    """Of its content, and what it is searched by."""
    data: bytes
    annotations: tuple[tuple[str, str], ...] = ()

    @property
    def blob(self) -> Descriptor:
        """The descriptor of its content."""
        return Descriptor.of(self.data, self.media_type)

    def manifest(self, subject: Descriptor) -> bytes:
        """Its manifest when it is about `subject` (image-spec 1.1, "Guidelines for Artifact Usage")."""
        value = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "artifactType": self.media_type,
            "config": EMPTY.to_json(),
            "layers": [self.blob.to_json()],
            "subject": {"mediaType": subject.media_type, "digest": subject.digest, "size": subject.size},
            "annotations": dict(self.annotations),
        }
        return canonical(value)

    def referrer(self, subject: Descriptor) -> Referrer:
        """How a list of referrers names it."""
        made = Descriptor.of(self.manifest(subject), MANIFEST)
        return Referrer(descriptor=replace(made, annotations=self.annotations), artifact_type=self.media_type)


@dataclass(frozen=True, kw_only=True)
class Referrer:
    """One entry in the list of what refers to an image."""

    descriptor: Descriptor
    """Of its manifest, with that one's annotations."""
    artifact_type: str

    def to_json(self) -> dict[str, object]:
        """The entry as an image index writes it."""
        return {**self.descriptor.to_json(), "artifactType": self.artifact_type}

    @classmethod
    def from_json(cls, value: JSON) -> Referrer:
        """The entry of an image index; raises RegistryError for something else."""
        return cls(descriptor=Descriptor.from_json(value), artifact_type=str(value.get("artifactType") or ""))


class Referrers:
    """What a repository holds about its images."""

    def __init__(self, repository: Repository, store: Store) -> None:
        self._repository = repository
        self._store = store

    def of(self, digest: str) -> tuple[Referrer, ...]:
        """Everything that refers to `digest`, by whichever way this registry tells it."""
        request = self._repository.request(
            "GET", f"referrers/{digest}", headers={"Accept": INDEX}, ok=(200, *_LACKING)
        )
        answer = self._repository.transport.call(request)
        # Some send a page for people where they have no API.
        if answer.status != 200 or INDEX not in (answer.headers.get("Content-Type") or ""):
            return tuple(Referrer.from_json(entry) for entry in self._tagged(digest))
        found = []
        while True:
            found += _entries(answer.data)
            more = _NEXT.search(answer.headers.get("Link") or "")
            if not more:
                return tuple(Referrer.from_json(entry) for entry in found)
            url = urllib.parse.urljoin(answer.url, more[1])
            answer = self._repository.transport.call(self._repository.at("GET", url))

    def read(self, referrer: Referrer) -> bytes:
        """The document as the registry has it now; TamperedError when it is not what its digest says."""
        found = self._repository.manifest(referrer.descriptor.digest)
        layers = ImageManifest.from_bytes(found[1]).layers if found else ()
        if not layers:
            msg = f"{self._repository.name} lists {referrer.descriptor.digest}, but holds no document there"
            raise TamperedError(msg, hint="push the image again, and ask who deletes in this registry")
        return read_blob(self._repository, layers[0])

    def attach(self, subject: Descriptor, artifacts: Sequence[Artifact]) -> None:
        """Adds `artifacts` to what refers to `subject`; what is there already changes nothing."""
        send(self._repository, self._store, (b"{}", EMPTY))
        with ThreadPoolExecutor(max_workers=max(1, len(artifacts))) as pool:
            listed = list(pool.map(partial(self._put, subject), artifacts))
        unlisted = [
            a.referrer(subject) for a, is_listed in zip(artifacts, listed, strict=True) if not is_listed
        ]
        if unlisted:
            self._list(subject.digest, unlisted)

    def take(self, digest: str, source: Referrers) -> tuple[Referrer, ...]:
        """Adds what refers to `digest` in another repository, as it is there; what was added or there."""
        found = source.of(digest)
        unlisted = []
        for referrer in found:
            read = source._repository.manifest(referrer.descriptor.digest)
            if read is None:
                continue
            described, data = read
            manifest = ImageManifest.from_bytes(data)
            for blob in (manifest.config, *manifest.layers):
                send(self._repository, self._store, (read_blob(source._repository, blob), blob))
            answer = put_manifest(self._repository, described.digest, data, described.media_type)
            if not answer.headers.get("OCI-Subject"):
                unlisted.append(referrer)
        if unlisted:
            self._list(digest, unlisted)
        return found

    def _put(self, subject: Descriptor, artifact: Artifact) -> bool:
        """Whether the registry lists it from now on."""
        send(self._repository, self._store, (artifact.data, artifact.blob))
        digest = artifact.referrer(subject).descriptor.digest
        answer = put_manifest(self._repository, digest, artifact.manifest(subject), MANIFEST)
        # How a registry says that it keeps the list itself (distribution-spec 1.1).
        return bool(answer.headers.get("OCI-Subject"))

    def _list(self, digest: str, added: Iterable[Referrer]) -> None:
        for _ in range(TRIES):
            # Read again after each write: somebody may have replaced the list meanwhile.
            entries = self._tagged(digest)
            known = {entry.get("digest") for entry in entries}
            missing = [each.to_json() for each in added if each.descriptor.digest not in known]
            if not missing:
                return
            index = canonical(
                {"schemaVersion": 2, "mediaType": INDEX, "manifests": [*map(dict, entries), *missing]}
            )
            put_manifest(self._repository, fallback_tag(digest), index, INDEX)
        msg = f"others keep replacing {self._repository.name}:{fallback_tag(digest)}"
        raise RegistryError(msg, hint="run the command again: it adds what the list lacks")

    def _tagged(self, digest: str) -> list[JSON]:
        found = self._repository.manifest(fallback_tag(digest))
        # GitLab takes this tag for the digest and answers with the image itself.
        return _entries(found[1]) if found and found[0].media_type == INDEX else []


def fallback_tag(digest: str) -> str:
    """The tag under which older registries keep the list of referrers."""
    return digest.replace(":", "-")


def put_manifest(repository: Repository, reference: str, data: bytes, media_type: str) -> Response:
    """The registry's answer to a manifest put under a digest or a tag."""
    headers = {"Content-Type": media_type}
    request = repository.request(
        "PUT", f"manifests/{reference}", headers=headers, body=data, ok=(200, 201, 202)
    )
    return repository.transport.call(request)


def send(repository: Repository, store: Store, *blobs: tuple[bytes, Descriptor]) -> None:
    """Makes small blobs available in the repository."""
    uploader = Uploader(repository, store, limits=UploadLimits(), sent=lambda *_: None)
    for data, descriptor in blobs:
        store.add_bytes(data)
        uploader.send(descriptor)


def keep(store: Store, subject: Descriptor, artifacts: Iterable[Artifact]) -> None:
    """Puts documents beside an image of the store, in the place of those of the same type."""
    new = tuple(artifacts)
    types = {artifact.media_type for artifact in new}
    old = (artifact for artifact in kept(store, subject.digest) if artifact.media_type not in types)
    entries = []
    for artifact in (*old, *new):
        store.add_bytes(b"{}")
        store.add_bytes(artifact.data)
        store.add_bytes(artifact.manifest(subject))
        entries.append(artifact.referrer(subject).to_json())
    index = canonical({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries})
    store.add_bytes(index)
    store.tag(fallback_tag(subject.digest), Descriptor.of(index, INDEX))


def kept(store: Store, digest: str) -> tuple[Artifact, ...]:
    """The documents beside an image of the store; none of those that somebody removed in part."""
    listed = store.resolve(fallback_tag(digest))
    if listed is None or not store.has(listed.digest, listed.size):
        return ()
    found = []
    for entry in _entries(store.read(listed.digest)):
        referrer = Referrer.from_json(entry)
        if not store.has(referrer.descriptor.digest, referrer.descriptor.size):
            continue
        for layer in ImageManifest.from_bytes(store.read(referrer.descriptor.digest)).layers:
            if store.has(layer.digest, layer.size):
                data, notes = store.read(layer.digest), referrer.descriptor.annotations
                found.append(Artifact(media_type=layer.media_type, data=data, annotations=notes))
    return tuple(found)


def _entries(index: bytes) -> list[JSON]:
    entries = parse_object(index, "the list of referrers").get("manifests")
    return [cast("JSON", e) for e in entries if isinstance(e, dict)] if isinstance(entries, list) else []
