"""Delivers to a cluster: asks first, applies, waits until the pods answer, and remembers what answered."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from servegen.config import Config, Environment
from servegen.errors import ClusterUnreachableError, DeployError, ForbiddenError, OvertakenError, StoppedError
from servegen.kube import (
    Object,
    apply,
    doubts,
    metadata,
    objects,
    operators,
    prune,
    release,
    rollout,
    traffic,
    versions,
)
from servegen.kube import diff as differences
from servegen.kube.client import Cluster
from servegen.kube.options import ClusterOptions
from servegen.kube.refusal import RefusalError
from servegen.progress import Progress
from servegen.targets import Target
from servegen.values.delivery import Change, Delivery, Released
from servegen.values.deployment import Deployment, KubeVersion

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


@dataclass(frozen=True, kw_only=True)
class _Asked:
    """What the cluster said before anything was written."""

    cluster: Cluster
    plan: apply.Preflight
    content: tuple[Object, ...]
    """Its objects as a release: without the share of a canary, which is no part of one."""
    instance: str | None
    inventory: release.Inventory
    leftover: tuple[Object, ...]
    """Our objects of an earlier version."""


def options(given: Mapping[str, Any], config: Config, environment: Environment) -> ClusterOptions:
    """How to reach the cluster that the options of a command or `deploy` in servegen.yaml name."""
    return ClusterOptions(
        kubeconfig=environment.kubeconfig,
        context=given.get("context"),
        namespace=given.get("namespace") or config.deploy.namespace,
        timeout_seconds=given.get("timeout_seconds"),
        force_conflicts=given.get("force_conflicts", False),
        adopt=given.get("adopt", False),
        rollback_on_failure=given.get("rollback_on_failure", False),
    )


class Kubernetes:
    """One cluster; the namespace is that of the options, else the deployment's, else the context's."""

    layered = False

    @classmethod
    def of(
        cls,
        given: Mapping[str, Any],
        config: Config,
        environment: Environment,
        progress: Progress,  # noqa: ARG003 (the protocol's signature)
    ) -> Kubernetes:
        """The cluster of CONTEXT; its namespace is that of the options, else of `config`."""
        return cls(options=options(given, config, environment))

    def __init__(self, *, options: ClusterOptions) -> None:
        self._options = options
        self._cluster = Cluster.connect(options)
        # Asked once, as one target may deliver hundreds of deployments.
        self._version: KubeVersion | None = None
        self._in_sight: set[str] = set()

    def within(self, config: Config) -> Kubernetes:  # noqa: ARG002 (the protocol's signature)
        """The same: a deployment says its namespace."""
        return self

    @property
    def cluster(self) -> Cluster:
        """The cluster, in the namespace of the options, else the context's."""
        return self._cluster

    def version(self) -> KubeVersion:
        """What to render for when nothing else is asked: the cluster's version, or the newest known one."""
        if self._version is None:
            self._version = versions.of_server(self._cluster.version())
        return self._version

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

    def released(self, deployment: Deployment) -> Released:
        """The last release that answered; where none may be read, the live Deployment."""
        cluster = self._cluster
        if self._options.namespace is None and deployment.namespace:
            cluster = cluster.within(deployment.namespace)
        apply.require_namespace(cluster)
        known = release.read(cluster, deployment.instance)
        if known.hidden:
            live = cluster.get("apps/v1", "Deployment", deployment.instance)
            found = [live] if live else []
        else:
            newest = known.releases[-1].objects if known.releases else ()
            found = [one for one in newest if one["kind"] == "Deployment"]
        notes = [one["metadata"].get("annotations", {}) for one in found]
        return Released(pin=next((pin for one in notes if (pin := one.get(f"{metadata.PREFIX}pin"))), None))

    def diff(self, deployment: Deployment) -> str:
        """What `deliver` would change as a unified diff; empty when nothing would."""
        return self.diff_objects(self._objects(deployment))

    def close(self) -> None:
        """Nothing: connections end with the process."""

    def diff_objects(self, wanted: Sequence[Object]) -> str:
        """What `deliver_objects` would change."""
        asked = self._ask(wanted)
        return differences.diff(asked.plan, asked.leftover)

    def releases(self, instance: str) -> release.Inventory:
        """What the cluster remembers of `instance`."""
        apply.require_namespace(self._cluster)
        return release.read(self._cluster, instance)

    def deliver_objects(
        self, wanted: Sequence[Object], *, progress: Progress, whole: bool = True
    ) -> Delivery:
        """Apply any objects, and wait for the pods of the Deployment among them.

        With a Deployment the `whole` of them is a release: what else is left of its instance is removed.
        """
        where = self._within(wanted)
        progress.step(f"asking the cluster of context {where.context}, namespace {where.namespace}")
        asked = self._ask(wanted, whole=whole)
        cluster, plan = asked.cluster, asked.plan
        for warning in plan.warnings:
            progress.warn(warning)
        if asked.content != plan.objects:
            progress.step("what runs beside it goes on getting its share of the requests")
        workloads = _workloads(plan)
        if workloads and cluster.namespace not in self._in_sight:
            _require_sight(cluster)
            self._in_sight.add(cluster.namespace)
        try:
            changes, applied, ready = self._roll_out_or_back(asked, progress)
            changes += _remove(asked, progress)
            number = _remember(asked, progress)
        except KeyboardInterrupt as exc:
            msg = "interrupted: what was applied stays in the cluster, and the rollout goes on"
            ways = [f"see it with: {rollout.status_command(one)}" for one in workloads]
            raise StoppedError(msg, hint="; ".join((*ways, "deploy again to finish it"))) from exc
        found = doubts.about(cluster, tuple(applied.values()))
        if workloads and not ready.replicas:
            found += (_ASLEEP,)
        for warning in found:
            progress.warn(warning)
        service = next((one for one in applied.values() if one["kind"] == "Service"), None)
        name = service["metadata"]["name"] if service else None
        return Delivery(
            changes=changes,
            warnings=(*plan.warnings, *found),
            namespace=cluster.namespace,
            name=name,
            address=f"http://{name}.{cluster.namespace}.svc" if name else None,
            cluster_ip=service["spec"].get("clusterIP") if service else None,
            ready=ready.pods,
            replicas=ready.replicas,
            release=number,
        )

    def _ask(self, wanted: Sequence[Object], *, whole: bool = True) -> _Asked:
        options, cluster = self._options, self._within(wanted)
        there = traffic.live(cluster, wanted)
        plan = apply.preflight(
            cluster,
            traffic.keep(wanted, there),
            force=options.force_conflicts,
            adopt=options.adopt,
            known=there,
        )
        instance, inventory = release.instance_of(plan.objects) if whole else None, release.Inventory()
        leftover: tuple[Object, ...] = ()
        content = traffic.whole(plan.objects)
        if instance is not None:
            inventory = release.read(cluster, instance)
            newest = inventory.releases[-1:]
            # Its own deploy removed what was left; a fleet that did not change should not ask for it again.
            settled = newest and release.same(newest[0], content) and apply.changes_nothing(plan)
            if not settled:
                replaced = {apply.key(one) for one in plan.stale}
                found = prune.leftover(cluster, instance, inventory, plan.objects)
                leftover = tuple(one for one in found if apply.key(one) not in replaced)
        return _Asked(
            cluster=cluster,
            plan=plan,
            content=content,
            instance=instance,
            inventory=inventory,
            leftover=leftover,
        )

    def _roll_out_or_back(
        self, asked: _Asked, progress: Progress
    ) -> tuple[tuple[Change, ...], dict[str, Object], rollout.Ready]:
        try:
            return self._roll_out(asked, progress)
        except (ClusterUnreachableError, OvertakenError):
            # Going back would undo what somebody else deployed meanwhile.
            raise
        except DeployError as exc:
            if after := self._after_failure(asked, progress):
                exc.details += "\n" * bool(exc.details) + after
            raise

    def _roll_out(
        self, asked: _Asked, progress: Progress
    ) -> tuple[tuple[Change, ...], dict[str, Object], rollout.Ready]:
        changes, applied = apply.apply(asked.cluster, asked.plan, force=self._options.force_conflicts)
        for change in changes:
            progress.step(f"{change.kind} {change.name} {change.action}")
        ready = rollout.Ready(pods=0, replicas=0)
        for one in _workloads(asked.plan):
            ready = rollout.wait(
                asked.cluster,
                applied[apply.key(one)],
                at_least=_smallest(applied.values()),
                timeout_seconds=self._options.timeout_seconds,
                progress=progress,
            )
        return changes, applied, ready

    def _after_failure(self, asked: _Asked, progress: Progress) -> str:
        """Bring the newest release back if that is wanted; what came of it, in one line."""
        good = asked.inventory.releases[-1] if asked.inventory.releases else None
        if good is None:
            nothing = "rolled back: no, there is no earlier release here"
            return nothing if self._options.rollback_on_failure else ""
        if release.same(good, asked.content):
            return f"rolled back: no, this is release {good.number}, which answered before"
        if not self._options.rollback_on_failure:
            where = f"--namespace {asked.cluster.namespace}"
            return (
                f"rolled back: no; to go back: servegen rollback {asked.instance} {where} --to {good.number}"
            )
        progress.step(f"going back to release {good.number}, model version {good.version}")
        try:
            back = self._ask(good.objects)
            self._roll_out(back, progress)
            _remove(back, progress)
        except DeployError as exc:
            return f"rolled back: no, release {good.number} failed, too: {exc}"
        return f"rolled back: release {good.number} (model version {good.version}) answers again"

    def _within(self, wanted: Sequence[Object]) -> Cluster:
        named = {one["metadata"]["namespace"] for one in wanted if one["metadata"].get("namespace")}
        if self._options.namespace is None and len(named) == 1:
            return self._cluster.within(named.pop())
        return self._cluster

    def _objects(self, deployment: Deployment) -> tuple[Object, ...]:
        server = self.version()
        if deployment.kube_version > server:
            msg = f"the objects are written for Kubernetes {deployment.kube_version}, the cluster is {server}"
            raise DeployError(msg, hint=f"set deploy.kube_version to {server}")
        return objects.build(deployment)


