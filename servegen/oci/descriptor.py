"""Media types, descriptors and the one way we write JSON that is hashed."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

from servegen.errors import RegistryError

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
LAYER_GZIP = LAYER + "+gzip"
LAYER_ZSTD = LAYER + "+zstd"
DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
INDEXES = (INDEX, DOCKER_INDEX)
MANIFESTS = (MANIFEST, DOCKER_MANIFEST)

_OCI_OF_DOCKER = {
    "application/vnd.docker.image.rootfs.diff.tar": LAYER,
    "application/vnd.docker.image.rootfs.diff.tar.gzip": LAYER_GZIP,
    "application/vnd.docker.container.image.v1+json": CONFIG,
}
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")

JSON = Mapping[str, object]


def digest_of(data: bytes) -> str:
    """`sha256:…` of `data`."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def checked_digest(text: object) -> str:
    """`text` when it is a sha256 digest; anything else never reaches a path or a URL."""
    if not isinstance(text, str) or not _DIGEST.fullmatch(text):
        msg = f"{str(text)[:100]!r} is not a sha256 digest"
        raise RegistryError(msg, hint="only images with sha256 digests can be used")
    return text


def canonical(value: object) -> bytes:
    """`value` as JSON that is the same bytes for the same value: UTF-8, sorted keys, no spaces."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def parse_object(data: bytes, what: str) -> JSON:
    """The JSON object in `data`; `what` names it in the error."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        msg = f"{what} is not a JSON object"
        raise RegistryError(
            msg, hint="it is damaged, or was not written by an OCI tool; push or pull the image again"
        )
    return cast("JSON", value)


def oci_media_type(media_type: str) -> str:
    """The OCI name of a Docker media type; the bytes behind both are the same."""
    return _OCI_OF_DOCKER.get(media_type, media_type)


@dataclass(frozen=True, kw_only=True)
class Descriptor:
    """What names a blob everywhere in OCI: type, digest, size."""

    media_type: str
    digest: str
    size: int
    annotations: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, data: bytes, media_type: str) -> Descriptor:
        """The descriptor of `data`."""
        return cls(media_type=media_type, digest=digest_of(data), size=len(data))

    @classmethod
    def from_json(cls, value: object) -> Descriptor:
        """The descriptor that a manifest, index or layout wrote; raises RegistryError for something else."""
        try:
            fields = cast("JSON", value)
            annotations = cast("Mapping[str, str]", fields.get("annotations") or {})
            size = fields["size"]
            if not isinstance(size, int) or size < 0:
                raise ValueError
            return cls(
                media_type=str(fields.get("mediaType", "")),
                digest=checked_digest(fields["digest"]),
                size=size,
                annotations=tuple(sorted((str(k), str(v)) for k, v in annotations.items())),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as exc:
            msg = "a descriptor lacks digest or size"
            raise RegistryError(msg, hint="the manifest is damaged; push the image again") from exc

    def to_json(self) -> dict[str, object]:
        """The object as OCI writes it."""
        out: dict[str, object] = {"mediaType": self.media_type, "digest": self.digest, "size": self.size}
        if self.annotations:
            out["annotations"] = dict(self.annotations)
        return out

    def annotation(self, name: str) -> str | None:
        """The annotation `name`, None when there is none."""
        return dict(self.annotations).get(name)
