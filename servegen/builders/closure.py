"""The ELF check: before an image is published, its wheels' libraries have all they need in wheels and base.

What a layer's objects say is kept beside the store by the layer's key, so only layers that are made are read.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

from servegen.builders.bases.libraries import base_libraries
from servegen.builders.bases.unpacked import unpacked_base
from servegen.errors import BaseImageError, BuildError
from servegen.oci.closure import BaseLibraries, ClosureReport, MissingLibrary, WheelObject, check_closure
from servegen.oci.compress import compression_of, decompressed
from servegen.oci.debian.libraries import debian_package
from servegen.oci.descriptor import canonical
from servegen.oci.elf import ElfObject, is_shared, read_elf
from servegen.oci.known import KnownLayers
from servegen.oci.store import Store
from servegen.oci.tar import Entry, LayerBlob
from servegen.oci.untar import TarReader
from servegen.planning.image import SITE
from servegen.progress import Progress
from servegen.values.image import Base, Platform

FORMAT = 1
"""Part of every record; raised when records say other things than before."""


@dataclass(frozen=True, kw_only=True)
class ClosureOptions:
    """How the check is done."""

    store: Path
    scratch: Path
    """Folder where the base is unpacked."""
    known: KnownLayers
    without: tuple[str, ...] = ()
    """Libraries that may be absent."""


def missing_packages(
    keys: Sequence[str], base: Base, platform: Platform, options: ClosureOptions, progress: Progress
) -> tuple[str, ...]:
    """Debian packages that the base has to get for the wheels in the layers `keys`; empty for none.

    Raises BuildError for a library that nobody has, an object for another machine or a base that is too old.
    Layers of which none was made here are taken as they are: they were checked where they were made.
    """
    store = Store(options.store)
    records = {key: recalled(store, key) for key in keys}
    if not any(record is not None for record in records.values()):
        return ()
    libraries = _base_libraries(store, base, platform, options, progress)
    found = [each for record in records.values() for each in record or ()]
    report = check_closure(found, libraries, platform.machine, without=options.without)
    unread = [key for key, record in records.items() if record is None]
    if report.missing and unread:
        # A layer that was made elsewhere may have what the new ones need.
        options.known.fetch(unread)
        blobs = {key: store.layer(key) for key in unread}
        found += [each for key, blob in blobs.items() if blob for each in read_layer(store, key, blob)]
        report = check_closure(found, libraries, platform.machine, without=options.without)
    return _packages(report, base, libraries, platform)


def objects_of(packages: Mapping[str, Iterable[Entry]]) -> list[WheelObject]:
    """The shared objects among the entries of each wheel."""
    return [
        WheelObject(path=entry.path, package=name, elf=elf)
        for name, entries in packages.items()
        for entry in entries
        if entry.source and is_shared(entry.path) and (elf := read_elf(entry.source))
    ]


def remember(store: Store, key: str, objects: Sequence[WheelObject]) -> None:
    """Keep what the objects of the layer `key` say."""
    _write(store, key, {"objects": [asdict(each) for each in objects]})


def recalled(store: Store, key: str) -> list[WheelObject] | None:
    """What was kept for the layer `key`; None when nothing was."""
    try:
        rows = _load(store, key)["objects"]
        return [
            WheelObject(path=row["path"], package=row["package"], elf=_object(row["elf"])) for row in rows
        ]
    except (OSError, ValueError, KeyError, TypeError):
        # A record that cannot be read is one that does not exist.
        return None


def _packages(
    report: ClosureReport, base: Base, libraries: BaseLibraries, platform: Platform
) -> tuple[str, ...]:
    for each in report.foreign:
        msg = f"{each.path} of {each.package} is built for {each.elf.machine}, the image is for {platform}"
        raise BuildError(msg, hint="another version of the package, or a wheel of it in --wheelhouse")
    for new in report.too_new:
        asked, have = (".".join(map(str, version)) for version in (new.asked, libraries.versions[new.family]))
        what = {"GLIBC": "glibc"}.get(new.family, new.family)
        msg = f"{new.path} needs {what} {asked}, the base has {have}"
        raise BaseImageError(msg, hint="--base REF of a newer system, or another version of the package")
    suite = base.name.removeprefix("debian:") if base.name.startswith("debian:") else None
    found = {each: debian_package(each.soname, suite) if suite else None for each in report.missing}
    for library, package in found.items():
        # A package that the base has already and that does not help would be added again and again.
        if package is None or package in base.extra:
            raise _absent(library, built_in=suite is not None)
    return tuple(sorted({package for package in found.values() if package}))


def _absent(library: MissingLibrary, *, built_in: bool) -> BuildError:
    name = library.soname
    way = "--apt PACKAGE" if built_in else "--base REF with it, or --base debian"
    return BuildError(
        f"{name} is in no wheel and not in the base (needed by {library.needed_by})",
        hint=f"{way}; --allow-missing-library {name} where the model does without",
    )


def read_layer(store: Store, key: str, blob: LayerBlob) -> list[WheelObject]:
    """The objects of a layer that was made elsewhere, read from its blob and kept."""
    objects = _scanned(store, blob)
    remember(store, key, objects)
    return objects


def _scanned(store: Store, blob: LayerBlob) -> list[WheelObject]:
    objects = []
    with store.blob(blob.digest).open("rb") as file, store.scratch() as scratch:
        reader = TarReader(decompressed(file, compression_of(blob.media_type)))
        for member in reader.members():
            if member.kind != "file" or not is_shared(member.path):
                continue
            # In a file, as libraries of gigabytes exist.
            with scratch.open("wb") as out:
                out.writelines(reader.content())
            package = member.path.removeprefix(f"{SITE}/").partition("/")[0].removesuffix(".libs")
            if elf := read_elf(scratch):
                objects.append(WheelObject(path=member.path, package=package, elf=elf))
    return objects


def _base_libraries(
    store: Store, base: Base, platform: Platform, options: ClosureOptions, progress: Progress
) -> BaseLibraries:
    key = f"base-{base.digest.removeprefix('sha256:')}"
    try:
        record = _load(store, key)
        return BaseLibraries(
            names=frozenset(record["names"]),
            elsewhere=frozenset(record["elsewhere"]),
            versions={family: tuple(version) for family, version in record["versions"].items()},
        )
    except (OSError, ValueError, KeyError, TypeError):
        progress.step("reading the libraries of the base")
    options.known.fetch(base.layers)
    rootfs = unpacked_base(base, platform, store, options.scratch)
    libraries = base_libraries(rootfs, dict(base.env), platform)
    rows = {"names": sorted(libraries.names), "elsewhere": sorted(libraries.elsewhere)}
    _write(store, key, {**rows, "versions": dict(libraries.versions)})
    return libraries


def _object(row: Mapping[str, Any]) -> ElfObject:
    return ElfObject(
        machine=row["machine"],
        soname=row["soname"],
        needed=tuple(row["needed"]),
        runpath=tuple(row["runpath"]),
        versions=tuple((family, tuple(version)) for family, version in row["versions"]),
    )


def _load(store: Store, key: str) -> Mapping[str, Any]:
    record = json.loads(_place(store, key).read_bytes())
    if record["format"] != FORMAT:
        msg = f"format {record['format']} is not {FORMAT}"
        raise ValueError(msg)
    return cast("Mapping[str, Any]", record)


def _write(store: Store, key: str, record: Mapping[str, object]) -> None:
    place = _place(store, key)
    place.parent.mkdir(mode=0o700, exist_ok=True)
    with store.scratch() as scratch:
        scratch.write_bytes(canonical({"format": FORMAT, **record}))
        scratch.replace(place)


def _place(store: Store, key: str) -> Path:
    return store.path / "elf" / f"{key}.json"
