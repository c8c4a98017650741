"""The server's own files, as they go into the image: `servegen/server` and nothing else of servegen."""

from __future__ import annotations

import hashlib
from pathlib import Path

import servegen
from servegen.oci.tar import Entry
from servegen.planning.image import APP
from servegen.values.model import TreeFile

_LEFT_OUT = ("__pycache__",)


def server_files() -> tuple[TreeFile, ...]:
    """Every file of the code layer, relative to the application folder."""
    root = _root()
    paths = [root / "__init__.py", *sorted((root / "server").rglob("*"))]
    return tuple(
        TreeFile(
            path=path.relative_to(root.parent).as_posix(),
            size=path.stat().st_size,
            sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        )
        for path in paths
        if path.is_file() and not any(part in _LEFT_OUT for part in path.parts)
    )


def server_entries(files: tuple[TreeFile, ...]) -> list[Entry]:
    """The layer entries of `files`."""
    return [Entry(path=f"{APP}/{f.path}", source=server_root() / f.path) for f in files]


def server_root() -> Path:
    """The folder that the paths of the server's files start at."""
    return _root().parent


def _root() -> Path:
    return Path(servegen.__file__).resolve().parent
