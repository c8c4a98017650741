"""Finds libraries that nobody ships and a glibc that is too old, before an image exists."""

from __future__ import annotations

import mmap
import re
import struct
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from servegen.errors import BuildError

_MACHINES = {3: "i386", 40: "arm", 62: "x86_64", 183: "aarch64"}
_SHARED = re.compile(r"\.so(\.[0-9][0-9.]*)?$|^ld-[^/]*\.so")
_GLIBC = re.compile(rb"GLIBC_(\d+)\.(\d+)")
_LIBC = "libc.so.6"
_LOAD, _DYNAMIC = 1, 2
_MAX_VERSIONS = 100_000
_NEEDED, _STRTAB, _SONAME, _VERNEED, _VERNEEDNUM = 1, 5, 14, 0x6FFFFFFE, 0x6FFFFFFF

_PACKAGES: dict[str, tuple[str, str]] = {
    # soname → package in Debian 12 (bookworm) and 13 (trixie)
    "libGL.so.1": ("libgl1", "libgl1"),
    "libSM.so.6": ("libsm6", "libsm6"),
    "libX11.so.6": ("libx11-6", "libx11-6"),
    "libXext.so.6": ("libxext6", "libxext6"),
    "libXrender.so.1": ("libxrender1", "libxrender1"),
    "libatomic.so.1": ("libatomic1", "libatomic1"),
    "libavcodec.so.59": ("libavcodec59", ""),
    "libavcodec.so.61": ("", "libavcodec61"),
    "libblas.so.3": ("libblas3", "libblas3"),
    "libcurl.so.4": ("libcurl4", "libcurl4t64"),
    "libexpat.so.1": ("libexpat1", "libexpat1"),
    "libffi.so.8": ("libffi8", "libffi8"),
    "libgdal.so.32": ("libgdal32", ""),
    "libgfortran.so.5": ("libgfortran5", "libgfortran5"),
    "libglib-2.0.so.0": ("libglib2.0-0", "libglib2.0-0t64"),
    "libgomp.so.1": ("libgomp1", "libgomp1"),
    "libgthread-2.0.so.0": ("libglib2.0-0", "libglib2.0-0t64"),
    "libhdf5_serial.so.103": ("libhdf5-103-1", ""),
    "libjpeg.so.62": ("libjpeg62-turbo", "libjpeg62-turbo"),
    "libjvm.so": ("openjdk-17-jre-headless", "openjdk-21-jre-headless"),
    "liblapack.so.3": ("liblapack3", "liblapack3"),
    "libmagic.so.1": ("libmagic1", "libmagic1t64"),
    "libnuma.so.1": ("libnuma1", "libnuma1"),
    "libodbc.so.2": ("libodbc2", "libodbc2"),
    "libopenblas.so.0": ("libopenblas0", "libopenblas0"),
    "libpq.so.5": ("libpq5", "libpq5"),
    "libsndfile.so.1": ("libsndfile1", "libsndfile1"),
    "libssl.so.3": ("libssl3", "libssl3t64"),
    "libtbb.so.12": ("libtbb12", "libtbb12"),
    "libusb-1.0.so.0": ("libusb-1.0-0", "libusb-1.0-0"),
    "libxml2.so.2": ("libxml2", "libxml2"),
    "libxslt.so.1": ("libxslt1.1", "libxslt1.1"),
    "libzmq.so.5": ("libzmq5", "libzmq5"),
    "libzstd.so.1": ("libzstd1", "libzstd1"),
}


@dataclass(frozen=True, kw_only=True)
class ElfFile:
    """A file that may be a shared object; `content` is where it lies, or its bytes."""

    path: str
    """Where it will be in the image."""
    content: Path | bytes


@dataclass(frozen=True, kw_only=True)
class ElfObject:
    """What a shared object says of itself."""

    machine: str
    soname: str = ""
    needed: tuple[str, ...] = ()
    glibc: tuple[int, int] = (0, 0)
    """The newest glibc symbol version that it asks for."""


@dataclass(frozen=True, kw_only=True)
class MissingLibrary:
    """A library that neither the wheels nor the base have."""

    soname: str
    needed_by: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class ElfReport:
    """What the wheels' shared objects need of the base."""

    objects: int
    """How many were read."""
    missing: tuple[MissingLibrary, ...]
    foreign: tuple[tuple[str, str], ...]
    """Path and machine of objects that are not for the target."""
    glibc: tuple[int, int]
    """The newest version that any object asks for."""
    glibc_path: str
    base_glibc: tuple[int, int]
    """(0, 0) when the base has no glibc, or was not given."""
    from_base: tuple[str, ...]
    """Sonames that the base provides."""

    def require(self, suite: str | None = None) -> None:
        """Raises BuildError for what keeps the image from working; `suite` is that of a Debian base."""
        for library in self.missing:
            by = library.needed_by[0]
            msg = f"{library.soname} is in no wheel and not in the base (needed by {by})"
            package = debian_package(library.soname, suite) if suite else None
            raise BuildError(
                msg, hint=f"--apt {package or 'PACKAGE'}" if suite else "--base REF with that library"
            )
        if self.glibc > self.base_glibc > (0, 0):
            asked, have = (".".join(map(str, version)) for version in (self.glibc, self.base_glibc))
            msg = f"{self.glibc_path} needs glibc {asked}, the base has {have}"
            raise BuildError(msg, hint=f"a newer base, or --target manylinux_{have.replace('.', '_')}")


def debian_package(soname: str, suite: str) -> str | None:
    """The package of a suite (`bookworm`, `trixie`) that has the library; None when none is known."""
    names = _PACKAGES.get(soname)
    return (names[0 if suite == "bookworm" else 1] or None) if names else None


