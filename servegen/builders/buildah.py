"""`--builder buildah`: Buildah builds the context, with or without root."""

from __future__ import annotations

from pathlib import Path

from servegen.builders import Builder
from servegen.builders.engine import Engine


class Buildah(Engine):
    """A fixed time and no version label, so that the same context gives the same image.

    It is one layer unless BUILDAH_LAYERS=true: without an overlay file system each one copies all below it.
    """

    program = "buildah"
    options = ("--format", "oci", "--timestamp", "0", "--identity-label=false")

    def saving(self, name: str, archive: Path) -> list[str]:
        """Arguments that write the image as a docker archive."""
        return ["push", name, f"docker-archive:{archive}"]


BUILDER: type[Builder] = Buildah
