"""Deterministic layers: the same entries give the same tar on every machine, both digests in one pass."""

from __future__ import annotations

import hashlib
import os
import posixpath
import re
import stat
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from servegen.errors import BuildError
from servegen.oci.compress import Compression, Compressor, compressor, compressor_id
from servegen.oci.descriptor import LAYER, LAYER_GZIP, LAYER_ZSTD
from servegen.oci.workers import Worker

__all__ = ["Compression", "Entry", "Kind", "LayerBlob", "arrange", "compressor_id", "walk", "write_layer"]

Kind = Literal["file", "dir", "symlink", "hardlink"]

BLOCK = 512
PIECE = 1 << 20
MAX_ID = 0o7777777
_OCTAL_SIZE = 8 << 30
MEDIA_TYPE: dict[Compression, str] = {"none": LAYER, "gzip": LAYER_GZIP, "zstd": LAYER_ZSTD}
_FLAG: dict[Kind, bytes] = {"file": b"0", "hardlink": b"1", "symlink": b"2", "dir": b"5"}
# Everything between the link name and the prefix is the same in every header: magic, no names, no device.
_MIDDLE = b"ustar\x0000" + bytes(80)
_TAIL = bytes(12)
_UNSAFE = re.compile(
    r"[\x00-\x1f\x7f\\]"  # control characters, and what another system takes for a separator
    r"|^/|/$|//|(?:^|/)\.{1,2}(?:/|$)"  # absolute, not normalised, or leaving the root
    r"|^[A-Za-z]:(?:/|$)"  # a drive
    r"|(?:^|/)\.wh\."  # in a layer such a name deletes a file of the layers below it
)


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One member of a layer; a file has either `data` or a `source` on this machine."""

    path: str
    """In the image, relative to its root, with `/`."""
    kind: Kind = "file"
    mode: int = 0o644
    """Written as 0755 or 0644 (a directory that is sticky: 1777), so that a caller's umask never shows."""
    data: bytes | None = None
    source: Path | None = None
    link: str = ""
    """Target of a symlink as it is written, or the path of the file that a hard link shares."""
    uid: int = 0
    gid: int = 0


@dataclass(frozen=True, kw_only=True)
class LayerBlob:
    """A written layer."""

    digest: str
    """Of the bytes as stored."""
    diff_id: str
    """Of the tar inside them."""
    size: int
    media_type: str


def safe_path(path: str) -> str:
    """`path` when it names a place below the root and nothing else; raises BuildError otherwise."""
    if not path or _UNSAFE.search(path):
        msg = f"{path!r} cannot be a path in an image"
        raise BuildError(
            msg, hint="rename the file; names are relative, without '..', '\\' and control characters"
        )
    try:
        path.encode()
    except UnicodeEncodeError as exc:
        msg = f"{path!r} is not UTF-8"
        raise BuildError(msg, hint="rename the file") from exc
    return path


def arrange(entries: Iterable[Entry]) -> list[Entry]:
    """The entries in the order they are written, with every missing parent directory once."""
    known: dict[str, Entry] = {}
    for entry in entries:
        _check(entry)
        if entry.path in known:
            msg = f"{entry.path} is written twice in one layer"
            raise BuildError(msg, hint="two sources own this path; leave one of them out")
        known[entry.path] = entry
    done: set[str] = set()
    for path in list(known):
        parent = path.rpartition("/")[0]
        while parent and parent not in done:
            done.add(parent)
            above = known.get(parent)
            if above is None:
                known[parent] = Entry(path=parent, kind="dir", mode=0o755)
            elif above.kind != "dir":
                msg = f"{path} is below {parent}, which is a {above.kind}"
                raise BuildError(msg, hint="leave one of the two out of the layer")
            parent = parent.rpartition("/")[0]
    _order_hard_links(known)
    return sorted(known.values(), key=lambda entry: entry.path.encode())


def _check(entry: Entry) -> None:
    safe_path(entry.path)
    if not (0 <= entry.uid <= MAX_ID and 0 <= entry.gid <= MAX_ID):
        msg = f"{entry.path}: owner {entry.uid}:{entry.gid} does not fit a layer"
        raise BuildError(msg, hint=f"use ids from 0 to {MAX_ID}")
    if entry.kind == "file" and (entry.data is None) == (entry.source is None):
        msg = f"{entry.path}: a file has either data or a source"
        raise BuildError(msg, hint="give one of the two")
    if entry.kind == "hardlink":
        safe_path(entry.link)
    if entry.kind == "symlink":
        target = (
            entry.link if entry.link.startswith("/") else posixpath.dirname(entry.path) + "/" + entry.link
        )
        depth = 0
        for part in target.split("/"):
            depth += (part not in ("", ".", "..")) - (part == "..")
            if depth < 0 or not entry.link or "\0" in part:
                msg = f"{entry.path}: the link to {entry.link!r} leaves the image"
                raise BuildError(msg, hint="point it at a path in the image")


