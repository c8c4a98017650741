"""Reads tar streams of any origin: ustar, PAX and GNU long names, one pass, no seeking."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, NoReturn

from servegen.errors import BuildError
from servegen.oci.tar import BLOCK

MemberKind = Literal["file", "dir", "symlink", "hardlink", "other"]

_KINDS: dict[bytes, MemberKind] = {
    b"0": "file",
    b"\0": "file",
    b"7": "file",
    b"1": "hardlink",
    b"2": "symlink",
    b"5": "dir",
}
_MAX_RECORD = 1 << 20
_PIECE = 1 << 20
_ZERO = bytes(BLOCK)


@dataclass(frozen=True, kw_only=True)
class Member:
    """One member as its header tells; the path is not checked."""

    path: str
    kind: MemberKind
    """`other` is a device, a pipe or something of one tool only."""
    mode: int
    uid: int
    gid: int
    size: int
    mtime: int
    link: str


class TarReader:
    """Members of a tar that comes in pieces; the content of one is read before the next is asked for."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = iter(pieces)
        self._held = b""
        self._at = 0
        self._left = 0
        self._padding = 0

    def members(self) -> Iterator[Member]:
        """Every member in order; raises BuildError for a stream that is no tar or ends too early."""
        records: dict[str, str] = {}
        while True:
            for _ in self.content():
                pass
            self._exactly(self._padding)
            self._padding = 0
            block = self._block()
            if not block:
                return
            flag = block[156:157]
            size = _number(block[124:136])
            if flag in (b"x", b"L", b"K"):
                if not 0 <= size <= _MAX_RECORD:
                    _refuse("a name is too long")
                data = self._exactly(size)
                self._exactly(-size % BLOCK)
                if flag == b"x":
                    records.update(_pax(data))
                else:
                    records["path" if flag == b"L" else "linkpath"] = _text(data)
                continue
            if flag == b"g":
                # Defaults for the whole archive, such as a Git commit: nothing that changes a file.
                self._start(size)
                continue
            member = _member(block, flag, records, size)
            records = {}
            self._start(member.size if member.kind in ("file", "other") else 0)
            yield member

    def content(self) -> Iterator[bytes]:
        """What is left of the current member's content, in pieces."""
        while self._left:
            if self._at == len(self._held):
                self._refill()
            piece = self._held[self._at : self._at + min(self._left, _PIECE)]
            self._at += len(piece)
            self._left -= len(piece)
            yield piece

    def read(self) -> bytes:
        """The whole content of the current member."""
        return b"".join(self.content())

    def drain(self) -> None:
        """Reads the stream to its end, so that whoever hashes it sees all of it."""
        for _ in self._pieces:
            pass

    def _start(self, size: int) -> None:
        self._left = size
        self._padding = -size % BLOCK

    def _refill(self) -> None:
        self._held = next(self._pieces, b"")
        self._at = 0
        if not self._held:
            _refuse("it ends in the middle of a file")

    def _exactly(self, size: int) -> bytes:
        end = self._at + size
        if end <= len(self._held):
            data = self._held[self._at : end]
            self._at = end
            return data
        parts = [self._held[self._at :]]
        missing = size - len(parts[0])
        self._held, self._at = b"", 0
        while missing:
            self._refill()
            parts.append(self._held[:missing])
            self._at = len(parts[-1])
            missing -= self._at
        return b"".join(parts)

    def _block(self) -> bytes:
        """The next header, empty at the end of the archive."""
        if self._at == len(self._held):
            self._held, self._at = next(self._pieces, b""), 0
            if not self._held:
                return b""
        block = self._exactly(BLOCK)
        if block == _ZERO:
            return b""
        if sum(block) - sum(block[148:156]) + 8 * 32 != _number(block[148:156]):
            _refuse("a header has a wrong checksum")
        return block


def _member(block: bytes, flag: bytes, records: dict[str, str], size: int) -> Member:
    path = records.get("path")
    if path is None:
        path = _text(block[:100])
        # GNU's own format keeps other things where ustar has the prefix.
        if block[257:263] == b"ustar\0" and block[345]:
            path = f"{_text(block[345:500])}/{path}"
    kind = _KINDS.get(flag, "other")
    if any(name.startswith("GNU.sparse") for name in records):
        kind = "other"
    if flag == b"\0" and path.endswith("/"):
        kind = "dir"
    try:
        size = int(records.get("size", size))
        uid = int(records.get("uid", _number(block[108:116])))
        gid = int(records.get("gid", _number(block[116:124])))
        mtime = int(float(records.get("mtime", _number(block[136:148]))))
    except (ValueError, OverflowError) as exc:
        _refuse(f"a PAX record is no number ({exc})")
    if size < 0:
        _refuse("a size is negative")
    return Member(
        path=path,
        kind=kind,
        mode=_number(block[100:108]) & 0o7777,
        uid=uid,
        gid=gid,
        size=size,
        mtime=max(mtime, 0),
        link=records["linkpath"] if "linkpath" in records else _text(block[157:257]),
    )


def _text(data: bytes) -> str:
    return data.partition(b"\0")[0].decode("utf-8", "surrogateescape")


def _number(field: bytes) -> int:
    if field[0] & 0x80:
        # GNU's form for what octal cannot hold: big-endian after 0x80, or after 0xff when negative.
        value = int.from_bytes(field[1:], "big")
        return value - (1 << 8 * (len(field) - 1)) if field[0] == 0xFF else value
    digits = field.strip(b" \0")
    if not re.fullmatch(rb"[0-7]*", digits):
        _refuse("a header field is no number")
    return int(digits or b"0", 8)


def _pax(data: bytes) -> dict[str, str]:
    records: dict[str, str] = {}
    while data and data[0]:
        length_text, _, _ = data.partition(b" ")
        length = int(length_text) if length_text.isdigit() else 0
        name, equals, value = data[len(length_text) + 1 : length].partition(b"=")
        if length < 5 or length > len(data) or not equals or not value.endswith(b"\n"):
            _refuse("a PAX record is malformed")
        records[_text(name)] = value[:-1].decode("utf-8", "surrogateescape")
        data = data[length:]
    return records


def _refuse(why: str) -> NoReturn:
    msg = f"a layer is damaged: {why}"
    raise BuildError(msg, hint="remove it from the cache, then pull or build it again")
