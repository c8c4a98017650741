"""Who gets the requests: weights of an instance's HTTPRoute, and the selector of its Service.

Both are written as the objects that `deploy` applies, by the same field manager, so that a later deploy
owns them. They are no part of a release: a release that is applied again leaves the traffic as it is.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Mapping, Sequence

from servegen.errors import AbsentKindError, ForeignError
from servegen.kube import Object, apply, metadata
from servegen.kube.client import Cluster
from servegen.kube.instances import LABEL

CANARY = "canary"
NEXT = "next"
TRACKS = (CANARY, NEXT)
WHOLE = 100
"""The sum of all weights of a route."""
_ROUTE = ("gateway.networking.k8s.io/v1", "HTTPRoute")
_INSTANCE = "app.kubernetes.io/instance"


def beside(instance: str, track: str) -> str:
    """The name of the instance on `track` that runs beside `instance`."""
    return f"{instance}-{track}"


def route(cluster: Cluster, instance: str) -> Object | None:
    """The live HTTPRoute of `instance`; None without one. AbsentKindError where no cluster knows routes."""
    return cluster.get(*_ROUTE, instance)


def weights(found: Object) -> Mapping[str, int]:
    """Per cent of the requests by instance, for the rule of an HTTPRoute that leads to its own instance."""
    for rule in found["spec"].get("rules", ()):
        refs = rule.get("backendRefs", ())
        if any(ref["name"] == found["metadata"]["name"] for ref in refs):
            total = sum(_weight(ref) for ref in refs) or WHOLE
            return {ref["name"]: round(WHOLE * _weight(ref) / total) for ref in refs}
    return {}


def split(found: Object, percent: int | None) -> Object:
    """An HTTPRoute with `percent` of its requests led to the canary; None takes the canary out."""
    changed = copy.deepcopy(found)
    name = found["metadata"]["name"]
    for rule in changed["spec"].get("rules", ()):
        own = [ref for ref in rule.get("backendRefs", ()) if ref["name"] == name]
        if own:
            rule["backendRefs"] = _refs(own[0], beside(name, CANARY), percent)
    return changed


def set_weight(cluster: Cluster, found: Object, percent: int | None) -> None:
    """Write `split`; nothing is forced, so a route that another manager changed is a ConflictError."""
    _write(cluster, split(found, percent))


def served_by(service: Object) -> str:
    """The instance whose pods a Service leads to."""
    return str(service["spec"].get("selector", {}).get(_INSTANCE, service["metadata"]["name"]))


def lead_to(cluster: Cluster, service: Object, instance: str) -> None:
    """Let a Service select the pods of `instance`, in one write."""
    _write(cluster, _selecting(service, instance))


def shares(cluster: Cluster) -> Mapping[tuple[str, str], int]:
    """Per cent of the requests by namespace and instance, of those alone that share them with another."""
    found: dict[tuple[str, str], int] = {}
    if cluster.serves(_ROUTE[0]):
        for one in cluster.list(*_ROUTE, labels=LABEL)["items"]:
            parts = weights(one)
            if len(parts) > 1:
                found |= {(one["metadata"]["namespace"], name): part for name, part in parts.items()}
    for one in cluster.list("v1", "Service", labels=LABEL)["items"]:
        name, place = one["metadata"]["name"], one["metadata"]["namespace"]
        if served_by(one) == beside(name, NEXT):
            found |= {(place, name): 0, (place, served_by(one)): WHOLE}
    return found


def live(cluster: Cluster, wanted: Sequence[Object]) -> dict[str, Object | None]:
    """What the cluster has of the route and the Service in `wanted`, by their `apply.key`."""
    found = {}
    for one in wanted:
        # Of a kind that the cluster does not know, who asks to apply it is told, with the way out.
        with contextlib.suppress(AbsentKindError):
            if one["kind"] in ("HTTPRoute", "Service"):
                found[apply.key(one)] = cluster.live(one)
    return found


def keep(wanted: Sequence[Object], there: Mapping[str, Object | None]) -> tuple[Object, ...]:
    """`wanted` with its route and Service leading to where those of `live` lead."""
    return tuple(_kept(one, now) if (now := there.get(apply.key(one))) else one for one in wanted)


def whole(objects: Sequence[Object]) -> tuple[Object, ...]:
    """`objects` with all requests led to their own instance: what `keep` was given."""
    return tuple(_own(one) for one in objects)


def _own(one: Object) -> Object:
    name = one["metadata"]["name"]
    if one["kind"] == "HTTPRoute" and beside(name, CANARY) in weights(one):
        return split(one, None)
    if one["kind"] == "Service" and served_by(one) == beside(name, NEXT):
        return _selecting(one, name)
    return one


def _kept(one: Object, now: Object) -> Object:
    name = one["metadata"]["name"]
    if one["kind"] == "HTTPRoute":
        percent = weights(now).get(beside(name, CANARY))
        return one if percent is None else split(one, percent)
    return _selecting(one, served_by(now)) if served_by(now) == beside(name, NEXT) else one


def _selecting(service: Object, instance: str) -> Object:
    changed = copy.deepcopy(service)
    changed["spec"]["selector"][_INSTANCE] = instance
    return changed


def _refs(own: Object, canary: str, percent: int | None) -> list[Object]:
    if percent is None:
        return [own | {"weight": WHOLE}]
    return [own | {"weight": WHOLE - percent}, own | {"name": canary, "weight": percent}]


def _weight(ref: Object) -> int:
    return int(ref.get("weight", 1))


def _write(cluster: Cluster, changed: Object) -> None:
    """Apply what was made from a live object, with the fields alone that our last apply had."""
    about, fields = changed["metadata"], _applied(changed)
    noted = {key: _owned(about.get(key, {}), fields["f:metadata"], key) for key in ("labels", "annotations")}
    one = {
        "apiVersion": changed["apiVersion"],
        "kind": changed["kind"],
        "metadata": {"name": about["name"], "namespace": about["namespace"], **noted},
        "spec": _owned(changed["spec"], fields, "spec"),
    }
    apply.apply(cluster, apply.preflight(cluster, [one]), force=False)


def _applied(live: Object) -> Object:
    for entry in live["metadata"].get("managedFields", ()):
        if entry["manager"] == metadata.MANAGER and entry["operation"] == "Apply":
            return dict(entry["fieldsV1"])
    msg = f"{live['kind']} {live['metadata']['name']} was not applied by servegen"
    raise ForeignError(msg, hint="servegen deploy --adopt takes it over for good")


def _owned(values: Object, fields: Object, key: str) -> Object:
    names = fields.get(f"f:{key}", {})
    return {name: value for name, value in values.items() if f"f:{name}" in names}
