"""Whose an object is: ours to change and delete, somebody else's, or one to take over with `--adopt`."""

from __future__ import annotations

import re
from collections.abc import Mapping

from servegen.errors import ConflictError, ForeignError
from servegen.kube import Object, metadata
from servegen.kube.client import Cluster
from servegen.kube.refusal import Cause, RefusalError

MANAGED_BY = "app.kubernetes.io/managed-by"
INSTANCE = f"{metadata.PREFIX}instance"
_MODEL_NAME = f"{metadata.PREFIX}model-name"
_CLIENT_SIDE = "kubectl-client-side-apply"
_GITOPS: Mapping[str, str] = {
    "argocd.argoproj.io/tracking-id": "Argo CD",
    "argocd.argoproj.io/instance": "Argo CD",
    "kustomize.toolkit.fluxcd.io/name": "Flux",
    "helm.toolkit.fluxcd.io/name": "Flux",
}
"""Label or annotation to who puts it on everything that it keeps as Git says."""
_TRIES = 5
_CONFLICT = 409


def is_ours(live: Object) -> bool:
    """Whether servegen may delete `live`: our label, our apply, and nobody else's child."""
    about = live["metadata"]
    return (
        INSTANCE in about.get("labels", {})
        and about["labels"].get(MANAGED_BY, metadata.MANAGER) == metadata.MANAGER
        and not about.get("ownerReferences")
        and any(_is_ours(entry) for entry in about.get("managedFields", ()))
    )


def refuse_gitops(live: Object) -> None:
    """ForeignError where a controller would put `live` back to what Git says."""
    about = live["metadata"]
    marks = {**about.get("annotations", {}), **about.get("labels", {})}
    for mark, keeper in _GITOPS.items():
        if mark in marks:
            name = f"{live['kind']} {about['name']}"
            msg = f"{name} is kept as Git says by {keeper} ({mark}: {marks[mark]})"
            hint = "change it in Git, where it would be undone otherwise; servegen render -o writes the files"
            raise ForeignError(msg, hint=hint)


def refuse_foreign(one: Object, live: Object, *, adopt: bool) -> None:
    """ForeignError where `live` is another tool's, or serves another model than `one`, or other pods."""
    refuse_gitops(live)
    name = f"{one['kind']} {one['metadata']['name']}"
    model = live["metadata"].get("annotations", {}).get(_MODEL_NAME)
    wanted = one["metadata"].get("annotations", {}).get(_MODEL_NAME)
    if model is not None and wanted is not None and model != wanted:
        msg = f"{name} exists and serves another model: {model!r}, not {wanted!r}"
        raise ForeignError(msg, hint="choose another deploy.name, or delete that deployment first")
    theirs = live.get("spec", {}).get("selector")
    if one["kind"] == "Deployment" and theirs is not None and theirs != one["spec"].get("selector", theirs):
        labels = ", ".join(f"{key}={value}" for key, value in theirs.get("matchLabels", {}).items())
        msg = f"{name} exists and chooses its pods by {labels}, which nobody can change"
        raise ForeignError(msg, hint="choose another deploy.name, or delete that Deployment first")
    manager = live["metadata"].get("labels", {}).get(MANAGED_BY, metadata.MANAGER)
    if manager != metadata.MANAGER and not adopt:
        msg = f"{name} exists and is managed by {manager}"
        hint = "--adopt takes it over for good, or choose another deploy.name or namespace"
        raise ForeignError(msg, hint=hint)


def leftovers(live: Object) -> frozenset[str]:
    """Managers whose fields `--adopt` makes ours.

    Of our own objects that is a client-side `kubectl apply` alone: others have a reason to set a field.
    """
    others = {entry["manager"] for entry in live["metadata"].get("managedFields", ()) if _is_tool(entry)}
    if live["metadata"].get("labels", {}).get(MANAGED_BY) == metadata.MANAGER:
        others &= {_CLIENT_SIDE}
    return frozenset(others)


def client_side(live: Object) -> bool:
    """Whether a client-side `kubectl apply` still owns fields of `live`, which stay when we drop them."""
    return _CLIENT_SIDE in leftovers(live)


def is_of(cause: Cause, managers: frozenset[str]) -> bool:
    """Whether a conflict is with one of `managers` itself, not with what it wrote through a subresource."""
    match = re.search(r'conflict with "([^"]+)"( with subresource)?', cause.message)
    return bool(match and match[1] in managers and not match[2])


def adopt(cluster: Cluster, one: Object) -> None:
    """Make the fields of `leftovers` ours, as if we had applied them; the next apply drops what it lacks."""
    for _ in range(_TRIES):
        live = cluster.live(one)
        if live is None or not (managers := leftovers(live)):
            return
        try:
            cluster.patch(
                one,
                [
                    {
                        "op": "replace",
                        "path": "/metadata/managedFields",
                        "value": _merged(live, one, managers),
                    },
                    # Somebody may have written since the read; then the server refuses and we look again.
                    {
                        "op": "replace",
                        "path": "/metadata/resourceVersion",
                        "value": live["metadata"]["resourceVersion"],
                    },
                ],
            )
        except RefusalError as exc:
            if exc.status != _CONFLICT:
                raise
            continue
        return
    msg = f"{one['kind']} {one['metadata']['name']} changes faster than it can be taken over"
    raise ConflictError(msg, hint="stop what else writes it, then deploy again")


def _merged(live: Object, one: Object, managers: frozenset[str]) -> list[Object]:
    """The entries of managedFields with those of `managers` in ours."""
    ours: Object = {
        "manager": metadata.MANAGER,
        "operation": "Apply",
        "apiVersion": one["apiVersion"],
        "fieldsType": "FieldsV1",
        "fieldsV1": {},
    }
    kept = []
    for entry in live["metadata"]["managedFields"]:
        taken = _is_tool(entry) and entry["manager"] in managers
        # Fields of another API version cannot be listed in ours; without an owner they are free to set.
        if (taken or _is_ours(entry)) and entry["apiVersion"] == one["apiVersion"]:
            ours = {
                **ours,
                "time": entry.get("time"),
                "fieldsV1": _union(ours["fieldsV1"], entry["fieldsV1"]),
            }
        elif not taken:
            kept.append(entry)
    return [*kept, {name: value for name, value in ours.items() if value is not None}]


def _union(one: Object, other: Object) -> Object:
    return {
        **one,
        **{name: _union(one[name], value) if name in one else value for name, value in other.items()},
    }


def _is_ours(entry: Object) -> bool:
    return bool(entry["manager"] == metadata.MANAGER and entry["operation"] == "Apply")


def _is_tool(entry: Object) -> bool:
    """Whether an entry of managedFields is that of a tool or person, not of us or of a controller."""
    return (
        not entry.get("subresource")
        and not str(entry["manager"]).startswith((metadata.MANAGER, "kube-"))
        and "fieldsV1" in entry
    )
