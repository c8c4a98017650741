"""Waits until the pods of a Deployment answer, or says why they do not."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

from servegen.errors import ClusterUnreachableError, DeployError, OvertakenError, RolloutError
from servegen.kube import Object, reasons
from servegen.kube.client import Cluster
from servegen.kube.reasons import Finding
from servegen.kube.watching import Outage, Watched, passing
from servegen.progress import Progress

LOG_LINES = 20
_TICK = 1.0
"""Longest time between two looks, for rules that depend on time alone."""
_EVENTS_SECONDS = 2.0
"""Shortest time between two questions for a pod's events."""
_QUIET_SECONDS = 10.0
_OUTAGE_SECONDS = 3.0
"""How long the cluster may be away before somebody has to know."""
_REVISION = "deployment.kubernetes.io/revision"


@dataclass(frozen=True, kw_only=True)
class Ready:
    """Pods that answer and pods that are wanted."""

    pods: int
    replicas: int


def wait(
    cluster: Cluster,
    deployment: Object,
    *,
    at_least: int,
    timeout_seconds: int | None,
    progress: Progress,
) -> Ready:
    """Return once all pods of the applied `deployment` are new and ready; raises RolloutError, or the class
    that tells the cause, if not.

    A cluster that goes away is waited for, too, and is a ClusterUnreachableError at the end of the time.
    `at_least` is the autoscaler's minimum: a Deployment without `replicas` is born with one pod.
    """
    name = deployment["metadata"]["name"]
    seconds = timeout_seconds or deployment["spec"]["progressDeadlineSeconds"] + 30
    wake = threading.Event()
    # Everything is asked again a second later, so no question may outlast the deadline.
    asking = cluster.hasty()
    rollout = _Rollout(cluster=asking, applied=deployment, at_least=at_least, progress=progress)
    if ready := rollout.at_once():
        return ready
    with ExitStack() as stack:
        deployments = stack.enter_context(Watched(asking, "apps/v1", "Deployment", wake=wake, name=name))
        pods = stack.enter_context(Watched(asking, "v1", "Pod", wake=wake, labels=selector(deployment)))
        deadline = time.monotonic() + seconds
        while True:
            wake.clear()
            found, around = deployments.objects(), pods.objects()
            outage = deployments.outage or pods.outage
            # What was seen before an outage says nothing about now.
            if found is not None and around is not None and outage is None:
                if not found:
                    msg = f"Deployment {name} was deleted while its pods were awaited"
                    raise OvertakenError(
                        msg, hint="somebody else works on it; deploy again when they are done"
                    )
                rollout.say_outage(None)
                try:
                    if ready := rollout.look(found[0], around):
                        return ready
                except DeployError as exc:
                    if not passing(exc):
                        raise
                    outage = Outage(since=time.monotonic(), cause=exc)
            rollout.say_outage(outage)
            if time.monotonic() >= deadline:
                # A server that fell silent is noticed by the watches only after a while.
                outage = outage or _silent(asking, name)
                raise (
                    rollout.cut_off(outage)
                    if outage
                    else rollout.expired((found or [deployment])[0], seconds)
                )
            wake.wait(_TICK)


def _silent(asking: Cluster, name: str) -> Outage | None:
    """An outage when the cluster does not answer right now."""
    try:
        asking.get("apps/v1", "Deployment", name)
    except DeployError as exc:
        return Outage(since=time.monotonic(), cause=exc) if passing(exc) else None
    return None


def selector(deployment: Object) -> str:
    """What chooses the pods and ReplicaSets of `deployment`, as a query."""
    return ",".join(f"{key}={value}" for key, value in deployment["spec"]["selector"]["matchLabels"].items())


def status_command(deployment: Object) -> str:
    """What a user types to see how the rollout of `deployment` goes on."""
    metadata = deployment["metadata"]
    return f"kubectl --namespace {metadata['namespace']} rollout status deployment/{metadata['name']}"


