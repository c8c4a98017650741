"""The user's patches on our objects: each has to leave them working and findable."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

from servegen.errors import RenderError
from servegen.kube import Object, invariants, metadata, restricted, strict
from servegen.kube.patch import patched
from servegen.values.additions import Patch
from servegen.values.deployment import KubeVersion


def apply(objects: Sequence[Object], patches: Sequence[Patch], version: KubeVersion) -> tuple[Object, ...]:
    """`objects` after all `patches`; raises RenderError naming the patch that breaks something, and what."""
    made = tuple(objects)
    for index, patch in enumerate(patches):
        made = _apply(made, patch, f"deploy.patches[{index}]", version)
    return made


def _apply(objects: tuple[Object, ...], patch: Patch, name: str, version: KubeVersion) -> tuple[Object, ...]:
    matching = [one for one in objects if one["kind"] == patch.get("kind")]
    if not matching:
        kinds = ", ".join(dict.fromkeys(one["kind"] for one in objects))
        _refuse(
            name, f"there is no {patch.get('kind', 'object without kind')} to patch", f"kind: one of {kinds}"
        )
    (old,) = matching
    try:
        new = patched(old, patch)
    except ValueError as exc:
        _refuse(name, str(exc), "write it as for `kubectl patch --type strategic`")
    except (AttributeError, TypeError):
        _refuse(name, f"it has another shape than the {old['kind']}", "see that kind's reference")
    if invalid := strict.problems(new, version):
        _refuse(name, f"Kubernetes {version} would refuse {'; '.join(invalid)}", "see that kind's reference")
    if changed := _changed(old, new):
        _refuse(
            name,
            f"it changes {changed} of the {old['kind']}, by which servegen finds it",
            "use deploy.name, deploy.labels and deploy.namespace instead",
        )
    made = tuple(new if one is old else one for one in objects)
    try:
        broken = invariants.violations(made) + restricted.violations_of(made)
    except KeyError as exc:
        # Kubernetes has a default for it, and what the other objects rely on has to be seen.
        _refuse(name, f"it takes {exc.args[0]} away from the {old['kind']}", "give it a value instead")
    if broken:
        _refuse(name, f"it breaks the objects: {'; '.join(broken)}", "change the patch, or leave it out")
    return made


def _changed(old: Object, new: Object) -> str | None:
    """The first part of the identity that differs."""
    after = _identity(new)
    return next((what for what, value in _identity(old).items() if after[what] != value), None)


def _identity(one: Object) -> dict[str, object]:
    about, spec = one.get("metadata", {}), one.get("spec", {})
    ours = {key: value for key, value in about.get("labels", {}).items() if key.startswith(metadata.OWN_KEYS)}
    return {
        "apiVersion": one.get("apiVersion"),
        "metadata.name": about.get("name"),
        "metadata.namespace": about.get("namespace"),
        "the labels": ours,
        "spec.selector": spec.get("selector"),
    }


def _refuse(name: str, message: str, hint: str) -> NoReturn:
    msg = f"{name}: {message}"
    raise RenderError(msg, hint=hint)
