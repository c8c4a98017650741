"""How an image was made: an in-toto statement v1 with the SLSA provenance v1 predicate."""

from __future__ import annotations

from collections.abc import Mapping

from packageurl import PackageURL

from servegen import __version__
from servegen.attest.packages import Part, debian_packages, wheels
from servegen.oci.descriptor import canonical
from servegen.values.attestation import BuildRun
from servegen.values.image import Image, ImageRef
from servegen.values.lock import PlatformLock

STATEMENT = "https://in-toto.io/Statement/v1"
PREDICATE = "https://slsa.dev/provenance/v1"
BUILD_TYPE = "https://servegen.dev/build/model-image/v1"
REBASE_TYPE = "https://servegen.dev/build/rebase/v1"
"""docs/how-to/supply-chain.md says what their parameters mean."""


def provenance(image: Image, lock: PlatformLock, parameters: Mapping[str, object], run: BuildRun) -> bytes:
    """The statement about `image`; nothing in it tells time, machine or user."""
    return _statement(
        image,
        {
            "buildType": BUILD_TYPE,
            "externalParameters": {"model": image.asked or image.label("pin"), "options": dict(parameters)},
            "internalParameters": {"excludeNewer": lock.environment.exclude_newer},
            "resolvedDependencies": [
                _model(image),
                _base(dict(image.labels)),
                *map(_file, (*debian_packages(dict(lock.base)), *wheels(lock))),
            ],
        },
        run,
    )


def rebase_provenance(
    image: Image,
    base: Mapping[str, object],
    old: ImageRef,
    parameters: Mapping[str, object],
    run: BuildRun,
) -> bytes:
    """The statement about `image`, which has all but its base from the image `old`."""
    digest, last = str(old.digest), old.repository.rpartition("/")[2]
    return _statement(
        image,
        {
            "buildType": REBASE_TYPE,
            "externalParameters": {"image": last, "options": dict(parameters)},
            "resolvedDependencies": [
                {"name": "image", "uri": _oci(last, digest), "digest": _digests(digest)},
                _base(dict(image.labels)),
                *map(_file, debian_packages(base)),
            ],
        },
        run,
    )


def _statement(image: Image, definition: Mapping[str, object], run: BuildRun) -> bytes:
    digest = str(image.ref.digest)
    details: dict[str, object] = {"builder": {"id": run.builder, "version": {"servegen": __version__}}}
    if run.invocation:
        details["metadata"] = {"invocationId": run.invocation}
    title = dict(image.labels).get("org.opencontainers.image.title") or image.ref.repository
    return canonical(
        {
            "_type": STATEMENT,
            "subject": [{"name": title, "digest": _digests(digest)}],
            "predicateType": PREDICATE,
            "predicate": {"buildDefinition": definition, "runDetails": details},
        }
    )


def _model(image: Image) -> dict[str, object]:
    notes = {name: image.label(name) for name in ("run-id", "model-id", "mlflow-version")}
    return {
        "name": "model",
        "uri": image.label("pin"),
        "digest": _digests(str(image.label("model-digest"))),
        "annotations": {name: value for name, value in notes.items() if value},
    }


def _base(labels: Mapping[str, str]) -> dict[str, object]:
    name = labels.get("org.opencontainers.image.base.name") or ""
    digest = labels.get("org.opencontainers.image.base.digest") or ""
    # A Debian base is made here: its digest is that of the list of its packages.
    kind = name if name.startswith("debian:") else _oci(name, digest)
    return {"name": "base", "uri": kind, "digest": _digests(digest)}


def _oci(name: str, digest: str) -> str:
    last = name.partition("@")[0].rpartition("/")[2].partition(":")[0]
    return PackageURL(type="oci", name=last or "base", version=digest).to_string()


def _file(part: Part) -> dict[str, object]:
    found: dict[str, object] = {
        "name": part.file,
        "uri": part.purl.to_string(),
        "digest": _digests(part.sha256),
    }
    return found | ({"annotations": dict(part.notes)} if part.notes else {})


def _digests(digest: str) -> dict[str, str]:
    return {"sha256": digest.removeprefix("sha256:")}
