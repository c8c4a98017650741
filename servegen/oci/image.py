"""Image config and image manifest as typed values, and the canonical JSON they become."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import cast

from servegen.errors import RegistryError
from servegen.oci.descriptor import (
    CONFIG,
    INDEX,
    INDEXES,
    JSON,
    MANIFEST,
    Descriptor,
    canonical,
    checked_digest,
    oci_media_type,
    parse_object,
)
from servegen.oci.store import Store
from servegen.oci.tar import LayerBlob
from servegen.values.image import Platform

__all__ = [
    "Descriptor",
    "ImageConfig",
    "ImageManifest",
    "Layer",
    "assemble",
    "assemble_index",
    "images_of",
    "index_bytes",
    "layers_of",
    "read_image",
]

LAYER_KEY = "dev.servegen.layer.key"
LAYER_NAME = "dev.servegen.layer.name"
_SHOWN = 19
"""Characters of a digest that tell blobs apart for a reader."""
CREATED = "1970-01-01T00:00:00Z"
"""No build time: it would give every build another digest."""


@dataclass(frozen=True, kw_only=True)
class ImageConfig:
    """How containers of an image start, and the content of its layers."""

    platform: Platform
    env: tuple[tuple[str, str], ...] = ()
    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    user: str = ""
    working_dir: str = ""
    ports: tuple[int, ...] = ()
    stop_signal: str = ""
    labels: tuple[tuple[str, str], ...] = ()
    diff_ids: tuple[str, ...] = ()

    def to_bytes(self, history: Sequence[str]) -> bytes:
        """The config blob; `history` has one line a layer."""
        config: dict[str, object] = {
            "Env": [f"{name}={value}" for name, value in self.env],
            "Entrypoint": list(self.entrypoint),
            "Cmd": list(self.cmd),
            "User": self.user,
            "WorkingDir": self.working_dir,
            "ExposedPorts": {f"{port}/tcp": {} for port in self.ports},
            "StopSignal": self.stop_signal,
            "Labels": dict(self.labels),
        }
        return canonical(
            {
                "architecture": self.platform.architecture,
                "os": self.platform.os,
                "created": CREATED,
                "config": {name: value for name, value in config.items() if value},
                "rootfs": {"type": "layers", "diff_ids": list(self.diff_ids)},
                "history": [{"created": CREATED, "created_by": line} for line in history],
            }
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> ImageConfig:
        """The config in a blob, ours or another tool's; raises RegistryError when it is none."""
        top = parse_object(data, "the image config")
        config = _mapping(top.get("config"))
        return cls(
            platform=Platform(os=str(top.get("os", "")), architecture=str(top.get("architecture", ""))),
            env=tuple(
                (name, value)
                for name, _, value in (line.partition("=") for line in _texts(config.get("Env")))
            ),
            entrypoint=_texts(config.get("Entrypoint")),
            cmd=_texts(config.get("Cmd")),
            user=str(config.get("User") or ""),
            working_dir=str(config.get("WorkingDir") or ""),
            ports=tuple(sorted(_ports(config.get("ExposedPorts")))),
            stop_signal=str(config.get("StopSignal") or ""),
            labels=tuple(sorted((k, str(v)) for k, v in _mapping(config.get("Labels")).items())),
            diff_ids=tuple(
                checked_digest(text) for text in _texts(_mapping(top.get("rootfs")).get("diff_ids"))
            ),
        )


@dataclass(frozen=True, kw_only=True)
class ImageManifest:
    """What an image consists of."""

    config: Descriptor
    layers: tuple[Descriptor, ...]
    annotations: tuple[tuple[str, str], ...] = ()

    def to_bytes(self) -> bytes:
        """The image manifest as it is stored."""
        value: dict[str, object] = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": self.config.to_json(),
            "layers": [layer.to_json() for layer in self.layers],
        }
        if self.annotations:
            value["annotations"] = dict(self.annotations)
        return canonical(value)

    @classmethod
    def from_bytes(cls, data: bytes) -> ImageManifest:
        """The image manifest in a blob, OCI's or Docker's; raises RegistryError when it is none."""
        top = parse_object(data, "the image manifest")
        layers = top.get("layers")
        if "config" not in top or not isinstance(layers, list):
            msg = "the image manifest has no config and layers"
            raise RegistryError(msg, hint="it is in a format from before 2016, or no image; push it again")
        return cls(
            config=Descriptor.from_json(top["config"]),
            layers=tuple(Descriptor.from_json(layer) for layer in layers),
            annotations=tuple(sorted((k, str(v)) for k, v in _mapping(top.get("annotations")).items())),
        )


