"""Reads the metrics of every ready pod of an instance, each through a stream to the pod.

A stream ends inside the pod, so a NetworkPolicy that does not know the API server is no obstacle.
"""

from __future__ import annotations

import contextlib
import http.client
from collections.abc import Mapping

from servegen.errors import DeployError
from servegen.kube import Object, metadata, reasons
from servegen.kube.analysis import counts
from servegen.kube.client import Cluster
from servegen.kube.connection import Lost
from servegen.kube.forward import port_of
from servegen.kube.instances import LABEL
from servegen.values.analysis import Counts

_SECONDS = 5.0


def read(cluster: Cluster, instance: str) -> Mapping[str, Counts]:
    """What each ready pod has counted, by its name; a pod that leaves meanwhile is left out.

    Raises DeployError when pods are ready and none of them can be read.
    """
    pods = [
        pod
        for pod in cluster.list("v1", "Pod", labels=f"{LABEL}={instance}")["items"]
        if reasons.is_ready(pod) and not pod["metadata"].get("deletionTimestamp")
    ]
    read = {pod["metadata"]["name"]: _counts(cluster, pod) for pod in pods}
    found = {name: one for name, one in read.items() if isinstance(one, Counts)}
    trouble = next((one for one in read.values() if isinstance(one, Exception)), None)
    if trouble is not None and not found:
        msg = f"the metrics of no pod of {instance} can be read: {trouble}"
        hint = "forwarding needs a Role that allows: get pods/portforward, create pods/portforward"
        raise DeployError(msg, hint=hint) from trouble
    return found


def _counts(cluster: Cluster, pod: Object) -> Counts | Exception:
    try:
        return counts(_metrics(cluster, pod))
    except (Lost, OSError, http.client.HTTPException, ValueError) as exc:
        return exc


def _metrics(cluster: Cluster, pod: Object) -> str:
    with contextlib.closing(cluster.forward(pod["metadata"]["name"], port_of(pod))) as stream:
        stream.settimeout(_SECONDS)
        connection = http.client.HTTPConnection("pod")
        connection.sock = stream
        connection.request("GET", metadata.METRICS_PATH, headers={"Connection": "close"})
        answer = connection.getresponse()
        text = answer.read().decode("utf-8", "replace")
        if answer.status != http.client.OK:
            msg = f"{metadata.METRICS_PATH} answers {answer.status}"
            raise ValueError(msg)
        return text
