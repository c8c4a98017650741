"""A base image from Debian packages, without root, dpkg, apt or a container registry."""

from servegen.oci.debian.base import BaseLock, BasePackage, base_entries, resolve_base, suite_for
from servegen.oci.debian.sources import Source, apt_sources, mirror_sources

__all__ = [
    "BaseLock",
    "BasePackage",
    "Source",
    "apt_sources",
    "base_entries",
    "mirror_sources",
    "resolve_base",
    "suite_for",
]
