"""The controllers that apply what a repository holds, and a renderer that adds their objects to a layout."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from servegen.errors import ConfigError
from servegen.gitops import argo, flux
from servegen.gitops.layouts import layout, seals
from servegen.gitops.source import Source, source
from servegen.kube import Object, yaml
from servegen.renderers import Renderer
from servegen.values.bundle import Bundle
from servegen.values.deployment import Deployment
from servegen.values.gitops import GitSettings

_BUILDERS: Mapping[str, Callable[[Deployment, GitSettings, Source], dict[str, tuple[Object, ...]]]] = {
    "argo": argo.build,
    "flux": flux.build,
}
_YOURS = "# Written once by servegen, and yours from now on.\n"
_OWNED = f"{seals.OWNED}\n"


def bundle(name: str, deployment: Deployment, git: GitSettings, layout_name: str) -> Bundle:
    """The objects of the controller `name` as files, by their path from the repository's root.

    They are the user's once they are there, but for those that hold a release. Raises ConfigError.
    """
    _check_name(name)
    place = source(deployment, git, layout_name)
    made = _build(name, deployment, git, place)
    # Values or version of a chart in a registry are of a release; what is for all models is of none.
    shared = name == "argo" and git.argo.application_set
    holds = not shared and (place.chart is not None or (place.oci and place.layout == "helm"))
    texts = {path: (_OWNED if holds else _YOURS) + yaml.dump_all(list(ones)) for path, ones in made.items()}
    return Bundle.of(texts if holds else {}, starters={} if holds else texts)


class Delivered:
    """A layout in the folder that the settings name, and beside it what applies it."""

    layered = True

    def __init__(self, *, layout_name: str, controller: str, git: GitSettings) -> None:
        self._layout = layout_name
        self._controller = controller
        self._git = git

    def render(self, deployment: Deployment) -> Bundle:
        """Files by their path from the repository's root; where charts are in a registry, no layout."""
        ours = bundle(self._controller, deployment, self._git, self._layout)
        place = source(deployment, self._git, self._layout)
        if place.oci and place.layout == "helm":
            return ours
        files = layout(self._layout).bundle(deployment)
        return Bundle(
            files=(*_below(place.path, files.files), *ours.files),
            obsolete=_below(place.path, files.obsolete),
            starters=(*_below(place.path, files.starters), *ours.starters),
        )

    def stream(self, deployment: Deployment) -> str:
        """The controller's objects alone, as one YAML stream."""
        place = source(deployment, self._git, self._layout)
        made = _build(self._controller, deployment, self._git, place)
        return yaml.dump_all([one for ones in made.values() for one in ones])


def _build(
    name: str, deployment: Deployment, git: GitSettings, place: Source
) -> dict[str, tuple[Object, ...]]:
    _check_name(name)
    return _BUILDERS[name](deployment, git, place)


def _check_name(name: str) -> None:
    if name not in _BUILDERS:
        msg = f"there is no controller {name!r}"
        raise ConfigError(msg, hint=f"--gitops, or git.gitops: one of {', '.join(_BUILDERS)}")


def _below(folder: str, files: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    return tuple((f"{folder}/{path}".lstrip("/"), text) for path, text in files)


_CHECK: type[Renderer] = Delivered