@dataclass(frozen=True, kw_only=True)
class Layer:
    """A layer in its place in an image."""

    blob: LayerBlob
    name: str
    key: str | None = None
    """What it was made from; None for a layer of a foreign base."""

    def descriptor(self) -> Descriptor:
        """The manifest's entry for it, with key and name as annotations."""
        notes = {LAYER_NAME: self.name} | ({LAYER_KEY: self.key} if self.key else {})
        return Descriptor(
            media_type=self.blob.media_type,
            digest=self.blob.digest,
            size=self.blob.size,
            annotations=tuple(sorted(notes.items())),
        )


def shown(blob: Descriptor) -> str:
    """What a blob of an image is called in progress."""
    return blob.annotation(LAYER_NAME) or blob.digest[:_SHOWN]


def names_of(blobs: Iterable[Descriptor]) -> dict[str, str]:
    """Digest → what the blob is called in progress: a name that no other of these blobs has."""
    named: dict[str, set[str]] = {}
    for blob in blobs:
        named.setdefault(shown(blob), set()).add(blob.digest)
    return {
        digest: f"{name} ({digest.removeprefix('sha256:')[:8]})" if len(digests) > 1 else name
        for name, digests in named.items()
        for digest in digests
    }


def assemble(store: Store, config: ImageConfig, layers: Sequence[Layer]) -> Descriptor:
    """Stores config and image manifest; the labels become the manifest's annotations too.

    The layers' blobs need not be in the store: one that is in the target registry is enough for a push.
    """
    filled = replace(config, diff_ids=tuple(layer.blob.diff_id for layer in layers))
    blob = filled.to_bytes([layer.name for layer in layers])
    manifest = ImageManifest(
        config=Descriptor(media_type=CONFIG, digest=store.add_bytes(blob), size=len(blob)),
        layers=tuple(layer.descriptor() for layer in layers),
        annotations=config.labels,
    ).to_bytes()
    store.add_bytes(manifest)
    return Descriptor.of(manifest, MANIFEST)


def assemble_index(store: Store, images: Mapping[Platform, Descriptor]) -> Descriptor:
    """Stores one image index over an image for each platform, in the order of their names."""
    data = index_bytes(images)
    store.add_bytes(data)
    return Descriptor.of(data, INDEX)


def index_bytes(images: Mapping[Platform, Descriptor]) -> bytes:
    """The index that `assemble_index` stores."""
    entries = [
        {**images[platform].to_json(), "platform": {"os": platform.os, "architecture": platform.architecture}}
        for platform in sorted(images, key=str)
    ]
    return canonical({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries})


def images_of(index: bytes) -> dict[Platform, Descriptor]:
    """The images that an index lists, by platform; what is no image, such as an attestation, is left out."""
    found: dict[Platform, Descriptor] = {}
    listed = parse_object(index, "the image index").get("manifests")
    for each in listed if isinstance(listed, list) else []:
        of = _mapping(_mapping(each).get("platform"))
        platform = Platform(os=str(of.get("os", "")), architecture=str(of.get("architecture", "")))
        if platform.os not in ("", "unknown"):
            found.setdefault(platform, Descriptor.from_json(each))
    return found


def read_image(store: Store, descriptor: Descriptor) -> tuple[ImageManifest, ImageConfig]:
    """Manifest and config of an image whose manifest is in the store; both are hashed again."""
    if descriptor.media_type in INDEXES:
        msg = f"{descriptor.digest} is an image index, not an image"
        raise RegistryError(msg, hint="choose a platform")
    manifest = ImageManifest.from_bytes(store.read(descriptor.digest))
    config = ImageConfig.from_bytes(store.read(manifest.config.digest))
    if len(config.diff_ids) != len(manifest.layers):
        msg = (
            f"{descriptor.digest} has {len(manifest.layers)} layers, its config names {len(config.diff_ids)}"
        )
        raise RegistryError(msg, hint="the image is damaged; build or push it again")
    return manifest, config


def layers_of(manifest: ImageManifest, config: ImageConfig) -> tuple[Layer, ...]:
    """The layers of a read image, ready to be used in another one; those with a `key` are ours."""
    return tuple(
        Layer(
            blob=LayerBlob(
                digest=layer.digest,
                diff_id=diff_id,
                size=layer.size,
                media_type=oci_media_type(layer.media_type),
            ),
            name=layer.annotation(LAYER_NAME) or f"base:{position}",
            key=layer.annotation(LAYER_KEY),
        )
        for position, (layer, diff_id) in enumerate(zip(manifest.layers, config.diff_ids, strict=True))
    )


def _mapping(value: object) -> JSON:
    return cast("JSON", value) if isinstance(value, dict) else {}


def _texts(value: object) -> tuple[str, ...]:
    return tuple(str(each) for each in value) if isinstance(value, list) else ()


def _ports(value: object) -> list[int]:
    numbers = (name.partition("/")[0] for name in _mapping(value))
    return [int(number) for number in numbers if number.isdigit()]
