"""One file a layout: how the releases of one model lie in a folder of a repository.

A file's name is the layout's name on the command line; entry points `servegen.gitops.layouts` add further
ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol, cast

from servegen import plugins
from servegen.errors import ConfigError
from servegen.kube import Object
from servegen.progress import Progress
from servegen.values.bundle import Bundle
from servegen.values.deployment import Deployment
from servegen.values.gitops import Record

HELPERS = ("notes", "programs", "seals")
"""Modules of this package that are no layouts."""
DEFAULT = "kustomize"


class Layout(Protocol):
    """Files of one model in `folder`, for all its environments; None is the environment without a name."""

    shares: bool
    """Whether a folder has files that are of all of its environments."""

    def holds(self, folder: Path) -> bool:
        """Whether `folder` is laid out so."""

    def bundle(self, deployment: Deployment, *, held: str | None = None) -> Bundle:
        """The files of a release of the deployment's environment, relative to the folder.

        All but starters are servegen's own. `held` is the pin that stays refused.
        """

    def hold(self, files: Mapping[str, str], environment: str | None, held: str | None) -> dict[str, str]:
        """Of a release's sealed `files` those that change so that the pins `held` are refused.

        None refuses nothing any more.
        """

    def read(self, folder: Path, environment: str | None) -> Record | None:
        """What is released there; None where nothing is. Raises EditedError for what cannot be read."""

    def environments(self, folder: Path) -> tuple[str, ...]:
        """Names of the environments with a release, sorted; the one without a name is `default`."""

    def named(self, folder: Path, environment: str | None) -> str | None:
        """What objects are called after in the release there, or in what it would share with others.

        None where nothing is, or nobody can tell.
        """

    def owned(self, folder: Path, environment: str | None) -> tuple[str, ...]:
        """Paths of the release's files that are there: all that a rollback brings back, sorted."""

    def applied(self, environment: str | None) -> str:
        """The folder or file below `folder` that Argo CD or Flux is pointed at."""

    def build(
        self, folder: Path, environment: str | None, *, env: Mapping[str, str], progress: Progress
    ) -> list[Object]:
        """The objects that a cluster would get; raises RenderError without the program that builds them."""


def layouts() -> tuple[str, ...]:
    """The names of all layouts, sorted."""
    return plugins.names(__name__)


def layout(name: str) -> Layout:
    """The layout `name`; raises ConfigError when there is none."""
    try:
        return cast(Layout, plugins.load(__name__, name, "LAYOUT")())
    except KeyError as exc:
        msg = f"there is no layout {name!r}"
        raise ConfigError(msg, hint=f"--layout, or git.layout: one of {', '.join(layouts())}") from exc


def name_of(one: Layout) -> str:
    """The name of a layout of ours."""
    return type(one).__module__.rpartition(".")[2]


def found(folder: Path) -> Layout:
    """The layout that `folder` has, else the default one."""
    # The default first: a folder with more than one is its user's, and then the least is surprising.
    names = (DEFAULT, *(name for name in layouts() if name != DEFAULT))
    return next((one for one in map(layout, names) if one.holds(folder)), layout(DEFAULT))
