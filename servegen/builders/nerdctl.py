"""`--builder nerdctl`: containerd's BuildKit builds the context."""

from __future__ import annotations

from types import MappingProxyType

from servegen.builders import Builder
from servegen.builders.engine import Engine


class Nerdctl(Engine):
    """Attestations would make an index of the image."""

    program = "nerdctl"
    variables = MappingProxyType({"BUILDX_NO_DEFAULT_ATTESTATIONS": "1"})


BUILDER: type[Builder] = Nerdctl
