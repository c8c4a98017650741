"""What a lock and an image's labels say of its content, in the words of package URLs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import cast

from packageurl import PackageURL

from servegen.oci.debian.packages import SUITES
from servegen.values.image import Image
from servegen.values.lock import LockedPackage, PlatformLock


@dataclass(frozen=True, kw_only=True)
class Part:
    """One package of an image, by the name that scanners and databases know it by."""

    name: str
    version: str
    purl: PackageURL
    sha256: str
    """Of the file that it was installed from."""
    file: str
    notes: tuple[tuple[str, str], ...] = ()
    """Facts beyond the purl, such as that the model brought it."""


def wheels(lock: PlatformLock) -> list[Part]:
    """The Python packages, in the lock's order."""
    return [_wheel(package) for package in lock.environment.packages]


def _wheel(package: LockedPackage) -> Part:
    notes = {}
    kind = "pypi"
    if package.path:
        # Advisories about a package of that name on an index are not about the model's own.
        kind, notes = "generic", {"servegen:source": "the model", "servegen:path": package.path}
    elif package.sdist:
        notes = {"servegen:source": "built from source", "servegen:sdist-sha256": package.sdist}
    return Part(
        name=package.name,
        version=package.version,
        purl=PackageURL(type=kind, name=package.name, version=package.version),
        sha256=package.sha256,
        file=package.file,
        notes=tuple(notes.items()),
    )


def debian_packages(base: Mapping[str, object]) -> list[Part]:
    """The packages of the built-in base, as a lock keeps it; empty for another base, which no lock lists."""
    distro = f"debian-{release(str(base.get('suite')))}"
    found = []
    for row in cast("Iterable[Mapping[str, object]]", base.get("packages") or ()):
        name, version, path = str(row["name"]), str(row["version"]), str(row["path"])
        # The last part of the file's name: a package for all architectures is in the base of each.
        architecture = re.sub(r".*_|\.deb$", "", path)
        qualifiers = {"arch": architecture, "distro": distro}
        purl = PackageURL(type="deb", namespace="debian", name=name, version=version, qualifiers=qualifiers)
        file = path.rpartition("/")[2]
        found.append(Part(name=name, version=version, purl=purl, sha256=str(row["sha256"]), file=file))
    return found


def release(suite: str) -> str:
    """The number of a Debian release, such as 12; its name where the number is not known."""
    return next((str(each.number) for each in SUITES if each.name == suite), suite)


def model_purl(image: Image) -> PackageURL | None:
    """The registered model; None for one that is in no registry. The tracking server is left out."""
    name, version = image.label("model-name"), image.label("model-version")
    if not name or not version:
        return None
    run = image.label("run-id")
    return PackageURL(type="mlflow", name=name, version=version, qualifiers={"run_id": run} if run else None)
