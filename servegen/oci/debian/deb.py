"""Reads .deb archives without dpkg."""

from __future__ import annotations

import gzip
import lzma
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

import zstandard

from servegen.errors import BaseImageError
from servegen.oci.untar import Member, TarReader

_HEAD = 60


@dataclass(frozen=True, kw_only=True)
class Deb:
    """What is in a package: its control files by name, and its members with their content."""

    control: dict[str, bytes]
    members: tuple[tuple[Member, bytes], ...]


def read_deb(data: bytes, name: str) -> Deb:
    """The package in `data`; `name` is for the message when it is none."""
    control: dict[str, bytes] = {}
    members: list[tuple[Member, bytes]] = []
    for member, content in _ar(data, name):
        if member.startswith("control.tar"):
            reader = TarReader([_unpacked(member, content)])
            control = {
                each.path.removeprefix("./"): reader.read()
                for each in reader.members()
                if each.kind == "file"
            }
        elif member.startswith("data.tar"):
            reader = TarReader([_unpacked(member, content)])
            members = [(each, reader.read()) for each in reader.members()]
    if "control" not in control:
        raise _damaged(name)
    return Deb(control=control, members=tuple(members))


def _ar(data: bytes, name: str) -> Iterator[tuple[str, bytes]]:
    if data[:8] != b"!<arch>\n":
        raise _damaged(name)
    at = 8
    while at + _HEAD <= len(data):
        size = data[at + 48 : at + 58].strip()
        if not size.isdigit():
            raise _damaged(name)
        start = at + _HEAD
        yield (
            data[at : at + 16].decode("ascii", "replace").strip().rstrip("/"),
            data[start : start + int(size)],
        )
        # Members begin at even offsets.
        at = start + int(size) + int(size) % 2


def _unpacked(member: str, data: bytes) -> bytes:
    try:
        match PurePosixPath(member).suffix:
            case ".xz":
                return lzma.decompress(data)
            case ".gz":
                return gzip.decompress(data)
            case ".zst":
                return zstandard.ZstdDecompressor().decompressobj().decompress(data)
            case ".tar":
                return data
    except (lzma.LZMAError, OSError, EOFError, zstandard.ZstdError) as exc:
        raise _damaged(member) from exc
    msg = f"{member} is compressed in a way that is not known"
    raise BaseImageError(msg, hint="xz, gz and zst are supported")


def _damaged(name: str) -> BaseImageError:
    return BaseImageError(f"{name} is no Debian package", hint="try another --debian-mirror")
