"""Shared objects with nothing but what a loader reads first."""

from __future__ import annotations

import struct

X86_64, AARCH64 = 62, 183


def elf(
    *needed: str,
    soname: str = "",
    versions: tuple[str, ...] = (),
    runpath: str = "",
    machine: int = X86_64,
    bits: int = 2,
    dynamic: bool = True,
) -> bytes:
    """A shared object with nothing but what a loader reads first."""
    strings = bytearray(b"\0")

    def text(value: str) -> int:
        strings.extend(value.encode() + b"\0")
        return strings.index(value.encode() + b"\0")

    tags = [(1, text(name)) for name in needed] + ([(14, text(soname))] if soname else [])
    tags += [(29, text(runpath))] if runpath else []
    names = [text(version) for version in versions]
    file = text("libc.so.6")
    base = 0x1000
    needs = struct.pack("<HHIII", 1, len(names), file, 16, 0) if names else b""
    for i, name in enumerate(names):
        needs += struct.pack("<IHHII", 0, 0, 2, name, 16 if i + 1 < len(names) else 0)
    start = 64 + 2 * 56
    strings_at = start + 16 * (len(tags) + 4)
    needs_at = strings_at + len(strings)
    tags += (
        [(5, base + strings_at)]
        + ([(0x6FFFFFFE, base + needs_at), (0x6FFFFFFF, 1)] if names else [])
        + [(0, 0)]
    )
    table = b"".join(struct.pack("<qQ", *tag) for tag in tags).ljust(strings_at - start, b"\0")
    size = needs_at + len(needs)
    headers = struct.pack("<IIQQQQQQ", 1, 5, 0, base, base, size, size, 4096)
    headers += struct.pack(
        "<IIQQQQQQ", 2 if dynamic else 4, 6, start, base + start, 0, len(table), len(table), 8
    )
    ident = b"\x7fELF" + bytes([bits, 1, 1]) + bytes(9)
    return (
        ident
        + struct.pack("<HHIQQQIHHHHHH", 3, machine, 1, 0, 64, 0, 0, 64, 56, 2, 0, 0, 0)
        + headers
        + table
        + bytes(strings)
        + needs
    )
