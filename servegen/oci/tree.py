"""A root file system on disk that layers are applied to, and what is known of every path in it.

The folder belongs to us alone while layers are applied, so that the table of paths is the truth: where a name
goes is decided in the table, and the kernel is never asked to follow a link.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from servegen.errors import BuildError
from servegen.oci.untar import Member, MemberKind

_WHITEOUT = ".wh."
_OPAQUE = ".wh..wh..opq"
_MAX_LINKS = 40


@dataclass(frozen=True, kw_only=True)
class _Node:
    kind: MemberKind
    layer: int
    link: str = ""


class Tree:
    """Applies members of layers below `root`; nothing outside of it is ever touched."""

    def __init__(self, root: Path) -> None:
        self._root = str(root)
        self._nodes: dict[str, _Node] = {}
        self._parents: dict[str, str] = {}
        self._modes: dict[str, int] = {}
        self._is_root = os.geteuid() == 0

    def scan(self) -> None:
        """Learns what is in the folder already; for a tree that an earlier `Tree` made."""
        pending = [""]
        while pending:
            folder = pending.pop()
            with os.scandir(self._disk(folder)) as found:
                for item in found:
                    path = f"{folder}/{item.name}" if folder else item.name
                    if item.is_symlink():
                        self._nodes[path] = _Node(
                            kind="symlink", layer=-1, link=str(Path(item.path).readlink())
                        )
                    elif item.is_dir():
                        self._nodes[path] = _Node(kind="dir", layer=-1)
                        pending.append(path)
                    else:
                        self._nodes[path] = _Node(kind="file", layer=-1)

    def add(self, member: Member, content: Iterable[bytes], layer: int) -> None:
        """Applies one member of the layer with this number; later layers have higher ones."""
        parts = _parts(member.path)
        if not parts:
            return  # the root itself
        name = parts[-1]
        parent = self._parent("/".join(parts[:-1]))
        if name.startswith(_WHITEOUT):
            self._white_out(parent, name, layer)
            return
        path = f"{parent}/{name}" if parent else name
        if member.kind == "dir":
            self._add_dir(path, member, layer)
            return
        if path in self._nodes:
            self._remove(path)
        match member.kind:
            case "file":
                self._write(path, member, content)
            case "symlink":
                # Links that lead out of the image are dead once it runs; here nobody follows them.
                os.symlink(member.link, self._disk(path))  # noqa: PTH211 - as for mkdir
            case "hardlink":
                self._hard_link(path, member)
            case _:
                _refuse(f"{member.path} is no file, link or directory")
        self._nodes[path] = _Node(kind=member.kind, layer=layer, link=member.link)
        if self._is_root and (member.uid or member.gid) and member.kind != "hardlink":
            os.chown(self._disk(path), member.uid, member.gid, follow_symlinks=False)

    def finish(self) -> None:
        """Gives directories their modes: only now, or those without write permission could not be filled."""
        for path, mode in self._modes.items():
            node = self._nodes.get(path)
            # What was a folder may be a link by now, and a mode set through it would be set outside.
            if node and node.kind == "dir":
                Path(self._disk(path)).chmod(mode & 0o1777 | 0o700)

    def _disk(self, path: str) -> str:
        return f"{self._root}/{path}" if path else self._root

    def _add_dir(self, path: str, member: Member, layer: int) -> None:
        node = self._nodes.get(path)
        if node and node.kind != "dir":
            self._remove(path)
            node = None
        if not node:
            os.mkdir(self._disk(path), 0o700)  # noqa: PTH102 - a Path for each of ten thousands costs more
        self._nodes[path] = _Node(kind="dir", layer=layer)
        self._modes[path] = member.mode
        if self._is_root and (member.uid or member.gid):
            os.chown(self._disk(path), member.uid, member.gid)

    def _write(self, path: str, member: Member, content: Iterable[bytes]) -> None:
        handle = os.open(
            self._disk(path), os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600
        )
        try:
            for piece in content:
                left = memoryview(piece)
                while left:
                    left = left[os.write(handle, left) :]
            # Set-id bits are left out: nothing in an image of ours needs them.
            os.fchmod(handle, member.mode & 0o777 | 0o400)
            os.utime(handle, (member.mtime, member.mtime))
        finally:
            os.close(handle)

    def _hard_link(self, path: str, member: Member) -> None:
        target = _parts(member.link)
        if not target:
            _refuse(f"{member.path} is a hard link to the root")
        parent = self._parent("/".join(target[:-1]))
        real = f"{parent}/{target[-1]}" if parent else target[-1]
        node = self._nodes.get(real)
        if node is None or node.kind == "dir":
            _refuse(f"{member.path} is a hard link to {member.link}, which is no file")
        os.link(self._disk(real), self._disk(path), follow_symlinks=False)

    def _parent(self, folder: str) -> str:
        """The real directory behind `folder`, made when it is missing; follows links within the image."""
        known = self._parents.get(folder)
        if known is not None:
            return known
        ahead = folder.split("/")[::-1] if folder else []
        at: list[str] = []
        followed = 0
        while ahead:
            part = ahead.pop()
            if part in ("", "."):
                continue
            if part == "..":
                if not at:
                    _refuse(f"{folder} leaves the image through a link")
                at.pop()
                continue
            path = "/".join((*at, part))
            node = self._nodes.get(path)
            if node is None:
                os.mkdir(self._disk(path), 0o755)  # noqa: PTH102 - as above
                self._nodes[path] = _Node(kind="dir", layer=-1)
                self._modes[path] = 0o755
            elif node.kind == "symlink":
                followed += 1
                if followed > _MAX_LINKS:
                    _refuse(f"{folder} leads in circles")
                if node.link.startswith("/"):
                    at = []
                ahead.extend(node.link.split("/")[::-1])
                continue
            elif node.kind != "dir":
                _refuse(f"{folder} is below {path}, which is a file")
            at.append(part)
        self._parents[folder] = "/".join(at)
        return self._parents[folder]

    def _white_out(self, parent: str, name: str, layer: int) -> None:
        if name == _OPAQUE:
            inside = parent + "/" if parent else ""
            for path in [p for p in self._nodes if p.startswith(inside) and "/" not in p[len(inside) :]]:
                self._remove_below(path, layer)
        elif not name.startswith(_WHITEOUT * 2):  # other doubled names are bookkeeping of one tool
            hidden = name.removeprefix(_WHITEOUT)
            if hidden in ("", ".", ".."):
                _refuse(f"{name} in {parent or '/'} removes no file")
            self._remove_below(f"{parent}/{hidden}" if parent else hidden, layer)

    def _remove_below(self, path: str, layer: int) -> None:
        """Removes what lower layers put at `path`; what this layer has there stays."""
        node = self._nodes.get(path)
        if node is None or node.layer >= layer:
            return
        if node.kind == "dir" and any(
            other.startswith(path + "/") and found.layer >= layer for other, found in self._nodes.items()
        ):
            for child in [
                p for p in self._nodes if p.startswith(path + "/") and "/" not in p[len(path) + 1 :]
            ]:
                self._remove_below(child, layer)
            return
        self._remove(path)

    def _remove(self, path: str) -> None:
        if self._nodes[path].kind == "dir":
            shutil.rmtree(self._disk(path))
            for below in [other for other in self._nodes if other.startswith(path + "/")]:
                del self._nodes[below]
        else:
            os.unlink(self._disk(path))  # noqa: PTH108 - as above
        del self._nodes[path]
        self._parents.clear()


def _parts(path: str) -> list[str]:
    parts = path.split("/")
    if path.startswith("/") or ".." in parts:
        _refuse(f"{path} leaves the image")
    return [part for part in parts if part not in ("", ".")]


def _refuse(what: str) -> NoReturn:
    msg = f"a layer cannot be unpacked: {what}"
    raise BuildError(msg, hint="do not use this image; it is damaged, or made to do harm")
