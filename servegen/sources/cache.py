"""Models on this machine, by content: `models/<sha256>/` and what was seen of the places they came from."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import re
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from servegen.scratch import scratch_folder
from servegen.sources.tree import (
    copy_into,
    hash_files,
    list_files,
    read_json,
    stat_fingerprint,
    tree_digest,
    write_json,
)
from servegen.typed import typed
from servegen.values.model import TreeFile

_SETTLED_NS = 2_000_000_000
"""A file changed less than this ago may change again within the precision of its time stamp."""


class ModelCache:
    """Artifact trees by digest, and records by which an unchanged source is known without reading it."""

    def __init__(self, directory: Path) -> None:
        self._trees = directory / "models"
        self._records = directory / "sources"

    def recorded(self, key: str) -> dict[str, Any] | None:
        """The record kept under `key`, if the tree it names is still there."""
        record = read_json(self._record(key))
        digest = record and record.get("digest")
        if not isinstance(digest, str) or not re.fullmatch(r"sha256:[0-9a-f]{64}", digest):
            return None
        return record if self.files(digest) is not None else None

    def record(self, key: str, value: dict[str, Any]) -> None:
        """Keep `value` (with `digest`) under `key`."""
        write_json(self._record(key), value)

    def files(self, digest: str) -> tuple[TreeFile, ...] | None:
        """The files of a cached tree; None when it is not there or was changed since it was stored."""
        listing = read_json(self._listing(digest))
        root = self.path(digest)
        if listing is None or not root.is_dir():
            return None
        if listing.get("fingerprint") != _fingerprint(root) and tree_digest(hash_files(root)) != digest:
            return None
        files = listing.get("files")
        try:
            return tuple(typed(TreeFile, f) for f in files) if isinstance(files, list) else None
        except ValueError:
            # A cache entry that cannot be read is one that does not exist.
            return None

    def path(self, digest: str) -> Path:
        """The folder of the tree `digest`."""
        return self._trees / digest.removeprefix("sha256:")

    def add(self, fill: Callable[[Path], Path]) -> str:
        """Let `fill` put a tree somewhere below an empty folder, then keep it; returns its digest."""
        with self._temporary() as temporary:
            source = fill(temporary)
            if temporary not in source.parents and source != temporary:
                copy_into(source, temporary / "tree")
                source = temporary / "tree"
            files = hash_files(source)
            digest = tree_digest(files)
            if self.files(digest) is None:
                with self._locked():
                    if self.files(digest) is None:
                        shutil.rmtree(self.path(digest), ignore_errors=True)
                        source.rename(self.path(digest))
                        self._list(digest, files)
            return digest

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        # Two processes may bring the same model at once.
        with (self._trees / "lock").open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _list(self, digest: str, files: tuple[TreeFile, ...]) -> None:
        value = {"files": [asdict(f) for f in files], "fingerprint": _fingerprint(self.path(digest))}
        write_json(self._listing(digest), value)

    @contextlib.contextmanager
    def _temporary(self) -> Iterator[Path]:
        self._trees.mkdir(parents=True, exist_ok=True, mode=0o700)
        with scratch_folder(self._trees, ".new-") as temporary:
            yield temporary

    def _record(self, key: str) -> Path:
        return self._records / f"{hashlib.sha256(key.encode()).hexdigest()}.json"

    def _listing(self, digest: str) -> Path:
        return self._trees / f"{digest.removeprefix('sha256:')}.json"


def _fingerprint(root: Path) -> str:
    return stat_fingerprint(root / p for p in list_files(root))


def folder_state(root: Path) -> str:
    """What `root` looks like from outside: another text when any of its files changed."""
    return stat_fingerprint(root / p for p in list_files(root))


def database_state(path: Path) -> str | None:
    """What an SQLite file and its journals look like from outside; None when there is no such file."""
    # In WAL mode a change goes to -wal first; in rollback mode -journal exists while one is under way.
    return stat_fingerprint(_database_files(path)) if path.is_file() else None


def folder_settled(root: Path) -> bool:
    """Whether every change to the folder from now on will show in `folder_state`."""
    return _settled(root / p for p in list_files(root))


def database_settled(path: Path) -> bool:
    """Whether every change to the database from now on will show in `database_state`."""
    return _settled(_database_files(path))


def _database_files(path: Path) -> list[Path]:
    return [path, Path(f"{path}-wal"), Path(f"{path}-journal")]


def _settled(files: Iterable[Path]) -> bool:
    now = time.time_ns()
    return all(not p.exists() or now - p.stat().st_mtime_ns > _SETTLED_NS for p in files)
