"""Signatures as cosign stores them: an image of its own under the tag `sha256-….sig`, a layer for each.

Every registry can hold them, and so cosign, policy controllers and podman find them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

from servegen.errors import RegistryError
from servegen.oci.blobs import read_blob
from servegen.oci.descriptor import CONFIG, MANIFEST, MANIFESTS, Descriptor, canonical
from servegen.oci.image import ImageManifest
from servegen.oci.referrers import TRIES, fallback_tag, put_manifest, send
from servegen.oci.repository import Repository
from servegen.oci.store import Store

SIMPLE_SIGNING = "application/vnd.dev.cosign.simplesigning.v1+json"
_SIGNATURE = "dev.cosignproject.cosign/signature"
# What a container of this "image" would be; cosign writes the same.
_MOMENT = "0001-01-01T00:00:00Z"


@dataclass(frozen=True, kw_only=True)
class Signature:
    """What was signed, and the signature over it."""

    payload: bytes
    value: str
    """Base64 of the signature."""


def signatures(repository: Repository, digest: str) -> tuple[Signature, ...]:
    """All signatures of the image `digest`, whoever made them."""
    return tuple(_read(repository, _layers(repository, digest)))


def add_signature(
    repository: Repository,
    store: Store,
    digest: str,
    made: Callable[[], Signature],
    is_ours: Callable[[Signature], bool],
) -> bool:
    """Adds a signature of `digest` unless one of those there `is_ours`; returns whether one was added."""
    layers = _layers(repository, digest)
    if any(map(is_ours, _read(repository, layers))):
        return False
    signature = made()
    layer = Descriptor.of(signature.payload, SIMPLE_SIGNING)
    signed = replace(layer, annotations=((_SIGNATURE, signature.value),))
    send(repository, store, (signature.payload, layer))
    _add(repository, store, digest, (signed,))
    return True


def copy_signatures(source: Repository, repository: Repository, store: Store, digest: str) -> int:
    """Adds what of the signatures of `digest` another repository has and this one lacks; how many."""
    there = _layers(repository, digest)
    # As they are: some carry a certificate beside the signature.
    missing = tuple(layer for layer in _layers(source, digest) if layer not in there)
    if missing:
        for layer in missing:
            send(repository, store, (read_blob(source, layer), layer))
        _add(repository, store, digest, missing)
    return len(missing)


def _add(repository: Repository, store: Store, digest: str, added: tuple[Descriptor, ...]) -> None:
    layers = _layers(repository, digest)
    for _ in range(TRIES):
        whole = (*layers, *(layer for layer in added if layer not in layers))
        config = _config(whole)
        described = Descriptor.of(config, CONFIG)
        send(repository, store, (config, described))
        manifest = ImageManifest(config=described, layers=whole).to_bytes()
        put_manifest(repository, _tag(digest), manifest, MANIFEST)
        # Somebody may have signed at the same time, and written without ours.
        layers = _layers(repository, digest)
        if all(layer in layers for layer in added):
            return
    msg = f"others keep replacing {repository.name}:{_tag(digest)}"
    raise RegistryError(msg, hint="run the command again: it adds the signature if it is missing")


def _read(repository: Repository, layers: Iterable[Descriptor]) -> Iterator[Signature]:
    for layer in layers:
        if layer.media_type == SIMPLE_SIGNING:
            value = layer.annotation(_SIGNATURE) or ""
            yield Signature(payload=read_blob(repository, layer), value=value)


def _layers(repository: Repository, digest: str) -> tuple[Descriptor, ...]:
    found = repository.manifest(_tag(digest))
    if found is None:
        return ()
    if found[0].media_type not in MANIFESTS:
        msg = f"{repository.name}:{_tag(digest)} holds no signatures, but {found[0].media_type}"
        raise RegistryError(msg, hint="delete this tag")
    return ImageManifest.from_bytes(found[1]).layers


def _config(layers: tuple[Descriptor, ...]) -> bytes:
    return canonical(
        {
            "architecture": "",
            "os": "",
            "created": _MOMENT,
            "config": {},
            "history": [{"created": _MOMENT} for _ in layers],
            "rootfs": {"type": "layers", "diff_ids": [layer.digest for layer in layers]},
        }
    )


def _tag(digest: str) -> str:
    return f"{fallback_tag(digest)}.sig"