def _workloads(plan: apply.Preflight) -> list[Object]:
    return [one for one in plan.objects if one["kind"] == "Deployment"]


def _remove(asked: _Asked, progress: Progress) -> tuple[Change, ...]:
    """Delete what an earlier version left, now that nobody needs it."""
    changes = prune.delete(asked.cluster, asked.leftover)
    for change in changes:
        progress.step(f"{change.kind} {change.name} {change.action}: an earlier version left it")
    return changes


def _remember(asked: _Asked, progress: Progress) -> int | None:
    """Record the release that answers; its number. A login that may not is a warning: the pods do answer."""
    if asked.instance is None:
        return None
    now = datetime.datetime.now(datetime.timezone.utc)
    after = release.record(
        asked.inventory, asked.content, time=now.isoformat(timespec="seconds").replace("+00:00", "Z")
    )
    try:
        if after != asked.inventory and not asked.inventory.hidden:
            after = release.write(asked.cluster, asked.instance, after)
    except RefusalError as exc:
        if exc.status != 403:
            raise
    else:
        if not asked.inventory.hidden:
            return after.releases[-1].number if after.releases else None
    progress.warn(
        "the login may not get and patch ConfigMaps, so no release is recorded and none can be rolled back to"
    )
    return None


def _require_sight(cluster: Cluster) -> None:
    denied = [
        f"{verb} {kind.lower()}s{'.apps' if version == 'apps/v1' else ''}"
        for verb, version, kind in _LOOKED_AT
        if not cluster.may(verb, version, kind)
    ]
    if denied:
        msg = f"nobody could see whether pods come: context {cluster.context} may not {', '.join(denied)}"
        raise ForbiddenError(
            msg, hint=f"ask for a Role in {cluster.namespace} that allows: {', '.join(denied)}"
        )


def _smallest(applied: Iterable[Object]) -> int:
    found = [
        int(one["spec"][field]) for one in applied for kind, field in _SMALLEST.items() if one["kind"] == kind
    ]
    return max(found, default=1)


TARGET: type[Target] = Kubernetes
