"""servegen.lock on disk: JSON, one package a line, so that a review shows what moved."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from servegen.errors import LockError
from servegen.typed import mapping, typed
from servegen.values.lock import EnvironmentLock, Lock, LockedPackage, PlatformLock
from servegen.values.model import Pin

T = TypeVar("T", LockedPackage, EnvironmentLock)

VERSION = 1
_SHAPES = {
    # Each becomes a line or an argument for uv, and the file may come from anyone.
    "name": r"[a-z0-9]+(-[a-z0-9]+)*",
    "version": r"[A-Za-z0-9.!+_-]+",
    "file": r"[A-Za-z0-9.!+_-]+\.whl",
    "sha256": r"[0-9a-f]{64}",
    "sdist": r"[0-9a-f]{64}",
    "path": r"(?!/|.*(^|/)\.{1,2}(/|$))[^\x00-\x1f\x7f\\]+\.whl",
    "python": r"3\.[0-9]+",
    "target": r"[A-Za-z0-9_]+-[A-Za-z0-9_]+",
    "exclude_newer": r"[0-9TZ:.+-]+",
}


def write_lock(path: Path, lock: Lock) -> None:
    """Write `lock` to `path`; a reader sees the old file or the new one."""
    text = dump(lock)
    if path.is_file() and path.read_text(encoding="utf-8") == text:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    finally:
        # It lies beside the user's own files.
        temporary.unlink(missing_ok=True)


def read_lock(path: Path) -> Lock | None:
    """The lock in `path`, None when there is no such file; LockError when it is damaged."""
    try:
        return _load(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else str(exc)
        msg = f"{path.name} cannot be read: {reason}"
        raise LockError(msg, hint=f"delete {path}; the next servegen lock or package writes it anew") from exc


def dump(lock: Lock) -> str:
    """The text of servegen.lock: the same lock gives the same bytes."""
    head = {"version": VERSION, "pin": asdict(lock.pin), "image": lock.image}
    text = json.dumps(head, indent=2, ensure_ascii=False)[:-2]
    first, *others = (_platform(each) for each in lock.platforms)
    # The first one stands where it stood when a lock was for one platform only.
    also = f',\n  "also": [{{\n{(chr(10) + "}, {" + chr(10)).join(others)}\n  }}]' if others else ""
    return f"{text},\n{first}{also}\n}}\n"


def _platform(lock: PlatformLock) -> str:
    environment = asdict(lock.environment)
    packages = [
        {name: entry for name, entry in row.items() if entry is not None}
        for row in environment.pop("packages")
    ]
    if not environment["left_out"]:
        del environment["left_out"]
    text = json.dumps({"environment": environment}, indent=2, ensure_ascii=False)[2:-2]
    base = dict(lock.base)
    rows = base.pop("packages", None)
    base_text = json.dumps(base, ensure_ascii=False)[1:-1]
    if rows is not None:
        base_text += f', "packages": {_rows(rows)}'
    return f'{text},\n  "base": {{{base_text}}},\n  "packages": {_rows(packages)}'


def _rows(rows: Any) -> str:
    lines = ",\n".join("    " + json.dumps(row, ensure_ascii=False) for row in rows)
    return f"[\n{lines}\n  ]" if rows else "[]"


def _load(value: object) -> Lock:
    entries = mapping(value, "the file")
    if entries.get("version") != VERSION:
        msg = f"version {entries.get('version')} is not {VERSION}"
        raise ValueError(msg)
    also, image = entries.get("also", []), entries.get("image")
    if not isinstance(also, list) or not isinstance(image, str | None):
        msg = "also must be a list, image a digest or null"
        raise ValueError(msg)  # noqa: TRY004 (a parser has one error)
    return Lock(
        pin=typed(Pin, entries.get("pin")),
        platforms=(_load_platform(entries), *(_load_platform(mapping(each, "also")) for each in also)),
        image=image,
    )


def _load_platform(entries: Mapping[str, Any]) -> PlatformLock:
    rows = entries.get("packages")
    if not isinstance(rows, list):
        msg = "packages must be a list"
        raise ValueError(msg)  # noqa: TRY004 (a parser has one error)
    packages = tuple(_shaped(typed(LockedPackage, row)) for row in rows)
    environment = {**mapping(entries.get("environment"), "environment"), "packages": packages}
    left_out = environment.get("left_out", [])
    if not isinstance(left_out, list) or not all(isinstance(each, str) for each in left_out):
        msg = "left_out must be a list of texts"
        raise ValueError(msg)
    environment["left_out"] = tuple(left_out)
    return PlatformLock(
        environment=_shaped(typed(EnvironmentLock, environment)),
        base=tuple(mapping(entries.get("base"), "base").items()),
    )


def _shaped(value: T) -> T:
    for name, entry in vars(value).items():
        if name in _SHAPES and entry is not None and not re.fullmatch(_SHAPES[name], entry):
            msg = f"{entry[:60]!r} cannot be a {name}"
            raise ValueError(msg)
    return value
