"""Writes files into a folder: all of a bundle or nothing of it, and foreign files stay."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from servegen.errors import RenderError
from servegen.values.bundle import Bundle
from servegen.values.delivery import Change

_HINT = "name a folder that may be written: -o DIR"


def check(folder: Path) -> None:
    """Raise RenderError when `folder` is none, or none that could be made and written."""
    nearest = next(one for one in (folder.absolute(), *folder.absolute().parents) if one.exists())
    if not nearest.is_dir():
        msg = f"{folder} cannot be written: {nearest} is a file"
        raise RenderError(msg, hint=_HINT)
    if not os.access(nearest, os.W_OK | os.X_OK):
        msg = f"{folder} cannot be written: {nearest} is not yours to write"
        raise RenderError(msg, hint=_HINT)


def write(bundle: Bundle, folder: Path) -> tuple[Change, ...]:
    """Write `bundle` below `folder` and delete what it calls obsolete; unchanged files are not touched.

    Starters that are there stay as they are.
    """
    changes: list[Change] = []
    parts: dict[Path, Path] = {}
    path = ""
    try:
        for path, text in bundle.files:
            target, content = folder / path, text.encode()
            action = _action(target, content)
            if action != "unchanged":
                parts[target] = _part(target, content)
            changes.append(Change(kind="file", name=path, action=action))
        for path, text in bundle.starters:
            target = folder / path
            # A link that leads nowhere is the user's, too.
            kept = target.exists() or target.is_symlink()
            if not kept:
                parts[target] = _part(target, text.encode())
            changes.append(Change(kind="file", name=path, action="kept" if kept else "created"))
        for target, part in parts.items():
            path = str(target.relative_to(folder))
            part.replace(target)
        for path, mark in bundle.obsolete:
            if _holds(folder / path, mark):
                (folder / path).unlink()
                changes.append(Change(kind="file", name=path, action="deleted"))
    except OSError as exc:
        msg = f"{folder / path} cannot be written: {exc.strerror}"
        raise RenderError(msg, hint=_HINT) from exc
    finally:
        for part in parts.values():
            part.unlink(missing_ok=True)
    return tuple(changes)


def _action(target: Path, content: bytes) -> str:
    try:
        return "unchanged" if target.read_bytes() == content else "configured"
    except FileNotFoundError:
        return "created"


def _part(target: Path, content: bytes) -> Path:
    """A file beside `target` with its new content."""
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    part = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        # mkstemp makes private files; these are for everybody who may read the folder.
        part.chmod(0o644)
    except BaseException:
        part.unlink()
        raise
    return part


def _holds(path: Path, line: str) -> bool:
    """Whether `line` is one of the file's, whatever its indentation."""
    return path.is_file() and line in (
        each.strip() for each in path.read_text("utf-8", "replace").splitlines()
    )
