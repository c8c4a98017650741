"""servegen.lock on disk: JSON, one package a line, so that a review shows what moved."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from servegen.errors import LockError
from servegen.values.lock import EnvironmentLock, Lock, LockedPackage
from servegen.values.model import Pin

VERSION = 1


def write_lock(path: Path, lock: Lock) -> None:
    """Write `lock` to `path`; a reader sees the old file or the new one."""
    text = dump(lock)
    if path.is_file() and path.read_text(encoding="utf-8") == text:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


def read_lock(path: Path) -> Lock | None:
    """The lock in `path`, None when there is no such file; LockError when it is damaged."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    try:
        return _load(json.loads(text))
    except (ValueError, KeyError, TypeError) as exc:
        msg = f"{path.name} cannot be read: {exc}"
        raise LockError(
            msg, hint=f"delete {path.name}; the next servegen lock or package writes it anew"
        ) from exc


def dump(lock: Lock) -> str:
    """The text of servegen.lock: the same lock gives the same bytes."""
    environment = asdict(lock.environment)
    packages = environment.pop("packages")
    head = {"version": VERSION, "pin": asdict(lock.pin), "image": lock.image, "environment": environment}
    text = json.dumps(head, indent=2, ensure_ascii=False)
    base = dict(lock.base)
    rows = base.pop("packages", None)
    base_text = json.dumps(base, ensure_ascii=False)[1:-1]
    if rows is not None:
        base_text += f', "packages": {_rows(rows)}'
    return f'{text[:-2]},\n  "base": {{{base_text}}},\n  "packages": {_rows(packages)}\n}}\n'


def _rows(rows: Any) -> str:
    lines = ",\n".join("    " + json.dumps(row, ensure_ascii=False) for row in rows)
    return f"[\n{lines}\n  ]" if rows else "[]"


def _load(value: Any) -> Lock:
    if value["version"] != VERSION:
        msg = f"version {value['version']} is not {VERSION}"
        raise ValueError(msg)
    packages = tuple(_typed(LockedPackage, p) for p in value["packages"])
    return Lock(
        pin=_typed(Pin, value["pin"]),
        environment=_typed(EnvironmentLock, {**value["environment"], "packages": packages}),
        base=tuple(value["base"].items()),
        image=value["image"],
    )


def _typed(cls: Any, value: dict[str, Any]) -> Any:
    known = {f.name for f in fields(cls)}
    if extra := value.keys() - known:
        msg = f"unknown entries {', '.join(sorted(extra))}"
        raise ValueError(msg)
    return cls(**value)
