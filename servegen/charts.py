"""A chart as one archive, as `helm package` makes it, and in a registry, as `helm push` puts it there."""

from __future__ import annotations

import gzip
import io
import os
import re
import tarfile
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import yaml as pyyaml

from servegen.errors import ConfigError, RegistryError, RenderError
from servegen.job import Job, registry
from servegen.kube import yaml
from servegen.oci.descriptor import Descriptor, canonical
from servegen.oci.image import ImageManifest
from servegen.oci.store import Store
from servegen.progress import Progress
from servegen.values.bundle import Bundle
from servegen.values.image import ImageRef

SCHEME = "oci://"
CONFIG = "application/vnd.cncf.helm.config.v1+json"
CONTENT = "application/vnd.cncf.helm.chart.content.v1.tar+gzip"
_CHART = "Chart.yaml"
_SEMVER = re.compile(
    r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-[0-9A-Za-z-]+(\.[0-9A-Za-z-]+)*)?(\+[0-9A-Za-z-]+(\.[0-9A-Za-z-]+)*)?"
)
_TIME = 315532800
"""1980-01-01: always the same, and no time that tar programs warn about."""


@dataclass(frozen=True, kw_only=True)
class Archive:
    """A packed chart."""

    name: str
    version: str
    facts: dict[str, object]
    """Chart.yaml."""
    data: bytes
    """A gzipped tar with the chart's files below one folder, named as the chart."""


def with_version(bundle: Bundle, version: str) -> Bundle:
    """The chart `bundle` as the release `version` of it."""
    chart = pyyaml.safe_load(bundle.text(_CHART)) | {"version": version}
    changed = [(path, yaml.dump(chart) if path == _CHART else text) for path, text in bundle.files]
    return replace(bundle, files=tuple(changed))


def pack(bundle: Bundle) -> Archive:
    """The chart `bundle` as an archive; equal bundles give equal bytes."""
    facts = pyyaml.safe_load(bundle.text(_CHART))
    name = str(facts["name"])
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as tar:
        # Helm writes it first, so that a reader of the stream knows the chart at once.
        for path, text in sorted(bundle.files, key=lambda one: one[0] != _CHART):
            content = text.encode()
            entry = tarfile.TarInfo(f"{name}/{path}")
            entry.size, entry.mode, entry.mtime = len(content), 0o644, _TIME
            tar.addfile(entry, io.BytesIO(content))
    data = gzip.compress(plain.getvalue(), mtime=0)
    return Archive(name=name, version=str(facts["version"]), facts=facts, data=data)


def write(archive: Archive, path: Path) -> None:
    """Write the archive as `path`, all of it or nothing; raises RenderError where that cannot be."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, part = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(archive.data)
            # mkstemp makes private files; this is for everybody who may read the folder.
            Path(part).chmod(0o644)
            Path(part).replace(path)
        finally:
            Path(part).unlink(missing_ok=True)
    except OSError as exc:
        msg = f"{path} cannot be written: {exc.strerror}"
        raise RenderError(msg, hint="name a file that may be written: -o FILE.tgz") from exc


def check(place: str | None, version: str | None) -> None:
    """ConfigError for a place or a version that cannot be; asked before the work begins."""
    if place is not None:
        _place(place)
    if version is not None and not _SEMVER.fullmatch(version):
        msg = f"--chart-version {version!r} is no version of a chart"
        raise ConfigError(msg, hint="three numbers, as SemVer writes them, such as 1.0.0")


def _place(text: str) -> ImageRef:
    hint = "oci://REGISTRY/REPOSITORY, to which the chart's name is added, such as oci://ghcr.io/me/charts"
    if not text.startswith(SCHEME):
        msg = f"--push {text!r} is no place in a registry"
        raise ConfigError(msg, hint=hint)
    try:
        ref = ImageRef.parse(text.removeprefix(SCHEME).rstrip("/"))
    except ValueError as exc:
        msg = f"--push {text!r} is no place in a registry: {exc}"
        raise ConfigError(msg, hint=hint) from exc
    if not ref.registry or ref.tag or ref.digest:
        msg = f"--push {text!r} {'names no registry' if not ref.registry else 'has a tag or digest'}"
        raise ConfigError(msg, hint=hint)
    return ref


def push(archive: Archive, place: str, job: Job, progress: Progress) -> str:
    """Put the chart at `place`, tagged with its version, and return `oci://…:VERSION@sha256:…`.

    A version that names another chart there already is not replaced: those who installed it would get
    another one under the same version. Raises RegistryError then.
    """
    base = _place(place)
    # A tag cannot have the `+` of a SemVer; Helm looks for `_` in its place.
    tag = archive.version.replace("+", "_")
    ref = ImageRef(registry=base.registry, repository=f"{base.repository}/{archive.name}", tag=tag)
    store = Store(job.store)
    descriptor = _stored(archive, store)
    with registry(job, progress) as remote:
        known = remote.manifest_digest(ref)
        if known not in (None, descriptor.digest):
            msg = f"{SCHEME}{ref} is another chart already"
            raise RegistryError(msg, hint="--chart-version VERSION with one that is not there yet")
        if known is None:
            remote.push(store, descriptor, ref)
    return f"{SCHEME}{ref}@{descriptor.digest}"


def _stored(archive: Archive, store: Store) -> Descriptor:
    config, chart = canonical(archive.facts), archive.data
    manifest = ImageManifest(
        config=Descriptor.of(config, CONFIG),
        layers=(Descriptor.of(chart, CONTENT),),
        annotations=tuple(sorted(_annotations(archive).items())),
    ).to_bytes()
    for blob in (config, chart, manifest):
        store.add_bytes(blob)
    return store.manifest(Descriptor.of(manifest, "").digest)


def _annotations(archive: Archive) -> dict[str, str]:
    """Those of `helm push`, but for the time."""
    known = {
        "title": archive.name,
        "version": archive.version,
        "description": archive.facts.get("description"),
    }
    return {f"org.opencontainers.image.{key}": str(value) for key, value in known.items() if value}
