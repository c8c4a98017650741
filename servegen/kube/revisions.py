"""The pod template before this one, for a deployment of which no releases are recorded."""

from __future__ import annotations

import copy

from servegen.kube import Object, handover, instances, metadata
from servegen.kube.apply import content
from servegen.kube.client import Cluster

_REVISION = "deployment.kubernetes.io/revision"
_HASH = "pod-template-hash"


def previous(cluster: Cluster, instance: str) -> Object | None:
    """The Deployment of `instance` with the template of its revision before; None where there is none.

    Everything but the template is as it is now.
    """
    found = instances.find(cluster, instance).objects
    live = next((one for one in found if one["kind"] == "Deployment"), None)
    if live is None:
        return None
    now = _revision(live)
    earlier = [one for one in _replica_sets(cluster, live) if _revision(one) < now]
    if not earlier:
        return None
    template = copy.deepcopy(max(earlier, key=_revision)["spec"]["template"])
    template["metadata"].get("labels", {}).pop(_HASH, None)
    wanted = content(live)
    wanted["spec"]["template"] = template
    if not handover.owns_replicas(live, metadata.MANAGER):
        del wanted["spec"]["replicas"]
    return wanted


def _replica_sets(cluster: Cluster, deployment: Object) -> list[Object]:
    uid = deployment["metadata"]["uid"]
    return [
        one
        for one in cluster.list("apps/v1", "ReplicaSet")["items"]
        if any(owner["uid"] == uid for owner in one["metadata"].get("ownerReferences", ()))
    ]


def _revision(one: Object) -> int:
    return int(one["metadata"].get("annotations", {}).get(_REVISION, 0))
