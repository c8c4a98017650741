"""What PodMonitor and ServiceMonitor of the Prometheus operator have in common."""

from __future__ import annotations

from servegen.kube import Object, metadata
from servegen.values.deployment import Deployment

API = "monitoring.coreos.com/v1"


def build(deployment: Deployment, kind: str, endpoints: str) -> Object | None:
    """The monitor of `kind` with its list of `endpoints`, or None when Prometheus finds the pods otherwise.

    The operator adds the labels `namespace` and `pod`, which queries of the autoscaler select by.
    """
    monitoring = deployment.monitoring
    if monitoring.discovery != kind.lower():
        return None
    about = metadata.build(deployment)
    about["labels"] = dict(sorted((dict(monitoring.labels) | about["labels"]).items()))
    endpoint = {
        "port": metadata.PORT_NAME,
        "path": metadata.METRICS_PATH,
        "interval": f"{monitoring.interval}s",
    }
    return {
        "apiVersion": API,
        "kind": kind,
        "metadata": about,
        "spec": {"selector": {"matchLabels": metadata.selector(deployment)}, endpoints: [endpoint]},
    }
