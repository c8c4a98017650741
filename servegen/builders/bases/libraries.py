"""What an unpacked base offers to shared objects: libraries by name, and how new its C runtime is."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from servegen.builders.bytecode import inside
from servegen.oci.closure import FAMILIES, BaseLibraries
from servegen.oci.elf import Version, is_shared, offered_versions
from servegen.values.image import Platform

_TOPS = ("lib", "lib64", "usr", "opt")


def base_libraries(rootfs: Path, env: Mapping[str, str], platform: Platform) -> BaseLibraries:
    """The libraries of the base below `rootfs`, whose containers get the variables `env`."""
    searched = _searched(rootfs, env, platform)
    names, elsewhere = set(), set()
    for folder, name in _shared_files(rootfs):
        if folder in searched:
            names.add(name)
        else:
            elsewhere.add(f"{folder}/{name}")
    return BaseLibraries(
        names=frozenset(names), elsewhere=frozenset(elsewhere), versions=_versions(rootfs, searched)
    )


def glibc_of(rootfs: Path, env: Mapping[str, str], platform: Platform) -> Version:
    """The version of the base's glibc; () when it has none."""
    return _versions(rootfs, _searched(rootfs, env, platform)).get("GLIBC", ())


def _versions(rootfs: Path, folders: Mapping[str, None]) -> dict[str, Version]:
    versions: dict[str, Version] = {}
    for library in dict.fromkeys(FAMILIES.values()):
        places = (inside(rootfs, f"{folder}/{library}") for folder in folders)
        found = next((place for place in places if place.is_file()), None)
        if found:
            offered = offered_versions(found)
            versions |= {family: offered[family] for family in offered if FAMILIES[family] == library}
    return versions


def _searched(rootfs: Path, env: Mapping[str, str], platform: Platform) -> dict[str, None]:
    """Folders that the base's loader looks into by itself (ld.so(8)), in its order."""
    folders = env.get("LD_LIBRARY_PATH", "").split(":")
    if (rootfs / "etc/ld.so.cache").is_file():
        # What ldconfig was told of is found through its cache alone.
        for file in sorted((rootfs / "etc/ld.so.conf.d").glob("*.conf")):
            lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
            folders += [line.strip() for line in lines if line.startswith("/")]
        folders.append("/usr/local/lib")
    multiarch = f"{platform.machine}-linux-gnu"
    folders += [f"/{top}/{multiarch}" for top in ("usr/lib", "lib")]
    folders += ["/usr/lib", "/lib", "/usr/lib64", "/lib64"]
    return dict.fromkeys(folder.rstrip("/") for folder in folders if folder)


def _shared_files(rootfs: Path) -> Iterator[tuple[str, str]]:
    """Folder and name of every library; links to folders are not followed, dead links are no libraries."""
    for top in _TOPS:
        if (rootfs / top).is_symlink():
            continue
        for folder, _, files in os.walk(rootfs / top):
            path = "/" + Path(folder).relative_to(rootfs).as_posix()
            for name in files:
                if is_shared(name) and inside(rootfs, f"{path}/{name}").is_file():
                    yield path, name
