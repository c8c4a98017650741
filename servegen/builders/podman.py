"""`--builder podman`: Podman builds the context, with or without root."""

from __future__ import annotations

from pathlib import Path

from servegen.builders import Builder
from servegen.builders.engine import Engine


class Podman(Engine):
    """A fixed time and no version label, so that the same context gives the same image."""

    program = "podman"
    options = ("--format", "oci", "--timestamp", "0", "--identity-label=false")

    def saving(self, name: str, archive: Path) -> list[str]:
        """Arguments that write the image as a docker archive, whatever containers.conf prefers."""
        return ["save", "--format", "docker-archive", "--output", str(archive), name]


BUILDER: type[Builder] = Podman
