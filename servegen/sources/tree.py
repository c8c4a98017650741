"""Artifact trees: listing them safely, hashing them, and telling cheaply that one did not change."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import NoReturn

from servegen.errors import ModelError
from servegen.values.model import TreeFile

_IGNORED = ("registered_model_meta",)
"""Files that MLflow adds while it downloads: they are not part of the model."""


def list_files(root: Path) -> list[Path]:
    """Every file below `root`, relative and sorted; a link may only lead to a file inside `root`."""
    top = root.resolve()
    found = []
    for folder, folders, names in os.walk(top, onerror=_refuse_unreadable):
        here = Path(folder)
        for name in (*folders, *names):
            path = here / name
            if path.is_symlink():
                # Path.resolve raises for a link that leads to itself.
                target = Path(os.path.realpath(path))
                if not target.is_file() or not target.is_relative_to(top):
                    msg = f"{path.relative_to(top)} in the model folder is a link to {str(path.readlink())!r}"
                    raise ModelError(
                        msg, hint="only links to files inside the model folder can be packaged; copy the file"
                    )
        for name in names:
            path = here / name
            if not path.is_file():
                msg = f"{path.relative_to(top)} in the model folder is no regular file"
                raise ModelError(msg, hint="remove it from the model folder")
            relative = path.relative_to(top)
            if not _is_utf8(relative):
                msg = f"the file name {str(relative)!r} in the model folder is not UTF-8"
                raise ModelError(msg, hint="rename the file and log the model again")
            if str(relative) not in _IGNORED:
                found.append(relative)
    return sorted(found, key=os.fsencode)


def stat_fingerprint(paths: Iterable[Path]) -> str:
    """Changes when a file's name, size, inode or time of change does; reads no content."""
    state = hashlib.sha256()
    for path in paths:
        try:
            info = path.stat()
        except FileNotFoundError:
            state.update(os.fsencode(path) + b"\0absent\n")
            continue
        # ctime too: a copy that restores mtime still moves it.
        facts = f"\0{info.st_size}\0{info.st_mtime_ns}\0{info.st_ctime_ns}\0{info.st_ino}\n"
        state.update(os.fsencode(path) + facts.encode())
    return state.hexdigest()


def hash_files(root: Path) -> tuple[TreeFile, ...]:
    """Every file of the tree with its size and sha256."""
    files = []
    for relative in list_files(root):
        try:
            with (root / relative).open("rb") as stream:
                digest = _sha256(stream)
        except OSError as exc:
            _refuse_unreadable(exc)
        info = (root / relative).stat()
        executable = bool(info.st_mode & 0o111)
        files.append(
            TreeFile(
                path=os.fsencode(relative).decode(), size=info.st_size, sha256=digest, executable=executable
            )
        )
    return tuple(files)


def tree_digest(files: Iterable[TreeFile]) -> str:
    """`sha256:` of the sorted lines `<sha256>  <path>`."""
    lines = sorted(f"{f.sha256}  {f.path}\n" for f in files)
    return "sha256:" + hashlib.sha256("".join(lines).encode()).hexdigest()


def copy_into(root: Path, target: Path) -> None:
    """Copy the files of the tree into the new folder `target`."""
    for relative in list_files(root):
        place = target / relative
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile((root / relative).resolve(), place)
        shutil.copymode((root / relative).resolve(), place)


def write_json(path: Path, value: object) -> None:
    """Write `value` so that a reader sees the old file or the new one, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text(json.dumps(value, sort_keys=True, indent=1), encoding="utf-8")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def read_json(path: Path) -> dict[str, object] | None:
    """The object that `write_json` wrote; None when it is absent or damaged."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _refuse_unreadable(exc: OSError) -> NoReturn:
    # os.walk passes over such a folder, and the model would lack what is in it.
    msg = f"{exc.filename} of the model cannot be read: {exc.strerror}"
    raise ModelError(msg, hint="give yourself the right to read it") from exc


def _is_utf8(path: Path) -> bool:
    try:
        os.fsencode(path).decode()
    except UnicodeDecodeError:
        return False
    return True


def _sha256(stream: object) -> str:
    state = hashlib.sha256()
    read = stream.read  # type: ignore[attr-defined]  # a binary file; hashlib.file_digest needs Python 3.11
    while piece := read(1 << 20):
        state.update(piece)
    return state.hexdigest()
