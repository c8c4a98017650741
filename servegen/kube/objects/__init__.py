"""One file an object; `build` collects them."""

from __future__ import annotations

from collections.abc import Sequence
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
    # Types first: what compares the objects takes them for granted.
    _require_valid(objects, deployment)
    if broken := invariants.violations(objects) + restricted.violations_of(objects):
        msg = f"the objects of {deployment.instance} contradict themselves: {'; '.join(broken)}"
        raise RenderError(msg, hint=_hint(deployment))
    return patching.apply(objects, deployment.additions.patches, deployment.kube_version)


def _require_valid(objects: Sequence[Object], deployment: Deployment) -> None:
    if invalid := [
        f"{one['kind']} {one['metadata']['name']}: {text}"
        for one in objects
        for text in strict.problems(one, deployment.kube_version)
    ]:
        msg = f"Kubernetes {deployment.kube_version} would refuse {'; '.join(invalid)}"
        raise RenderError(msg, hint=_hint(deployment))


def _hint(deployment: Deployment) -> str:
    raw = ("volumes", "volume_mounts", "sidecars", "init_containers", "env_from", "affinity")
    if used := [f"deploy.{name}" for name in raw if getattr(deployment.additions, name)]:
        return f"change what is written as Kubernetes writes it: {', '.join(used)}"
    return "this is a mistake in servegen, please report it with the settings used"


def _builders() -> tuple[Builder, ...]:
    return cast("tuple[Builder, ...]", plugins.load_all(__name__, "OBJECT"))
