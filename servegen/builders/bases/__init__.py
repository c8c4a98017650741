"""Bases: what `--base` names → layers in the store, and the Python in them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from servegen.oci.compress import Packing
from servegen.oci.http import Network
from servegen.oci.known import KnownLayers
from servegen.oci.registry import Registry
from servegen.progress import Progress
from servegen.values.image import Base, Platform


@dataclass(frozen=True, kw_only=True)
class BaseOptions:
    """What a base is chosen and made with."""

    platform: Platform
    python: str
    """Major and minor version that the model needs."""
    store: Path
    cache: Path
    debian_mirrors: tuple[str, ...]
    """Mirrors to use instead of this machine's apt sources."""
    registry: Registry
    network: Network
    known: KnownLayers
    """Layers that need not be made again."""
    compression: Packing
    base_python: str | None = None
    """Path of Python in a registry base, where it is not on the base's PATH."""
    apt: tuple[str, ...] = ()
    """Debian packages that the built-in base is to have beside its own."""
    found: tuple[str, ...] = ()
    """Debian packages that the wheels turned out to need."""
    debian_keyring: Path | None = None
    """Keys that the mirrors' releases are signed with, instead of Debian's own."""


def prepare(
    spec: str, locked: Mapping[str, object], options: BaseOptions, progress: Progress
) -> tuple[Base, dict[str, object]]:
    """The base that `spec` names, and what servegen.lock keeps of it; `locked` is what it kept last time."""
    if spec == "debian":
        from servegen.builders.bases import debian

        return debian.prepare(locked, options, progress)
    from servegen.builders.bases import registry

    return registry.prepare(spec, locked, options, progress)
