"""Compressors whose output depends on input, library version and level only, and the readers for them."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import BinaryIO, Literal, Protocol, cast

import zstandard

from servegen.errors import BuildError

Packing = Literal["zstd", "gzip"]
Compression = Literal["zstd", "gzip", "none"]

ZSTD_LEVEL = 6
"""A tenth smaller than level 3 for twice its time, spent once per layer; 9 gains half of that again."""
ZLIB_LEVEL = 6
_PIECE = 1 << 20
# No name, no time, operating system "unknown": the header never tells when or where it was made.
_GZIP_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"


class Compressor(Protocol):
    """Takes pieces, gives compressed bytes whenever it has some."""

    def compress(self, data: bytes, /) -> bytes:
        """What is ready after `data`."""

    def flush(self) -> bytes:
        """The rest."""


class _Gzip:
    """One gzip member with a constant header around zlib's raw output."""

    def __init__(self) -> None:
        self._deflate = zlib.compressobj(ZLIB_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
        self._head = _GZIP_HEADER
        self._crc = 0
        self._size = 0

    def compress(self, data: bytes, /) -> bytes:
        self._crc = zlib.crc32(data, self._crc)
        self._size += len(data)
        head, self._head = self._head, b""
        return head + self._deflate.compress(data)

    def flush(self) -> bytes:
        head, self._head = self._head, b""
        return head + self._deflate.flush() + struct.pack("<II", self._crc, self._size & 0xFFFFFFFF)


def compressor(compression: Packing) -> Compressor:
    """A new compressor; zstd writes one frame on one thread, as more threads give other bytes."""
    if compression == "zstd":
        return zstandard.ZstdCompressor(
            level=ZSTD_LEVEL, threads=0, write_checksum=False, write_content_size=False
        ).compressobj()
    return _Gzip()


def compressor_id(compression: Compression) -> str:
    """What the compressed bytes depend on besides the input, for layer keys."""
    if compression == "zstd":
        return f"zstd-{'.'.join(map(str, zstandard.ZSTD_VERSION))}-l{ZSTD_LEVEL}"
    return f"zlib-{zlib.ZLIB_RUNTIME_VERSION}-l{ZLIB_LEVEL}" if compression == "gzip" else "none"


def compression_of(media_type: str) -> Compression:
    """How a layer of this media type is compressed; raises BuildError for one we cannot read."""
    for ending, compression in (
        ("tar+zstd", "zstd"),
        ("tar+gzip", "gzip"),
        ("tar.gzip", "gzip"),
        ("tar", "none"),
    ):
        if media_type.endswith(ending):
            return cast("Compression", compression)
    msg = f"layers of type {media_type} cannot be read"
    raise BuildError(msg, hint="use an image with plain, gzip or zstd layers")


def decompressed(file: BinaryIO, compression: Compression) -> Iterator[bytes]:
    """The content of `file` in pieces; raises BuildError when it is damaged or cut short."""
    try:
        if compression == "none":
            while piece := file.read(_PIECE):
                yield piece
        elif compression == "zstd":
            reader = zstandard.ZstdDecompressor(max_window_size=1 << 27).stream_reader(
                file, read_across_frames=True
            )
            while piece := reader.read(_PIECE):
                yield piece
        else:
            yield from _gunzip(file)
    except (zlib.error, zstandard.ZstdError, EOFError) as exc:
        msg = f"a {compression} layer is damaged: {exc}"
        raise BuildError(msg, hint="remove it from the cache and pull or build it again") from exc


def _gunzip(file: BinaryIO) -> Iterator[bytes]:
    """All members of a gzip file; larger pieces than the gzip module's."""
    inflate = zlib.decompressobj(31)
    begun = False
    while data := file.read(_PIECE):
        while data:
            if inflate.eof:
                inflate, begun = zlib.decompressobj(31), False
            begun = True
            # A bound on each piece keeps a bomb from filling the memory before anyone counts.
            yield inflate.decompress(data, _PIECE << 2)
            while inflate.unconsumed_tail:
                yield inflate.decompress(inflate.unconsumed_tail, _PIECE << 2)
            data = inflate.unused_data
    if begun and not inflate.eof:
        msg = "it ends too early"
        raise EOFError(msg)
