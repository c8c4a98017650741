"""One file a format: a deployment in, files out.

A file's name is the format's name on the command line; entry points `servegen.renderers` add further ones.
"""

from __future__ import annotations

from typing import Protocol, cast

from servegen import plugins
from servegen.errors import RenderError
from servegen.values.bundle import Bundle
from servegen.values.deployment import Deployment

HELPERS = ("chartpatch", "watcher")
"""Modules of this package that are no formats."""


class Renderer(Protocol):
    """Writes a deployment in one format."""

    layered: bool
    """Whether it keeps apart what all environments share; that then has to be complete by itself."""

    def render(self, deployment: Deployment) -> Bundle:
        """The files; equal deployments give equal bytes."""

    def stream(self, deployment: Deployment) -> str:
        """The same as one text for stdout; raises RenderError where the format needs a folder."""


def formats() -> tuple[str, ...]:
    """The names of all formats, sorted."""
    return plugins.names(__name__)


def renderer(name: str) -> Renderer:
    """The renderer of the format `name`; raises RenderError when there is none."""
    try:
        return cast(Renderer, plugins.load(__name__, name, "RENDERER")())
    except KeyError as exc:
        msg = f"there is no format {name!r}"
        raise RenderError(msg, hint=f"use one of: {', '.join(formats())}") from exc
