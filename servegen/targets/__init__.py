"""One file a target: where a deployment is delivered.

A file's name is the target's name on the command line; entry points `servegen.targets` add further ones.
A target is a class that is made with its own options.
"""

from __future__ import annotations

from typing import Any, Protocol, cast

from servegen import plugins
from servegen.errors import DeployError
from servegen.progress import Progress
from servegen.values.delivery import Delivery
from servegen.values.deployment import Deployment


class Target(Protocol):
    """Delivers a deployment to one place."""

    def deliver(self, deployment: Deployment, *, progress: Progress) -> Delivery:
        """Make the place hold what `deployment` says, and say what changed."""


def targets() -> tuple[str, ...]:
    """The names of all targets, sorted."""
    return plugins.names(__name__)


def target(name: str) -> type[Any]:
    """The class of the target `name`; raises DeployError when there is none."""
    try:
        return cast("type[Any]", plugins.load(__name__, name, "TARGET"))
    except KeyError as exc:
        msg = f"there is no target {name!r}"
        raise DeployError(msg, hint=f"use one of: {', '.join(targets())}") from exc
