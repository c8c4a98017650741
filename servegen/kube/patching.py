"""The user's patches on our objects: each has to leave them working and findable."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

from servegen.errors import RenderError
from servegen.kube import Object, invariants, metadata, restricted
from servegen.kube.patch import patched
from servegen.values.additions import Patch


def apply(objects: Sequence[Object], patches: Sequence[Patch]) -> tuple[Object, ...]:
    """`objects` after all `patches`; raises RenderError naming the patch that breaks something, and what."""
    made = tuple(objects)
    for index, patch in enumerate(patches):
        made = _apply(made, patch, f"deploy.patches[{index}]")
    return made


def _apply(objects: tuple[Object, ...], patch: Patch, name: str) -> tuple[Object, ...]:
    matching = [one for one in objects if one["kind"] == patch.get("kind")]
    if not matching:
        kinds = ", ".join(dict.fromkeys(one["kind"] for one in objects))
        _refuse(
            name, f"there is no {patch.get('kind', 'object without kind')} to patch", f"kind: one of {kinds}"
        )
    (old,) = matching
    try:
        new = patched(old, patch)
        if changed := [what for what, value in _identity(old).items() if _identity(new)[what] != value]:
            _refuse(
                name,
                f"it changes {changed[0]} of the {old['kind']}, by which servegen finds it",
                "use deploy.name, deploy.labels and deploy.namespace instead",
            )
        made = tuple(new if one is old else one for one in objects)
        broken = invariants.violations(made) + restricted.violations_of(made)
    except ValueError as exc:
        _refuse(name, str(exc), "write it as for `kubectl patch --type strategic`")
    except (AttributeError, KeyError, TypeError) as exc:
        _refuse(
            name,
            f"it leaves the {old['kind']} in a shape that Kubernetes refuses ({exc})",
            "see its reference",
        )
    if broken:
        _refuse(name, f"it breaks the objects: {'; '.join(broken)}", "change the patch, or leave it out")
    return made


def _identity(one: Object) -> dict[str, object]:
    about, spec = one["metadata"], one.get("spec", {})
    ours = {key: value for key, value in about.get("labels", {}).items() if key.startswith(metadata.OWN_KEYS)}
    return {
        "apiVersion": one["apiVersion"],
        "metadata.name": about["name"],
        "metadata.namespace": about.get("namespace"),
        "the labels": ours,
        "spec.selector": spec.get("selector"),
    }


def _refuse(name: str, message: str, hint: str) -> NoReturn:
    msg = f"{name}: {message}"
    raise RenderError(msg, hint=hint)
