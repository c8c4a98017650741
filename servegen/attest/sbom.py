"""The bill of materials as CycloneDX 1.6: equal bytes for an equal image, made from lock and labels alone.

No layer is read: on a machine that has only the lock, layers stay in the registry.
"""

from __future__ import annotations

import datetime
import json
import uuid
from collections.abc import Iterable, Mapping
from typing import Any

from cyclonedx.model import HashAlgorithm, HashType, Property
from cyclonedx.model.bom import Bom, BomMetaData
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.tool import ToolRepository
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

from servegen import __version__
from servegen.attest.packages import Part, debian_packages, model_purl, release, wheels
from servegen.errors import RegistryError
from servegen.values.image import Image
from servegen.values.lock import PlatformLock

NAMESPACE = uuid.UUID("6ba7b812-9dad-11d1-80b4-00c04fd430c8")
"""For names that are OIDs or other identifiers (RFC 9562, appendix C)."""
_EPOCH = datetime.datetime.fromtimestamp(0, datetime.timezone.utc)
LEFT_OUT = "servegen:left-out"
"""Property of the image: a distribution that another one requires and that is not in it."""
_MODEL_FACTS = ("pin", "run-id", "model-id", "mlflow-version", "flavors", "signature-digest")


def sbom(image: Image, lock: PlatformLock) -> bytes:
    """The document about `image`, which was built from `lock`."""
    return _document(image, dict(lock.base), map(_library, wheels(lock)), lock.environment.left_out)


def rebased_sbom(image: Image, base: Mapping[str, object], old: bytes) -> bytes:
    """The document about `image`, which has all but its base from the image that `old` is about.

    `base` is what a lock keeps of the base. Raises RegistryError for an `old` that is no document of ours.
    """
    try:
        document = json.loads(old)
        found = [_read(row) for row in document["components"] if row["type"] == "library"]
        notes = document["metadata"]["component"].get("properties", ())
        left_out = [note["value"] for note in notes if note["name"] == LEFT_OUT]
    except (ValueError, LookupError, TypeError) as exc:
        msg = f"the SBOM of the image that {image.ref.name} was made of cannot be read: {exc}"
        hint = "--no-sbom; or servegen package, which makes image and SBOM anew"
        raise RegistryError(msg, hint=hint) from exc
    return _document(image, base, [_library(part) for part in found if part.purl.type != "deb"], left_out)


def _read(row: Mapping[str, Any]) -> Part:
    """The part that `_library` wrote; what an image does not need, the name of its file, is not in it."""
    return Part(
        name=row["name"],
        version=row["version"],
        purl=PackageURL.from_string(row["purl"]),
        sha256=row["hashes"][0]["content"],
        file="",
        notes=tuple((note["name"], note["value"]) for note in row.get("properties", ())),
    )


def _document(
    image: Image, base: Mapping[str, object], libraries: Iterable[Component], left_out: Iterable[str] = ()
) -> bytes:
    digest = str(image.ref.digest)
    title = dict(image.labels).get("org.opencontainers.image.title") or image.ref.repository
    whole = Component(
        type=ComponentType.CONTAINER,
        name=title,
        version=digest,
        bom_ref="image",
        hashes=[_sha256(digest)],
        properties=[
            Property(name="servegen:platform", value=str(image.platform)),
            *(Property(name=LEFT_OUT, value=each) for each in left_out),
        ],
    )
    parts = [_model(image), *_base(image, base), *libraries]
    bom = Bom(
        components=parts,
        serial_number=serial_number(digest),
        metadata=BomMetaData(
            timestamp=_EPOCH,
            component=whole,
            tools=ToolRepository(
                components=[Component(type=ComponentType.APPLICATION, name="servegen", version=__version__)]
            ),
        ),
    )
    bom.register_dependency(whole, parts)
    return (JsonV1Dot6(bom).output_as_string(indent=1) + "\n").encode()


def serial_number(digest: str) -> uuid.UUID:
    """The serial number of every document about the image `digest`."""
    return uuid.uuid5(NAMESPACE, digest)


def _model(image: Image) -> Component:
    digest = str(image.label("model-digest"))
    facts = {name: image.label(name) for name in _MODEL_FACTS}
    return Component(
        type=ComponentType.MACHINE_LEARNING_MODEL,
        name=str(image.label("model-name")),
        version=image.label("model-version") or digest,
        bom_ref="model",
        purl=model_purl(image),
        # Of the sorted lines `sha256  path` of all its files.
        hashes=[_sha256(digest)],
        properties=[Property(name=f"servegen:{name}", value=value) for name, value in facts.items() if value],
    )


def _base(image: Image, base: Mapping[str, object]) -> list[Component]:
    """Operating system and its packages; of a base that is not ours, the image that it is."""
    packages = debian_packages(base)
    if packages:
        number = release(str(base.get("suite")))
        system = Component(type=ComponentType.OPERATING_SYSTEM, name="debian", version=number, bom_ref="base")
        return [system, *map(_library, packages)]
    labels = dict(image.labels)
    digest = labels.get("org.opencontainers.image.base.digest") or ""
    return [
        Component(
            type=ComponentType.CONTAINER,
            name=labels.get("org.opencontainers.image.base.name") or "base",
            version=digest,
            bom_ref="base",
            hashes=[_sha256(digest)] if digest else [],
            properties=[Property(name="servegen:content", value="not listed: see the SBOM of this image")],
        )
    ]


def _library(part: Part) -> Component:
    return Component(
        type=ComponentType.LIBRARY,
        name=part.name,
        version=part.version,
        bom_ref=part.purl.to_string(),
        purl=part.purl,
        hashes=[_sha256(part.sha256)],
        properties=[Property(name=name, value=value) for name, value in part.notes],
    )


def _sha256(digest: str) -> HashType:
    return HashType(alg=HashAlgorithm.SHA_256, content=digest.removeprefix("sha256:"))