def _order_hard_links(known: dict[str, Entry]) -> None:
    """Makes the first name of every group of hard links the file, as a link must follow what it links to."""
    groups: dict[str, list[str]] = {}
    for path, entry in known.items():
        if entry.kind != "hardlink":
            continue
        target = entry.link
        for _ in range(len(known)):
            if target not in known or known[target].kind != "hardlink":
                break
            target = known[target].link
        if target not in known or known[target].kind != "file":
            msg = f"{path}: the hard link to {entry.link} has no file in its layer"
            raise BuildError(msg, hint="add the file to the layer, or copy it")
        groups.setdefault(target, [target]).append(path)
    for target, paths in groups.items():
        file = known[target]
        first, *others = sorted(paths, key=str.encode)
        known[first] = replace(file, path=first)
        for path in others:
            known[path] = replace(file, path=path, kind="hardlink", data=None, source=None, link=first)


def _mode(entry: Entry) -> int:
    if entry.kind == "symlink":
        return 0o777
    if entry.kind == "dir":
        return 0o1777 if entry.mode & stat.S_ISVTX else 0o755
    return 0o755 if entry.mode & 0o111 else 0o644


def _block(
    name: bytes, prefix: bytes, flag: bytes, mode: int, size: int, link: bytes, uid: int, gid: int
) -> bytes:
    start = b"%b%07o\0%07o\0%07o\0%011o\x0000000000000\0" % (name.ljust(100, b"\0"), mode, uid, gid, size)
    rest = b"%b%b%b%b%b" % (flag, link.ljust(100, b"\0"), _MIDDLE, prefix.ljust(155, b"\0"), _TAIL)
    # The checksum counts its own eight bytes as spaces.
    return b"%b%06o\0 %b" % (start, sum(start) + sum(rest) + 8 * 32, rest)


def _pax(records: dict[str, bytes]) -> bytes:
    body = b""
    for key, value in sorted(records.items()):
        text = b" %b=%b\n" % (key.encode(), value)
        length = len(text) + 1
        # The length counts its own digits.
        while len(str(length)) + len(text) != length:
            length = len(str(length)) + len(text)
        body += b"%d%b" % (length, text)
    head = _block(b"././@PaxHeader", b"", b"x", 0o644, len(body), b"", 0, 0)
    return head + body + bytes(-len(body) % BLOCK)


def header(entry: Entry, size: int) -> bytes:
    """The blocks before the content: ustar, and a PAX record only for what ustar cannot hold."""
    name, link, prefix = entry.path.encode(), entry.link.encode(), b""
    if entry.kind == "dir":
        name += b"/"
    records: dict[str, bytes] = {}
    if len(name) > 100:
        cut = name.find(b"/", len(name) - 101)
        if 0 < cut <= 155 and cut + 1 < len(name):
            prefix, name = name[:cut], name[cut + 1 :]
        else:
            records["path"], name = name, name[:100]
    if len(link) > 100:
        records["linkpath"], link = link, link[:100]
    if size >= _OCTAL_SIZE:
        records["size"], size = b"%d" % size, 0
    block = _block(name, prefix, _FLAG[entry.kind], _mode(entry), size, link, entry.uid, entry.gid)
    return _pax(records) + block if records else block


def _content_size(entry: Entry) -> int:
    if entry.source is not None:
        try:
            return entry.source.stat().st_size
        except OSError:
            # Whoever reads it tells what is wrong.
            return 0
    return len(entry.data or b"")


def _contents(entry: Entry) -> Iterator[bytes]:
    """Header, content and padding of one entry."""
    if entry.kind != "file":
        yield header(entry, 0)
    elif entry.data is not None:
        size = len(entry.data)
        yield header(entry, size)
        yield entry.data
        yield bytes(-size % BLOCK)
    elif entry.source is not None:
        yield from _file(entry, entry.source)


def _file(entry: Entry, source: Path) -> Iterator[bytes]:
    try:
        # Without O_NONBLOCK a pipe put in the place of a file would wait for a writer forever.
        handle = os.open(source, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as exc:
        msg = f"{source} cannot be read: {exc.strerror}"
        raise BuildError(msg, hint="check that the file exists and is readable") from exc
    try:
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode):
            msg = f"{source} is not a regular file"
            raise BuildError(msg, hint="only files, directories and links can be in an image")
        size, left = found.st_size, found.st_size
        yield header(entry, size)
        while left > PIECE:
            piece = os.read(handle, PIECE)
            left -= len(piece)
            if not piece:
                break
            yield piece
        piece = os.read(handle, left + 1)
        if len(piece) != left:
            msg = f"{source} changed while it was read"
            raise BuildError(msg, hint="try again when nothing writes to it")
        yield piece
        yield bytes(-size % BLOCK)
    finally:
        os.close(handle)


