"""`--builder docker`: Docker's engine builds the context."""

from __future__ import annotations

from types import MappingProxyType

from servegen.builders import Builder
from servegen.builders.engine import Engine


class Docker(Engine):
    """Works with BuildKit and without; attestations would make an index of the image."""

    program = "docker"
    variables = MappingProxyType({"BUILDX_NO_DEFAULT_ATTESTATIONS": "1"})


BUILDER: type[Builder] = Docker
