"""What servegen.lock says: exact inputs of an image, never where they were downloaded from."""

from __future__ import annotations

from dataclasses import dataclass

from servegen.values.model import Pin


@dataclass(frozen=True, kw_only=True)
class LockedPackage:
    """One exact wheel, installable only if its hash matches."""

    name: str
    """Canonical name (PEP 503)."""
    version: str
    file: str
    """Wheel file name."""
    size: int
    """Bytes of the wheel, 0 where the index does not tell."""
    sha256: str
    path: str | None = None
    """Where the model holds it, relative to the model's folder; None for a wheel of an index."""
    sdist: str | None = None
    """sha256 of the source distribution that it was built of here; None for a wheel of an index."""


@dataclass(frozen=True, kw_only=True)
class EnvironmentLock:
    """Every wheel of the image for one platform."""

    inputs: str
    """sha256 of all that the resolution depends on; equal inputs need no new resolution."""
    platform: str
    python: str
    """Major and minor version."""
    target: str
    """Wheel platform, such as `x86_64-manylinux_2_28`."""
    exclude_newer: str
    """Distributions uploaded later were not looked at (RFC 3339)."""
    packages: tuple[LockedPackage, ...]
    left_out: tuple[str, ...] = ()
    """Distributions, `name==version`, that a wheel here requires and nothing in the image imports."""


@dataclass(frozen=True, kw_only=True)
class PlatformLock:
    """What an image for one platform is made of."""

    environment: EnvironmentLock
    base: tuple[tuple[str, object], ...]
    """What the base image was resolved to, as JSON-able pairs; empty before a base was chosen."""


@dataclass(frozen=True, kw_only=True)
class Lock:
    """A whole servegen.lock."""

    pin: Pin
    platforms: tuple[PlatformLock, ...]
    """One for each platform, sorted by its name; at least one."""
    image: str | None = None
    """Digest of the image, or of the index over all images, built from this lock."""

    def of(self, platform: str) -> PlatformLock | None:
        """What is locked for `platform`; None when nothing is."""
        return next((each for each in self.platforms if each.environment.platform == platform), None)