@dataclass(kw_only=True)
class _Rollout:
    """What has been seen since the apply."""

    cluster: Cluster
    applied: Object
    at_least: int
    progress: Progress
    _hash: tuple[str, str] = ("", "")
    """Revision of the Deployment and the pod-template-hash that belongs to it."""
    _since: dict[str, float] = field(default_factory=dict)
    """First sight of each finding."""
    _restarts: dict[str, int] = field(default_factory=dict)
    _restarted: float = -math.inf
    _events: dict[str, tuple[float, list[Object]]] = field(default_factory=dict)
    _said: tuple[str, dict[str, str]] | None = None
    _findings: list[Finding] = field(default_factory=list)
    _away: bool = False

    def at_once(self) -> Ready | None:
        """Ready when the apply changed nothing and all was well already: then nothing need be watched."""
        if not self._is_settled(self.applied):
            return None
        try:
            pods = self.cluster.list("v1", "Pod", labels=selector(self.applied))["items"]
            return self.look(self.applied, pods)
        except DeployError as exc:
            if not passing(exc):
                raise
            return None

    def look(self, deployment: Object, pods: Sequence[Object]) -> Ready | None:
        """Ready when all is well, None to go on waiting; raises RolloutError when waiting is pointless."""
        status, generation = deployment.get("status", {}), self.applied["metadata"]["generation"]
        newer = deployment["metadata"]["generation"] > generation
        if newer and deployment["spec"]["template"] != self.applied["spec"]["template"]:
            msg = f"Deployment {deployment['metadata']['name']} was changed by somebody else meanwhile"
            raise OvertakenError(
                msg, hint="two deploys at once? see whose pods run, and deploy again if need be"
            )
        if status.get("observedGeneration", 0) < generation:
            return None
        ours = self._current(deployment, pods)
        self._count_restarts(ours)
        wanted = self._wanted(deployment)
        ready = sum(reasons.is_ready(pod) for pod in ours)
        self._say(deployment["metadata"]["name"], ready, wanted, ours)
        settled = self._is_settled(deployment)
        # Deployment and pods arrive over two watches; only where both agree, restarts are known too.
        if settled and ready >= wanted:
            self._findings = []
            # Without this a container that ends at once counts as available between its restarts.
            quiet = max(_QUIET_SECONDS, deployment["spec"].get("minReadySeconds", 0))
            return (
                Ready(pods=wanted, replicas=wanted) if time.monotonic() - self._restarted >= quiet else None
            )
        self._findings = [*reasons.of_deployment(deployment), *reasons.of_pods(ours, self._pod_events(ours))]
        self._give_up(deployment)
        return None

    def expired(self, deployment: Object, seconds: int) -> DeployError:
        """The error when the time is up: the likeliest reason, or how far the rollout came."""
        name = deployment["metadata"]["name"]
        if self._findings:
            return self._error(self._findings[0], deployment, prefix=f"not ready after {seconds} s: ")
        status = deployment.get("status", {})
        wanted = self._wanted(deployment)
        available = status.get("availableReplicas", 0)
        msg = f"not ready after {seconds} s: {available} of {wanted} pods of {name} are available"
        return RolloutError(
            msg,
            hint="a slow model needs a larger deploy.startup_seconds, or wait longer with --timeout",
            details=_undo(deployment),
        )

    def say_outage(self, outage: Outage | None) -> None:
        """Tell once that the cluster is away, and once that it is back."""
        if outage is None and self._away:
            self.progress.step("the cluster answers again")
            self._away = False
        elif outage and not self._away and time.monotonic() - outage.since >= _OUTAGE_SECONDS:
            self.progress.step(f"the cluster does not answer, waiting for it: {outage.cause}")
            self._away = True

    def cut_off(self, outage: Outage) -> ClusterUnreachableError:
        """The error when the time is up and nobody knows how the rollout goes."""
        name = self.applied["metadata"]["name"]
        msg = f"the cluster stopped answering before the pods of {name} were ready: {outage.cause}"
        hint = f"the objects are applied; when it is back: {status_command(self.applied)}"
        return ClusterUnreachableError(msg, hint=hint)

    def _is_settled(self, deployment: Object) -> bool:
        """Whether the Deployment says that all its pods are new and available."""
        status, wanted = deployment.get("status", {}), self._wanted(deployment)
        counts = [status.get(name, 0) for name in ("replicas", "updatedReplicas", "availableReplicas")]
        observed = status.get("observedGeneration", 0) >= self.applied["metadata"]["generation"]
        return observed and counts == [wanted] * len(counts)

    def _wanted(self, deployment: Object) -> int:
        return max(self.at_least, int(deployment["spec"].get("replicas", 1)))

    def _current(self, deployment: Object, pods: Sequence[Object]) -> list[Object]:
        """The pods of the newest ReplicaSet; others are on their way out."""
        revision = deployment["metadata"].get("annotations", {}).get(_REVISION, "")
        if self._hash[0] != revision or not self._hash[1]:
            self._hash = (revision, self._find_hash(deployment, revision))
        return [pod for pod in pods if pod["metadata"]["labels"].get("pod-template-hash") == self._hash[1]]

    def _find_hash(self, deployment: Object, revision: str) -> str:
        labels = selector(deployment)
        for one in self.cluster.list("apps/v1", "ReplicaSet", labels=labels)["items"]:
            owners = [owner["uid"] for owner in one["metadata"].get("ownerReferences", ())]
            if (
                deployment["metadata"]["uid"] in owners
                and one["metadata"].get("annotations", {}).get(_REVISION) == revision
            ):
                return str(one["metadata"]["labels"]["pod-template-hash"])
        return ""

    def _count_restarts(self, pods: Sequence[Object]) -> None:
        now = reasons.restarts(pods)
        if any(count > self._restarts.get(key, 0) for key, count in now.items()):
            self._restarted = time.monotonic()
        self._restarts = now

    def _pod_events(self, pods: Iterable[Object]) -> dict[str, list[Object]]:
        now = time.monotonic()
        for pod in pods:
            name = pod["metadata"]["name"]
            asked, _ = self._events.get(name, (-_EVENTS_SECONDS, []))
            if reasons.in_trouble(pod) and now - asked >= _EVENTS_SECONDS:
                self._events[name] = (now, self._ask_events(pod["metadata"]["uid"]))
        return {name: events for name, (_, events) in self._events.items()}

    def _ask_events(self, uid: str) -> list[Object]:
        try:
            found: list[Object] = self.cluster.list("v1", "Event", fields=f"involvedObject.uid={uid}")[
                "items"
            ]
        except DeployError as exc:
            if passing(exc):
                raise
            # Events only explain; without the right to read them the status has to do.
            return []
        return sorted(found, key=lambda one: str(one.get("lastTimestamp") or one.get("eventTime") or ""))

    def _say(self, name: str, ready: int, wanted: int, pods: Sequence[Object]) -> None:
        states = {pod["metadata"]["name"]: reasons.state(pod) for pod in pods if not reasons.is_ready(pod)}
        title = f"{name}: {ready} of {wanted} pods ready"
        if (title, states) != self._said:
            self.progress.awaiting(title, states)
            self._said = (title, states)

    def _give_up(self, deployment: Object) -> None:
        now = time.monotonic()
        self._since = {one.key: self._since.get(one.key, now) for one in self._findings}
        for one in self._findings:
            if now - self._since[one.key] >= one.patience:
                # Pods explain more than the Deployment's own deadline does.
                better = [other for other in self._findings if other.pod] if one.key == "deadline" else []
                raise self._error(better[0] if better else one, deployment)

    def _error(self, finding: Finding, deployment: Object, prefix: str = "") -> DeployError:
        details = "\n".join(text for text in (self._log(finding), _undo(deployment)) if text)
        return finding.error(f"{prefix}{finding.message}", hint=finding.hint, details=details)

    def _log(self, finding: Finding) -> str:
        if not finding.pod:
            return ""
        title = f"last lines of pod {finding.pod}, container {finding.container}"
        for previous in dict.fromkeys((finding.previous, False)):
            try:
                text = self.cluster.log(
                    finding.pod, finding.container, previous=previous, lines=LOG_LINES
                ).rstrip()
            except DeployError:
                continue
            return f"{title}:\n{text}" if text else f"{title}: the log is empty"
        return f"{title}: the log is gone with the container"


def _undo(deployment: Object) -> str:
    """What else runs, where something else did before."""
    if deployment["metadata"].get("annotations", {}).get(_REVISION, "1") == "1":
        return ""
    return "pods of the previous version keep running"
