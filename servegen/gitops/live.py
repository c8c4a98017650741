"""What a cluster runs of a release, as `drift` compares it."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from servegen.errors import AbsentKindError
from servegen.gitops.drift import Live
from servegen.kube import Object, apply, drift, metadata
from servegen.kube.client import Cluster
from servegen.kube.instances import LABEL
from servegen.kube.refusal import RefusalError
from servegen.values.image import ImageRef


@dataclass(kw_only=True)
class Namespaces:
    """Reads of one cluster: two lists a namespace, however many models it runs; safe for threads."""

    cluster: Cluster
    _seen: dict[str, dict[str, tuple[Object, Sequence[Object]]]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def live(self, namespace: str, instance: str, objects: Sequence[Object]) -> Live:
        """What runs there under the name `instance`, compared with `objects` where there are some.

        Raises NamespaceError, ClusterUnreachableError or RefusalError where it cannot be told.
        """
        cluster = self.cluster.within(namespace)
        with self._lock:
            if namespace not in self._seen:
                self._seen[namespace] = _instances(cluster)
        deployment, pods = self._seen[namespace].get(instance, (None, ()))
        if deployment is None:
            return Live(image=None)
        about = deployment["metadata"]
        labels, notes = about.get("labels") or {}, about.get("annotations") or {}
        found = Live(
            image=server_image(deployment),
            version=labels.get("app.kubernetes.io/version"),
            pin=notes.get(f"{metadata.PREFIX}pin"),
            profile=notes.get(f"{metadata.PREFIX}profile"),
            pods=tuple(server_image(pod) for pod in pods),
        )
        return _compared(found, cluster, objects)


def server_image(one: Object) -> str:
    """The image of the server in a Deployment or a Pod, as it names it, without tag where it has a digest."""
    spec = one["spec"].get("template", one)["spec"]
    containers = [each for each in spec["containers"] if each["name"] == metadata.CONTAINER]
    named = str((containers or spec["containers"])[0].get("image", ""))
    try:
        ref = ImageRef.parse(named)
    except ValueError:
        return named
    return ref.pinned if ref.digest else named


def deployment_of(objects: Sequence[Object]) -> Object | None:
    """The Deployment among them."""
    return next((one for one in objects if one["kind"] == "Deployment"), None)


def _instances(cluster: Cluster) -> dict[str, tuple[Object, Sequence[Object]]]:
    """Deployment and pods by the Deployment's name."""
    deployments = cluster.list("apps/v1", "Deployment", labels=LABEL)["items"]
    if not deployments:
        apply.require_namespace(cluster)
        return {}
    pods = defaultdict(list)
    for pod in cluster.list("v1", "Pod", labels=LABEL)["items"]:
        if pod["metadata"].get("deletionTimestamp") is None:
            pods[pod["metadata"]["labels"][LABEL]].append(pod)
    return {
        one["metadata"]["name"]: (one, pods[(one["metadata"].get("labels") or {})[LABEL]])
        for one in deployments
    }


def _compared(found: Live, cluster: Cluster, objects: Sequence[Object]) -> Live:
    try:
        return replace(found, differences=drift.of_objects(cluster, objects))
    except (RefusalError, AbsentKindError) as exc:
        return replace(found, unchecked=str(exc))
