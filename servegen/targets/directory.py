"""Writes files into a folder; every file is there whole or not at all, and foreign files stay."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from servegen.errors import RenderError
from servegen.progress import Progress
from servegen.renderers import renderer
from servegen.targets import Target
from servegen.values.bundle import Bundle
from servegen.values.delivery import Change, Delivery
from servegen.values.deployment import Deployment


class Directory:
    """Renders into a folder."""

    def __init__(self, *, folder: Path, format_name: str = "manifests") -> None:
        self._folder = folder
        self._format = format_name

    def deliver(self, deployment: Deployment, *, progress: Progress) -> Delivery:
        """Write the files of the deployment."""
        changes = write(renderer(self._format).render(deployment), self._folder)
        progress.step(f"{len(changes)} files in {self._folder}")
        return Delivery(changes=changes, namespace=deployment.namespace, name=deployment.instance)


def write(bundle: Bundle, folder: Path) -> tuple[Change, ...]:
    """Write `bundle` below `folder`; files that already have their text are not touched."""
    changes = []
    for path, text in bundle.files:
        try:
            action = _write(folder / path, text.encode())
        except OSError as exc:
            msg = f"{exc.filename or folder / path} cannot be written: {exc.strerror}"
            raise RenderError(msg, hint="name a folder that may be written: -o DIR") from exc
        changes.append(Change(kind="file", name=path, action=action))
    return tuple(changes)


def _write(path: Path, content: bytes) -> str:
    exists = path.is_file()
    if exists and path.read_bytes() == content:
        return "unchanged"
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, part = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        # mkstemp makes private files; these are for everybody who may read the folder.
        Path(part).chmod(0o644)
        Path(part).replace(path)
    except BaseException:
        Path(part).unlink(missing_ok=True)
        raise
    return "configured" if exists else "created"


TARGET: type[Target] = Directory
