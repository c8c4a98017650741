"""One file a target: where a deployment is delivered.

A file's name is the target's name on the command line; entry points `servegen.targets` add further ones.
A target is a class that is made with the options of a delivery. `directory` is none, it serves `render -o`.
"""

from __future__ import annotations

from typing import Protocol, cast

from servegen import plugins
from servegen.errors import DeployError
from servegen.kube.options import ClusterOptions
from servegen.progress import Progress
from servegen.values.delivery import Delivery
from servegen.values.deployment import Deployment, KubeVersion

HELPERS = ("directory",)
"""Modules of this package that are no targets."""


class Target(Protocol):
    """Delivers a deployment to one place."""

    def __init__(self, *, options: ClusterOptions) -> None: ...

    def version(self) -> KubeVersion:
        """The version of Kubernetes to write for when nothing else is asked."""

    def check(self, deployment: Deployment) -> None:
        """Refuse, within seconds and writing nothing, what `deliver` would refuse whatever the image is."""

    def diff(self, deployment: Deployment) -> str:
        """What `deliver` would change as a unified diff; empty when nothing would."""

    def deliver(self, deployment: Deployment, *, progress: Progress) -> Delivery:
        """Make the place hold what `deployment` says, and say what changed."""


def targets() -> tuple[str, ...]:
    """The names of all targets, sorted."""
    return plugins.names(__name__)


def target(name: str) -> type[Target]:
    """The class of the target `name`; raises DeployError when there is none."""
    try:
        return cast("type[Target]", plugins.load(__name__, name, "TARGET"))
    except KeyError as exc:
        msg = f"there is no target {name!r}"
        raise DeployError(msg, hint=f"use one of: {', '.join(targets())}") from exc
