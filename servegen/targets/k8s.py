"""Delivers to a cluster: asks first, applies, and waits until the pods answer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from servegen.errors import DeployError, StoppedError
from servegen.kube import Object, apply, metadata, objects, operators, rollout
from servegen.kube import diff as differences
from servegen.kube.client import Cluster
from servegen.kube.options import ClusterOptions
from servegen.progress import Progress
from servegen.targets import Target
from servegen.values.delivery import Delivery
from servegen.values.deployment import Deployment, KubeVersion

_METRICS = "metrics.k8s.io/v1beta1"
_CUSTOM_METRICS = ("custom.metrics.k8s.io/v1beta2", "custom.metrics.k8s.io/v1beta1")
_ASLEEP = "the model is scaled to zero: nobody has seen its new pods run, the first request starts one"
_LOOKED_AT = (
    ("list", "apps/v1", "Deployment"),
    ("watch", "apps/v1", "Deployment"),
    ("list", "apps/v1", "ReplicaSet"),
    ("list", "v1", "Pod"),
    ("watch", "v1", "Pod"),
)
"""What waiting for pods asks for."""
_SMALLEST = {"HorizontalPodAutoscaler": "minReplicas", "ScaledObject": "minReplicaCount"}


class Kubernetes:
    """One cluster; the namespace is that of the options, else the deployment's, else the context's."""

    def __init__(self, *, options: ClusterOptions) -> None:
        self._options = options
        self._cluster = Cluster.connect(options)

    def version(self) -> KubeVersion:
        """The cluster's version: what to render for when nothing else is asked."""
        return self._cluster.version()

    def check(self, deployment: Deployment) -> None:
        """Refuse a cluster that is older than the objects or lacks their types, and a wrong namespace."""
        wanted = self._objects(deployment)
        cluster = self._within(wanted)
        apply.require_namespace(cluster)
        for one in wanted:
            operators.require(cluster, one)

    def deliver(self, deployment: Deployment, *, progress: Progress) -> Delivery:
        """Apply the deployment's objects and wait for its pods; raises DeployError or a subclass."""
        return self.deliver_objects(self._objects(deployment), progress=progress)

    def diff(self, deployment: Deployment) -> str:
        """What `deliver` would change as a unified diff; empty when nothing would."""
        wanted = self._objects(deployment)
        return differences.diff(
            apply.preflight(self._within(wanted), wanted, force=self._options.force_conflicts)
        )

    def deliver_objects(self, wanted: Sequence[Object], *, progress: Progress) -> Delivery:
        """Apply any objects, and wait for the pods of the Deployment among them."""
        cluster, force = self._within(wanted), self._options.force_conflicts
        progress.step(f"asking the cluster of context {cluster.context}, namespace {cluster.namespace}")
        plan = apply.preflight(cluster, wanted, force=force)
        for warning in plan.warnings:
            progress.warn(warning)
        workloads = [one for one in plan.objects if one["kind"] == "Deployment"]
        if workloads:
            _require_sight(cluster)
        try:
            changes, applied = apply.apply(cluster, plan, force=force)
            for change in changes:
                progress.step(f"{change.kind} {change.name} {change.action}")
            ready = rollout.Ready(pods=0, replicas=0)
            for one in workloads:
                ready = rollout.wait(
                    cluster,
                    applied[apply.key(one)],
                    at_least=_smallest(applied.values()),
                    timeout_seconds=self._options.timeout_seconds,
                    progress=progress,
                )
        except KeyboardInterrupt as exc:
            msg = "interrupted: what was applied stays in the cluster, and the rollout goes on"
            ways = [f"see it with: {rollout.status_command(one)}" for one in workloads]
            raise StoppedError(msg, hint="; ".join((*ways, "deploy again to finish it"))) from exc
        warnings = (*plan.warnings, *self._warnings(applied.values(), progress))
        if workloads and not ready.replicas:
            warnings = (*warnings, _warn(_ASLEEP, progress))
        service = next((one for one in applied.values() if one["kind"] == "Service"), None)
        name = service["metadata"]["name"] if service else None
        return Delivery(
            changes=changes,
            warnings=warnings,
            namespace=cluster.namespace,
            name=name,
            address=f"http://{name}.{cluster.namespace}.svc" if name else None,
            cluster_ip=service["spec"].get("clusterIP") if service else None,
            ready=ready.pods,
            replicas=ready.replicas,
        )

    def _within(self, wanted: Sequence[Object]) -> Cluster:
        named = {one["metadata"]["namespace"] for one in wanted if one["metadata"].get("namespace")}
        if self._options.namespace is None and len(named) == 1:
            return self._cluster.within(named.pop())
        return self._cluster

    def _objects(self, deployment: Deployment) -> tuple[Object, ...]:
        server = self._cluster.version()
        if deployment.kube_version > server:
            msg = f"the objects are written for Kubernetes {deployment.kube_version}, the cluster is {server}"
            raise DeployError(msg, hint=f"set deploy.kube_version to {server}")
        return objects.build(deployment)

    def _warnings(self, applied: Iterable[Object], progress: Progress) -> tuple[str, ...]:
        scalers = [one for one in applied if one["kind"] == "HorizontalPodAutoscaler"]
        kinds = {metric["type"] for one in scalers for metric in one["spec"].get("metrics", ())}
        missing = []
        if scalers and not self._cluster.serves(_METRICS):
            missing.append(
                f"the cluster serves no {_METRICS}: without metrics-server the autoscaler cannot scale"
            )
        if "Pods" in kinds and not any(self._cluster.serves(one) for one in _CUSTOM_METRICS):
            missing.append(
                f"the cluster serves no {_CUSTOM_METRICS[0]}: without an adapter that knows "
                f"{metadata.IN_FLIGHT} the autoscaler adds replicas on CPU and never removes one"
            )
        return tuple(_warn(text, progress) for text in missing)


def _warn(text: str, progress: Progress) -> str:
    progress.warn(text)
    return text


def _require_sight(cluster: Cluster) -> None:
    denied = [
        f"{verb} {kind.lower()}s{'.apps' if version == 'apps/v1' else ''}"
        for verb, version, kind in _LOOKED_AT
        if not cluster.may(verb, version, kind)
    ]
    if denied:
        msg = f"nobody could see whether pods come: context {cluster.context} may not {', '.join(denied)}"
        raise DeployError(msg, hint=f"ask for a Role in {cluster.namespace} that allows: {', '.join(denied)}")


def _smallest(applied: Iterable[Object]) -> int:
    found = [
        int(one["spec"][field]) for one in applied for kind, field in _SMALLEST.items() if one["kind"] == kind
    ]
    return max(found, default=1)


TARGET: type[Target] = Kubernetes
