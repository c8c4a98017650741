"""Builders: ImagePlan → image. One file each; the file name is the name on the command line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, cast

from servegen import plugins
from servegen.builders.bytecode import Compiler
from servegen.errors import ConfigError
from servegen.oci.compress import Packing
from servegen.oci.known import KnownLayers
from servegen.progress import Progress
from servegen.uv import Indexes
from servegen.values.image import Base, ImagePlan, StoredImage
from servegen.values.lock import EnvironmentLock
from servegen.values.model import Model, TreeFile


@dataclass(frozen=True, kw_only=True)
class BuildInputs:
    """Everything a plan refers to by name or hash."""

    plan: ImagePlan
    model: Model
    lock: EnvironmentLock
    base: Base
    code: tuple[TreeFile, ...]
    reference: str
    """Name and tag under which the image is kept."""
    indexes: Indexes
    store: Path
    """OCI image layout that takes the image and caches layers."""
    scratch: Path
    """Folder for what is needed during the build only."""
    known: KnownLayers
    """Layers that need not be made again, in the store or in the registry."""
    compiler: Compiler | None
    """None for an image without bytecode."""
    compression: Packing


class Builder(Protocol):
    """Turns inputs into an image in the store."""

    def check(self, env: Mapping[str, str], progress: Progress) -> None:
        """Raise BuildError when it cannot work on this machine; asked before any work begins."""

    def build(self, inputs: BuildInputs, progress: Progress) -> StoredImage:
        """Build the image and tag it in the store; BuildError leaves the store without the tag."""


HELPERS = ("bases", "bytecode", "closure", "code", "compile_pyc", "dockerfile", "engine", "wheels")


def builder(name: str) -> Builder:
    """The builder called `name`; ConfigError lists those there are."""
    try:
        return cast("Builder", plugins.load(__name__, name, "BUILDER")())
    except KeyError as exc:
        msg = f"there is no builder {name!r}"
        raise ConfigError(msg, hint=f"one of: {', '.join(plugins.names(__name__))}") from exc