def check_closure(wheels: Iterable[ElfFile], base: Iterable[ElfFile], machine: str) -> ElfReport:
    """What the wheels' objects need, and what of it is neither in a wheel nor in the base.

    `machine` is in ELF's words (`Platform.machine`). Loose on purpose: a library of any wheel counts for all.
    Libraries that are loaded by name at run time are not seen.
    """
    base_names, base_glibc = _base(base)
    found = [
        (file.path, read) for file in wheels if is_shared(file.path) and (read := read_elf(file.content))
    ]
    own = {name for path, read in found for name in (path.rpartition("/")[2], read.soname)}
    missing: dict[str, list[str]] = {}
    from_base: set[str] = set()
    foreign: list[tuple[str, str]] = []
    newest: tuple[tuple[int, int], str] = ((0, 0), "")
    for path, read in sorted(found, key=lambda pair: pair[0]):
        if read.machine != machine:
            foreign.append((path, read.machine))
            continue
        newest = max(newest, (read.glibc, path), key=lambda each: each[0])
        for name in read.needed:
            if name in own:
                continue
            if name in base_names:
                from_base.add(name)
            else:
                missing.setdefault(name, []).append(path)
    return ElfReport(
        objects=len(found),
        missing=tuple(
            MissingLibrary(soname=name, needed_by=tuple(by)) for name, by in sorted(missing.items())
        ),
        foreign=tuple(foreign),
        glibc=newest[0],
        glibc_path=newest[1],
        base_glibc=base_glibc,
        from_base=tuple(sorted(from_base)),
    )


def is_shared(path: str) -> bool:
    """Whether a file is named like a shared object."""
    return _SHARED.search(path.rpartition("/")[2]) is not None


def _base(files: Iterable[ElfFile]) -> tuple[set[str], tuple[int, int]]:
    """Names of the base's libraries, and its glibc version."""
    names: set[str] = set()
    glibc = (0, 0)
    for file in files:
        name = file.path.rpartition("/")[2]
        if is_shared(name):
            names.add(name)
        if name == _LIBC:
            with _bytes(file.content) as data:
                glibc = max((_version(match) for match in _GLIBC.finditer(data)), default=glibc)
    return names, glibc


def _version(match: re.Match[bytes]) -> tuple[int, int]:
    return int(match[1]), int(match[2])


def read_elf(content: Path | bytes) -> ElfObject | None:
    """What the object says of itself, None when it is no ELF file or a damaged one."""
    with _bytes(content) as data:
        if len(data) < 64 or data[:4] != b"\x7fELF":
            return None
        if data[4] != 2 or data[5] != 1:
            return ElfObject(machine="not 64-bit little-endian")
        try:
            return _read(data)
        except (struct.error, ValueError, IndexError, KeyError, OverflowError):
            return None


@contextmanager
def _bytes(content: Path | bytes) -> Iterator[bytes | mmap.mmap]:
    """Mapped rather than read: a few pages of a library of gigabytes are enough."""
    if isinstance(content, bytes):
        yield content
        return
    with content.open("rb") as file:
        if not content.stat().st_size:
            yield b""
            return
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            yield data


def _read(data: bytes | mmap.mmap) -> ElfObject:
    code, phoff = struct.unpack_from("<H", data, 18)[0], struct.unpack_from("<Q", data, 32)[0]
    phsize, phnum = struct.unpack_from("<HH", data, 54)
    machine = _MACHINES.get(code, f"machine {code}")
    loads: list[tuple[int, int, int]] = []
    dynamic: tuple[int, int] | None = None
    # Program headers only: sections may be stripped, these may not.
    for i in range(phnum):
        kind, _, offset, address, _, size = struct.unpack_from("<IIQQQQ", data, phoff + i * phsize)
        if kind == _LOAD:
            loads.append((address, offset, size))
        elif kind == _DYNAMIC:
            dynamic = (offset, size)
    if dynamic is None:
        return ElfObject(machine=machine)

    def at(address: int) -> int:
        for start, offset, size in loads:
            if start <= address < start + size:
                return address - start + offset
        raise ValueError(address)

    tags: dict[int, list[int]] = {}
    for position in range(dynamic[0], dynamic[0] + dynamic[1], 16):
        tag, value = struct.unpack_from("<qQ", data, position)
        if not tag:
            break
        tags.setdefault(tag, []).append(value)
    strings = at(tags[_STRTAB][0])

    def text(offset: int) -> str:
        end = data.find(b"\0", strings + offset)
        if end < 0:
            raise ValueError(offset)
        return data[strings + offset : end].decode()

    versions: list[bytes] = []
    if _VERNEED in tags:
        versions = _versions(data, at(tags[_VERNEED][0]), tags[_VERNEEDNUM][0], text)
    return ElfObject(
        machine=machine,
        soname=text(tags[_SONAME][0]) if _SONAME in tags else "",
        needed=tuple(text(value) for value in tags.get(_NEEDED, [])),
        glibc=max((_version(match) for each in versions if (match := _GLIBC.match(each))), default=(0, 0)),
    )


def _versions(data: bytes | mmap.mmap, position: int, count: int, text: Callable[[int], str]) -> list[bytes]:
    """The symbol versions that the object asks for, such as GLIBC_2.28."""
    out: list[bytes] = []
    for _ in range(count):
        _, entries, _, first, following = struct.unpack_from("<HHIII", data, position)
        entry = position + first
        for _ in range(entries):
            _, _, _, name, more = struct.unpack_from("<IHHII", data, entry)
            out.append(text(name).encode())
            if len(out) > _MAX_VERSIONS:
                raise ValueError(count)
            if not more:
                break
            entry += more
        # The last one names no next: a damaged count must not make us read it again and again.
        if not following:
            break
        position += following
    return out
