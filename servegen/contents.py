"""What a registry tells of two images for those who compare them: how large they are, and what is in them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace

from servegen.attest.documents import SBOM, documents_of
from servegen.errors import ImageNotFoundError, RegistryError, ServegenError
from servegen.job import Job, network, registry
from servegen.oci.descriptor import INDEXES
from servegen.oci.image import ImageManifest, images_of
from servegen.oci.referrers import Referrers
from servegen.oci.registry import Registry
from servegen.oci.store import Store
from servegen.progress import Progress
from servegen.values.image import ImageRef


@dataclass(frozen=True, kw_only=True)
class Contents:
    """One image, of an index the first that it lists."""

    image_bytes: int | None = None
    """Compressed, as a node pulls it."""
    requirements: tuple[str, ...] = ()
    """Python packages as `NAME==VERSION`, sorted; none where no SBOM is attached."""


def contents(refs: Sequence[ImageRef], job: Job, progress: Progress) -> tuple[Contents, ...]:
    """Of each of `refs`, in their order; what cannot be had is a warning and left out."""
    found, silent = [], set[str | None]()
    # The release is made: nobody should wait for what is only told of it.
    with registry(job, progress, replace(network(job), tries=2, timeout=10)) as remote:
        for ref in refs:
            # A registry that did not answer is not waited for again.
            if not ref.registry or ref.registry in silent:
                found.append(Contents())
                continue
            try:
                found.append(_contents(ref, remote, Store(job.store), progress))
            except ServegenError as exc:
                if isinstance(exc, RegistryError) and not isinstance(exc, ImageNotFoundError):
                    silent.add(ref.registry)
                progress.warn(f"size and requirements of {ref.pinned} are not shown: {exc}")
                found.append(Contents())
    return tuple(found)


def _contents(ref: ImageRef, remote: Registry, store: Store, progress: Progress) -> Contents:
    repository, digest = remote.repository(ref), str(ref.digest)
    top = repository.manifest(digest)
    if top and top[0].media_type in INDEXES:
        listed = images_of(top[1])
        digest = listed[min(listed, key=str)].digest if listed else ""
        top = repository.manifest(digest) if listed else None
    if top is None:
        msg = f"{ref.pinned} is not in the registry"
        raise ImageNotFoundError(msg, hint="was it deleted?")
    manifest = ImageManifest.from_bytes(top[1])
    size = sum(one.size for one in (manifest.config, *manifest.layers))
    try:
        requirements = _requirements(ref, digest, remote, store)
    except ServegenError as exc:
        progress.warn(f"requirements of {ref.pinned} are not shown: {exc}")
        requirements = ()
    return Contents(image_bytes=size, requirements=requirements)


def _requirements(ref: ImageRef, digest: str, remote: Registry, store: Store) -> tuple[str, ...]:
    """What the SBOM that is attached to the image lists of Python."""
    listed = documents_of(ref, digest, remote, store)
    one = next((each for each in listed if each.artifact_type == SBOM), None)
    if one is None:
        return ()
    data = Referrers(remote.repository(ref), store).read(one)
    try:
        rows = [row for row in json.loads(data)["components"] if row["type"] == "library"]
        return tuple(
            sorted(
                f"{row['name']}=={row['version']}" for row in rows if not row["purl"].startswith("pkg:deb/")
            )
        )
    except (ValueError, LookupError, TypeError, AttributeError) as exc:
        msg = f"the SBOM of {ref.pinned} cannot be read: {exc}"
        raise RegistryError(msg, hint="servegen package --push makes it anew") from exc
