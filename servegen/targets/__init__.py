"""One file a target: where a deployment is delivered.

A file's name is the target's name on the command line; entry points `servegen.targets` add further ones.
A target makes its own options of what was typed and of servegen.yaml. `directory` is none, it serves
`render -o`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, cast

from servegen import plugins
from servegen.config import Config, Environment
from servegen.errors import DeployError
from servegen.progress import Progress
from servegen.values.delivery import Delivery, Released
from servegen.values.deployment import Deployment, KubeVersion

HELPERS = ("directory",)
"""Modules of this package that are no targets."""


class Target(Protocol):
    """Delivers deployments to one place."""

    layered: bool
    """Whether it keeps apart what all environments share; that then has to be complete by itself."""

    @classmethod
    def of(
        cls, given: Mapping[str, Any], config: Config, environment: Environment, progress: Progress
    ) -> Target:
        """The place that the options `given` on the command line name, else `config`; asks nobody yet.

        For many models `config` is that of none, and `within` of each is asked.
        """

    def within(self, config: Config) -> Target:
        """The place for the one model that `config` is about; shares with this one what can be shared."""

    def version(self) -> KubeVersion:
        """The version of Kubernetes to write for when nothing else is asked."""

    def check(self, deployment: Deployment) -> None:
        """Refuse, within seconds and writing nothing, what `deliver` would refuse whatever the image is."""

    def diff(self, deployment: Deployment) -> str:
        """What `deliver` would change as a unified diff; empty when nothing would."""

    def released(self, deployment: Deployment) -> Released:
        """What was delivered last under the name and environment of `deployment`; a draft will do."""

    def deliver(self, deployment: Deployment, *, progress: Progress) -> Delivery:
        """Make the place hold what `deployment` says, and say what changed."""

    def close(self) -> None:
        """Give up what was kept for further deliveries."""


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
