"""The built-in base: resolved to exact packages once, then the same files for the same packages."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import cast

from servegen.errors import BaseImageError
from servegen.oci.debian.deb import Deb, read_deb
from servegen.oci.debian.fetch import Mirror
from servegen.oci.debian.files import root_files
from servegen.oci.debian.index import keep, load, shipped_keyring
from servegen.oci.debian.packages import closure, suite_for
from servegen.oci.debian.sources import Source, checked
from servegen.oci.descriptor import canonical, digest_of
from servegen.oci.http import Network
from servegen.oci.tar import Entry
from servegen.progress import Progress
from servegen.values.image import Platform

__all__ = ["BaseLock", "BasePackage", "base_entries", "resolve_base", "suite_for"]

THREADS = 6
FORMAT = 1
"""Raised when the same packages become other files, so that no layer made before is taken for the new one."""


@dataclass(frozen=True, kw_only=True)
class BasePackage:
    """One exact Debian package."""

    name: str
    version: str
    sha256: str
    size: int
    path: str
    """Below the mirror: no host is in a lock."""


@dataclass(frozen=True, kw_only=True)
class BaseLock:
    """Everything that a Debian base is made from."""

    suite: str
    arch: str
    python: str
    packages: tuple[BasePackage, ...]
    """Sorted by name."""

    @property
    def digest(self) -> str:
        """Equal exactly when the base's files are."""
        return digest_of(canonical({"format": FORMAT, **self.to_json()}))

    def to_json(self) -> dict[str, object]:
        """The lock as plain values."""
        return {
            "suite": self.suite,
            "arch": self.arch,
            "python": self.python,
            "packages": [asdict(package) for package in self.packages],
        }

    @classmethod
    def from_json(cls, value: object) -> BaseLock:
        """The lock that `to_json` wrote; raises BaseImageError for something else."""
        try:
            fields = cast("dict[str, object]", value)
            packages = cast("list[dict[str, object]]", fields["packages"])
            return cls(
                suite=str(fields["suite"]),
                arch=str(fields["arch"]),
                python=str(fields["python"]),
                packages=tuple(
                    BasePackage(
                        name=str(each["name"]),
                        version=str(each["version"]),
                        sha256=str(each["sha256"]),
                        size=int(str(each["size"])),
                        path=str(each["path"]),
                    )
                    for each in packages
                ),
            )
        except (KeyError, TypeError, ValueError) as exc:
            msg = f"this is no lock of a Debian base ({exc})"
            raise BaseImageError(msg, hint="remove it; it is made anew from the mirror") from exc


def resolve_base(
    python: str,
    platform: Platform,
    sources: Sequence[Source],
    *,
    network: Network,
    progress: Progress,
    extra: Sequence[str] = (),
    keyring: Path | None = None,
    cache_dir: Path | None = None,
) -> BaseLock:
    """The newest packages with this Python for this platform, the `extra` ones, and all they depend on."""
    suite = suite_for(python)
    progress.step(f"reading the package index of Debian {suite.number}")
    mirror = Mirror(network)
    try:
        index = load(
            checked(sources),
            platform.architecture,
            keyring=_keys(keyring),
            mirror=mirror,
            cache=cache_dir,
            progress=progress,
        )
    finally:
        mirror.close()
    packages = closure([*suite.packages, *extra], index, suite)
    return BaseLock(
        suite=suite.name,
        arch=platform.architecture,
        python=python,
        packages=tuple(
            BasePackage(
                name=package.name,
                version=package.version,
                sha256=package.sha256,
                size=package.size,
                path=package.path,
            )
            for package in packages
        ),
    )


def base_entries(
    lock: BaseLock, cache_dir: Path, sources: Sequence[Source], *, network: Network, progress: Progress
) -> list[Entry]:
    """The files of the base; archives that `cache_dir` lacks come from any mirror that has them."""
    mirror = Mirror(network)
    uris = list(dict.fromkeys(source.uri for source in sources))
    total = sum(package.size for package in lock.packages)
    done, counting = 0, threading.Lock()

    def read(package: BasePackage) -> Deb:
        nonlocal done
        deb = read_deb(_archive(package, cache_dir, uris, mirror), f"{package.name} {package.version}")
        with counting:
            done += package.size
            progress.bytes("Debian packages", done, total)
        return deb

    try:
        with ThreadPoolExecutor(THREADS) as pool:
            debs = dict(
                zip((package.name for package in lock.packages), pool.map(read, lock.packages), strict=True)
            )
    finally:
        mirror.close()
    return root_files(debs, lock.python)


def _keys(keyring: Path | None) -> bytes:
    if keyring is None:
        return shipped_keyring()
    try:
        return keyring.read_bytes()
    except OSError as exc:
        msg = f"the keyring {keyring} cannot be read: {exc.strerror}"
        raise BaseImageError(msg, hint="--debian-keyring takes a file of OpenPGP keys") from exc


def _archive(package: BasePackage, cache_dir: Path, uris: Sequence[str], mirror: Mirror) -> bytes:
    """The .deb, always with the size and hash of the lock."""
    kept = cache_dir / f"{package.sha256}.deb"
    if kept.is_file():
        data = kept.read_bytes()
        if hashlib.sha256(data).hexdigest() == package.sha256:
            return data
    found_other = False
    for uri in uris:
        answer = mirror.get(f"{uri}/{package.path}")
        if answer is None:
            continue
        if len(answer) == package.size and hashlib.sha256(answer).hexdigest() == package.sha256:
            keep(kept, answer)
            return answer
        found_other = True
    if not uris:
        checked([])
    if found_other:
        msg = f"{package.name} {package.version}: the archive differs from the signed index"
        raise BaseImageError(msg, hint="something on the way changes files; try another --debian-mirror")
    msg = f"no mirror has {package.name} {package.version} any more"
    raise BaseImageError(msg, hint="servegen lock --update-lock takes the newest version")
