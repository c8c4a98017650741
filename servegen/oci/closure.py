"""Which libraries a set of shared objects needs that neither they nor the base have. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from servegen.oci.elf import ElfObject, Version

FAMILIES = {"GLIBC": "libc.so.6", "GLIBCXX": "libstdc++.so.6", "CXXABI": "libstdc++.so.6"}
"""Families of symbol versions, and the library that has them."""
_DRIVER = re.compile(r"lib(cuda|nvcuvid|nvidia-[a-z0-9-]+|nvoptix|cudadebugger)\.so(\.\d+)?")
"""Libraries of the graphics driver: they belong to the node and are put into the container when it starts."""
_OPTIONAL = re.compile(r"/numba/np/ufunc/tbbpool\.|/nvidia/(cufile/lib/libcufile_rdma|nvshmem/lib/nvshmem_)")
"""Plugins whose owners do without them where their libraries are absent."""


@dataclass(frozen=True, kw_only=True)
class WheelObject:
    """A shared object of a wheel."""

    path: str
    """In the image."""
    package: str
    elf: ElfObject


@dataclass(frozen=True, kw_only=True)
class BaseLibraries:
    """What a base offers to shared objects."""

    names: frozenset[str]
    """File names in the folders that its loader looks into."""
    elsewhere: frozenset[str] = frozenset()
    """Paths of libraries in other folders; they count for an object that names the folder."""
    versions: Mapping[str, Version]
    """Newest symbol version by family."""


@dataclass(frozen=True, kw_only=True)
class MissingLibrary:
    """A library that neither the wheels nor the base have."""

    soname: str
    needed_by: str
    """Path of the first object that needs it."""


@dataclass(frozen=True, kw_only=True)
class TooNew:
    """An object that asks for more than the base's runtime library offers."""

    path: str
    family: str
    asked: Version


@dataclass(frozen=True, kw_only=True)
class ClosureReport:
    """What keeps the wheels' objects from being loaded on the base; all empty when nothing does."""

    missing: tuple[MissingLibrary, ...]
    foreign: tuple[WheelObject, ...]
    """One object of each wheel that has objects for other machines only."""
    too_new: tuple[TooNew, ...]
    """At most one a family: the object that asks for the newest."""


def check_closure(
    objects: Iterable[WheelObject], base: BaseLibraries, machine: str, *, without: Collection[str] = ()
) -> ClosureReport:
    """What the objects need beyond each other and the base; `without` are sonames that may be absent.

    Loose on purpose: a library of any wheel counts for all, as packages load each other's by hand. Libraries
    that are only loaded by name at run time are not seen.
    """
    ordered = sorted(objects, key=lambda each: each.path)
    ours = [each for each in ordered if each.elf.machine == machine]
    own = {name for each in ours for name in (each.path.rpartition("/")[2], each.elf.soname)}
    missing: dict[str, str] = {}
    newest: dict[str, TooNew] = {}
    for each in ours:
        for name in each.elf.needed:
            if name not in own and not _offered(name, each, base) and name not in without:
                missing.setdefault(name, each.path)
        for family, library in FAMILIES.items():
            asked, offered = each.elf.version(family), base.versions.get(family, ())
            # A wheel may bring the runtime library itself.
            if library in own or not asked > offered > ():
                continue
            if family not in newest or asked > newest[family].asked:
                newest[family] = TooNew(path=each.path, family=family, asked=asked)
    at_home = {each.package for each in ours}
    foreign: dict[str, WheelObject] = {}
    for each in ordered:
        # Some wheels bring helpers for several machines.
        if each.package not in at_home:
            foreign.setdefault(each.package, each)
    return ClosureReport(
        missing=tuple(MissingLibrary(soname=name, needed_by=missing[name]) for name in sorted(missing)),
        foreign=tuple(foreign.values()),
        too_new=tuple(newest[family] for family in sorted(newest)),
    )


def _offered(name: str, needing: WheelObject, base: BaseLibraries) -> bool:
    if name in base.names or _DRIVER.fullmatch(name) or _OPTIONAL.search(f"/{needing.path}"):
        return True
    if name.startswith("/"):
        return name in base.elsewhere
    folders = (folder.rstrip("/") for folder in needing.elf.runpath if folder.startswith("/"))
    return any(f"{folder}/{name}" in base.elsewhere for folder in folders)
