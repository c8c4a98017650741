"""Reads shared objects: what they are built for, what they need and offer. Pure Python, nothing is run."""

from __future__ import annotations

import mmap
import re
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_MACHINES = {3: "i386", 40: "arm", 62: "x86_64", 183: "aarch64"}
_SHARED = re.compile(r"\.so(\.[0-9][0-9A-Za-z.]*)?$|^ld-[^/]*\.so")
_VERSION = re.compile(rb"(GLIBCXX|GLIBC|CXXABI)_(\d+(?:\.\d+)+)")
_LOAD, _DYNAMIC = 1, 2
_MAX_VERSIONS = 100_000
_NEEDED, _STRTAB, _SONAME, _RPATH, _RUNPATH = 1, 5, 14, 15, 29
_VERNEED, _VERNEEDNUM = 0x6FFFFFFE, 0x6FFFFFFF

Version = tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class ElfObject:
    """What a shared object says of itself."""

    machine: str
    """In ELF's words (`Platform.machine`)."""
    soname: str = ""
    needed: tuple[str, ...] = ()
    runpath: tuple[str, ...] = ()
    """Folders that it names for its needs, as written."""
    versions: tuple[tuple[str, Version], ...] = ()
    """Newest symbol version it asks for, by family: GLIBC, GLIBCXX, CXXABI."""

    def version(self, family: str) -> Version:
        """The newest version of that family it asks for; () when it asks for none."""
        return dict(self.versions).get(family, ())


def is_shared(path: str) -> bool:
    """Whether a file is named like a shared object."""
    return _SHARED.search(path.rpartition("/")[2]) is not None


def offered_versions(content: Path | bytes) -> Mapping[str, Version]:
    """The newest version by family that a C or C++ runtime library mentions, which is what it offers."""
    with elf_bytes(content) as data:
        return _newest(match for match in _VERSION.finditer(data))


def _newest(matches: Iterable[re.Match[bytes]]) -> dict[str, Version]:
    newest: dict[str, Version] = {}
    for match in matches:
        family, version = match[1].decode(), tuple(int(part) for part in match[2].split(b"."))
        newest[family] = max(newest.get(family, ()), version)
    return newest


def read_elf(content: Path | bytes) -> ElfObject | None:
    """What the object says of itself, None when it is no ELF file or a damaged one."""
    with elf_bytes(content) as data:
        if len(data) < 64 or data[:4] != b"\x7fELF":
            return None
        if data[4] != 2 or data[5] != 1:
            return ElfObject(machine="not 64-bit little-endian")
        try:
            return _read(data)
        except (struct.error, ValueError, IndexError, KeyError, OverflowError):
            return None


@contextmanager
def elf_bytes(content: Path | bytes) -> Iterator[bytes | mmap.mmap]:
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
        runpath=tuple(
            folder
            for value in tags.get(_RUNPATH) or tags.get(_RPATH, [])
            for folder in text(value).split(":")
            if folder
        ),
        versions=tuple(sorted(_newest(m for each in versions if (m := _VERSION.fullmatch(each))).items())),
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
