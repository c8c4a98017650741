"""One file an object; `build` collects them."""

from __future__ import annotations

from typing import Protocol, cast

from servegen import plugins
from servegen.errors import RenderError
from servegen.kube import Object, invariants, order, patching, restricted, strict
from servegen.values.deployment import Deployment


class Builder(Protocol):
    """Makes one object of the intent, or None when the intent does not ask for it."""

    def __call__(self, deployment: Deployment) -> Object | None:
        """The object."""


def build(deployment: Deployment) -> tuple[Object, ...]:
    """All objects of `deployment` in the order of apply: patched, strictly valid, agreeing with others."""
    objects = order.sort(made for builder in _builders() if (made := builder(deployment)))
    if broken := invariants.violations(objects) + restricted.violations_of(objects):
        msg = f"the objects of {deployment.instance} contradict themselves: {'; '.join(broken)}"
        raise RenderError(msg, hint=_hint(deployment))
    patched = patching.apply(objects, deployment.additions.patches)
    if invalid := [
        f"{one['kind']} {one['metadata']['name']}: {text}"
        for one in patched
        for text in strict.problems(one, deployment.kube_version)
    ]:
        msg = f"Kubernetes {deployment.kube_version} would refuse {'; '.join(invalid)}"
        raise RenderError(msg, hint=_hint(deployment))
    return patched


def _hint(deployment: Deployment) -> str:
    added = deployment.additions
    if added.patches:
        return "change deploy.patches and what else of deploy is written as Kubernetes writes it"
    if added.volumes or added.volume_mounts or added.sidecars or added.init_containers:
        return "change deploy.volumes, volume_mounts, sidecars or init_containers, or leave them out"
    return "this is a mistake in servegen, please report it with the settings used"


def _builders() -> tuple[Builder, ...]:
    return cast("tuple[Builder, ...]", plugins.load_all(__name__, "OBJECT"))