def _pieces(entries: Iterable[Entry]) -> Iterator[bytes]:
    """The tar in pieces of about 1 MiB: small files are joined, so that threads change hands seldom."""
    held: list[bytes] = []
    size = 0
    for entry in entries:
        for part in _contents(entry):
            held.append(part)
            size += len(part)
            if size >= PIECE:
                yield b"".join(held)
                held, size = [], 0
    held.append(bytes(2 * BLOCK))
    yield b"".join(held)


class _Sink:
    """Compresses, hashes and writes what the tar writer makes."""

    def __init__(self, out: Path, squeeze: Compressor | None) -> None:
        self.file = out.open("wb")
        self.squeeze = squeeze
        self.hash = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes) -> None:
        self.size += len(data)
        self.file.write(data)

    def feed(self, piece: bytes) -> None:
        data = self.squeeze.compress(piece) if self.squeeze else piece
        self.hash.update(data)
        self.write(data)

    def close(self) -> None:
        if self.squeeze:
            data = self.squeeze.flush()
            self.hash.update(data)
            self.write(data)
        self.file.close()


def write_layer(
    entries: Iterable[Entry],
    out_path: Path,
    compression: Compression = "zstd",
    counted: Callable[[int, int], None] = lambda _done, _total: None,
) -> LayerBlob:
    """Writes the layer to `out_path`; the same entries and `compressor_id` give the same digest.

    `counted` is told how many bytes of all content are read. Reading, hashing and compressing overlap;
    several layers may be written at once from several threads.
    """
    ordered = arrange(entries)
    diff = hashlib.sha256()
    plain = compression == "none"
    sink = _Sink(out_path, None if compression == "none" else compressor(compression))
    # An uncompressed layer is its own tar: one hash is enough.
    workers = [Worker(sink.write if plain else sink.feed), Worker(diff.update)]
    try:
        done, total = 0, sum(_content_size(entry) for entry in ordered)
        for piece in _pieces(ordered):
            for worker in workers:
                worker.put(piece)
            # The tar is longer than the content, and compressing ends later.
            done += len(piece)
            counted(min(done, max(total - 1, 0)), total)
        for worker in workers:
            worker.finish()
        sink.close()
    except BaseException as exc:
        for worker in workers:
            worker.abandon()
        sink.file.close()
        out_path.unlink(missing_ok=True)
        if isinstance(exc, OSError):
            msg = f"{out_path} cannot be written: {exc.strerror}"
            raise BuildError(msg, hint="free some space, or choose another --cache-dir") from exc
        raise
    counted(total, total)
    diff_id = "sha256:" + diff.hexdigest()
    return LayerBlob(
        digest=diff_id if plain else "sha256:" + sink.hash.hexdigest(),
        diff_id=diff_id,
        size=sink.size,
        media_type=MEDIA_TYPE[compression],
    )


def walk(root: Path, prefix: str) -> list[Entry]:
    """Entries of everything below `root`, placed below `prefix` in the image.

    A link to a file of the tree becomes a copy of it; one that leaves the tree or names a folder is refused.
    """
    top = os.path.realpath(root)
    out: list[Entry] = []
    pending = [(top, prefix.strip("/"))]
    while pending:
        folder, below = pending.pop()
        with os.scandir(folder) as found:
            for item in found:
                path = f"{below}/{item.name}" if below else item.name
                if item.is_symlink():
                    out.append(_copy_of_link(item.path, path, top))
                elif item.is_dir():
                    out.append(Entry(path=path, kind="dir", mode=0o755))
                    pending.append((item.path, path))
                elif item.is_file():
                    out.append(Entry(path=path, mode=item.stat().st_mode & 0o777, source=Path(item.path)))
                else:
                    msg = f"{item.path} is a device, pipe or socket"
                    raise BuildError(msg, hint="only files and directories can be in an image")
    return sorted(out, key=lambda entry: entry.path.encode())


def _copy_of_link(link: str, path: str, top: str) -> Entry:
    real = os.path.realpath(link)
    if not real.startswith(top + os.sep) or not Path(real).is_file():
        msg = f"{link} links to {real}, which is not a file of the same folder"
        raise BuildError(msg, hint="copy what it links to into the folder")
    return Entry(path=path, mode=Path(real).stat().st_mode & 0o777, source=Path(real))
