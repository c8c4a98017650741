"""Folders for work in progress, which do not outlive their process for long, however it ends."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def scratch_folder(parent: Path, prefix: str) -> Iterator[Path]:
    """A new folder `parent/<prefix>…`, removed at the end; those that killed processes left go first.

    Nothing else below `parent` may begin with `prefix`.
    """
    parent.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        # The parent is held until the new folder is, or a process that starts meanwhile would remove it.
        with _held(parent, fcntl.LOCK_EX):
            _sweep(parent, prefix)
            folder = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
            stack.enter_context(_held(folder, fcntl.LOCK_EX))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        yield folder


def _sweep(parent: Path, prefix: str) -> None:
    for left in parent.glob(f"{prefix}*"):
        # The kernel gives up a killed process's lock; one that is still held means that someone works there.
        with contextlib.suppress(OSError), _held(left, fcntl.LOCK_EX | fcntl.LOCK_NB):
            shutil.rmtree(left, ignore_errors=True)


@contextlib.contextmanager
def _held(folder: Path, how: int) -> Iterator[None]:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(handle, how)
        yield
    finally:
        os.close(handle)
