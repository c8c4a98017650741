"""Why pods do not become ready: pure functions over what the API server says of them."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from servegen.errors import CrashError, DeployError, ImagePullError, RolloutError, UnschedulableError
from servegen.kube import Object
from servegen.kube.refusal import kind_of, one_line

_PULL = ("ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName")
_HOPELESS_PULL = re.compile(
    r"not found|manifest unknown|unauthorized|denied|forbidden|no match for platform|invalid|never",
    re.IGNORECASE,
)
_CONFIG = ("CreateContainerConfigError", "CreateContainerError", "RunContainerError")
FOREVER = math.inf


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that keeps a rollout from finishing."""

    key: str
    """Stays the same while the trouble is the same."""
    message: str
    hint: str
    patience: float = 0
    """Seconds it may last before the wait is given up; `FOREVER`: it may still pass."""
    pod: str = ""
    """Whose log tells more; empty when none does."""
    container: str = ""
    previous: bool = False
    """Whether the log is that of the container's run before this one."""
    error: type[DeployError] = RolloutError
    """The class that tells this cause."""


def of_deployment(deployment: Object) -> Iterator[Finding]:
    """Findings from the Deployment's own conditions."""
    name = deployment["metadata"]["name"]
    conditions = {one["type"]: one for one in deployment.get("status", {}).get("conditions") or ()}
    failure = conditions.get("ReplicaFailure", {})
    if failure.get("status") == "True":
        yield _no_pod(name, one_line(failure.get("message", "")))
    progress = conditions.get("Progressing", {})
    if progress.get("reason") == "ProgressDeadlineExceeded":
        seconds = deployment["spec"].get("progressDeadlineSeconds")
        yield Finding(
            key="deadline",
            message=f"Deployment {name} made no progress for {seconds} s",
            hint="kubectl describe shows its pods; a slow model needs a larger deploy.startup_seconds",
        )


def of_pods(pods: Iterable[Object], events: Mapping[str, Sequence[Object]]) -> list[Finding]:
    """Findings from the pods; `events` has those of each pod under its name. The surest come first."""
    found = [finding for pod in pods for finding in _of_pod(pod, events.get(pod["metadata"]["name"], ()))]
    return sorted(found, key=lambda finding: finding.patience)


def in_trouble(pod: Object) -> bool:
    """Whether the events of `pod` may explain what its status does not."""
    return pod["metadata"].get("deletionTimestamp") is None and not is_ready(pod)


def is_ready(pod: Object) -> bool:
    """Whether the pod answers requests."""
    return any(
        one["type"] == "Ready" and one["status"] == "True"
        for one in pod.get("status", {}).get("conditions") or ()
    )


def state(pod: Object) -> str:
    """The pod's state in two or three words, for progress."""
    if is_ready(pod):
        return "ready"
    status = pod.get("status", {})
    for one in _container_statuses(pod):
        waiting = one.get("state", {}).get("waiting", {})
        if waiting.get("reason"):
            return str(waiting["reason"])
    if any("running" in one.get("state", {}) for one in _container_statuses(pod)):
        return "running, not ready"
    return str(status.get("phase", "unknown")).lower()


def restarts(pods: Iterable[Object]) -> dict[str, int]:
    """Restarts of every container, under `pod/container`."""
    return {
        f"{pod['metadata']['name']}/{one['name']}": int(one.get("restartCount", 0))
        for pod in pods
        for one in _container_statuses(pod)
    }


def _no_pod(name: str, message: str) -> Finding:
    if "violates PodSecurity" in message:
        hint = "the namespace enforces a Pod Security level that these settings break"
    elif "webhook" in message or "ValidatingAdmissionPolicy" in message:
        hint = "an admission rule of the cluster refuses its pods; the message says why"
    elif "exceeded quota" in message:
        hint = "ask for more quota, or lower deploy.resources or the number of replicas"
    elif "serviceaccount" in message and "not found" in message:
        hint = "create the ServiceAccount, or apply all objects together"
    else:
        hint = "the message is the cluster's; its admission rules decide"
    # Just after the apply the ServiceAccount may be unknown for a moment.
    kind = kind_of(0, message)
    return Finding(
        key="no-pod",
        message=f"Deployment {name} makes no pod: {message}",
        hint=hint,
        patience=3,
        error=RolloutError if kind is DeployError else kind,
    )


def _of_pod(pod: Object, events: Sequence[Object]) -> Iterator[Finding]:
    if pod["metadata"].get("deletionTimestamp"):
        return
    name = pod["metadata"]["name"]
    status = pod.get("status", {})
    if status.get("phase") == "Failed" and status.get("reason"):
        reason = f"{status['reason']}: {one_line(status.get('message', ''))}"
        yield Finding(
            key=f"{name}/failed",
            message=f"pod {name} failed, {reason}",
            hint="the node lacks what the pod used; see deploy.resources",
            patience=30,
        )
    for one in status.get("conditions") or ():
        if (
            one["type"] == "PodScheduled"
            and one["status"] == "False"
            and one.get("reason") == "Unschedulable"
        ):
            yield Finding(
                key="unschedulable",
                message=f"pod {name} fits on no node: {one_line(one.get('message', ''))}",
                hint="lower deploy.resources or deploy.autoscaling.min_replicas, or add nodes",
                # A cluster autoscaler may be adding a node.
                patience=60,
                error=UnschedulableError,
            )
    specs = {one["name"]: one for one in _containers(pod)}
    for one in _container_statuses(pod):
        yield from _of_container(_Seen(pod=name, spec=specs.get(one["name"], {}), status=one, events=events))
    yield from _of_volumes(pod, events)


@dataclass(frozen=True, kw_only=True)
class _Seen:
    """One container: what it should be, what it is, and what happened to its pod."""

    pod: str
    spec: Object
    status: Object
    events: Sequence[Object]

    @property
    def name(self) -> str:
        return str(self.status["name"])

    @property
    def ended(self) -> Object:
        """How the container ended, this time or the last."""
        now, last = self.status.get("state", {}), self.status.get("lastState", {})
        return dict(now.get("terminated") or last.get("terminated") or {})

    def finding(
        self,
        kind: str,
        message: str,
        hint: str,
        *,
        patience: float = 0,
        error: type[DeployError] = CrashError,
    ) -> Finding:
        """A finding whose reason the container's log may tell."""
        return Finding(
            key=f"{self.pod}/{kind}",
            message=f"pod {self.pod} {message}",
            hint=hint,
            patience=patience,
            pod=self.pod,
            container=self.name,
            previous=bool(self.ended) and "terminated" not in self.status.get("state", {}),
            error=error,
        )


def _of_container(seen: _Seen) -> Iterator[Finding]:
    state_now = seen.status.get("state", {})
    waiting = state_now.get("waiting", {})
    reason, detail = waiting.get("reason", ""), one_line(waiting.get("message", ""))
    if reason in _PULL:
        yield _pull(seen, reason, detail)
    elif reason in _CONFIG and "sync" not in detail:
        yield _config(seen, reason, detail)
    elif seen.ended:
        yield from _of_ended(seen, reason)
    elif "running" in state_now and not seen.status.get("ready"):
        probe = "Readiness" if seen.status.get("started") else "Startup"
        if message := _last(seen.events, f"{probe} probe failed"):
            hint = (
                "the log says what the server waits for; a slow model needs a larger deploy.startup_seconds"
            )
            yield seen.finding(
                probe, f"runs but is not ready: {message}", hint, patience=FOREVER, error=RolloutError
            )


def _of_ended(seen: _Seen, reason: str) -> Iterator[Finding]:
    if seen.ended.get("reason") == "OOMKilled":
        limit = seen.spec.get("resources", {}).get("limits", {}).get("memory", "unknown")
        message = f"was killed: container {seen.name} used more than its {limit} of memory (OOMKilled)"
        yield seen.finding("oom", message, "raise deploy.resources.memory")
        return
    for probe, setting in (("startup", "startup_seconds"), ("liveness", "resources.cpu")):
        if _last(seen.events, f"failed {probe} probe"):
            yield _probe(seen, probe, setting)
            return
    code, again = seen.ended.get("exitCode"), int(seen.status.get("restartCount", 0))
    if reason == "CrashLoopBackOff" or (code and again >= 2):
        last_words = one_line(seen.ended.get("message", ""))
        times = f"{again} {'restart' if again == 1 else 'restarts'}"
        yield seen.finding(
            "crash",
            f"crashes: container {seen.name} ended with exit code {code} ({times})"
            + (f": {last_words}" if last_words else ""),
            "the last lines of its log are above; servegen verify runs the image on this machine",
        )


def _pull(seen: _Seen, reason: str, detail: str) -> Finding:
    image = seen.spec.get("image", "the image")
    hopeless = bool(_HOPELESS_PULL.search(detail)) or reason in ("ErrImageNeverPull", "InvalidImageName")
    return Finding(
        key=f"{seen.pod}/pull",
        message=f"pod {seen.pod} cannot pull {image} ({reason}): {detail}",
        hint="was it pushed, does the node reach the registry, does deploy.image_pull_secrets name a login?",
        # A registry that is away for a moment is asked again after 10 and 20 s.
        patience=0 if hopeless else 20,
        error=ImagePullError,
    )


def _config(seen: _Seen, reason: str, detail: str) -> Finding:
    if reason == "RunContainerError" or "exec" in detail:
        hint = "the image's entrypoint does not run here: was it built for the node's platform?"
    else:
        hint = "create what is missing, or correct deploy.secret_env and deploy.env_from_secrets"
    return Finding(
        key=f"{seen.pod}/config", message=f"pod {seen.pod} cannot start ({reason}): {detail}", hint=hint
    )


def _probe(seen: _Seen, probe: str, setting: str) -> Finding:
    settings = seen.spec.get(f"{probe}Probe", {})
    budget = int(settings.get("periodSeconds", 10)) * int(settings.get("failureThreshold", 3))
    answer = _last(seen.events, f"{probe.capitalize()} probe failed") or "no answer"
    return seen.finding(
        probe,
        f"failed its {probe} probe for {budget} s and was restarted: {answer}",
        f"the model needs more: raise deploy.{setting}; the last lines of its log are above",
    )


def _of_volumes(pod: Object, events: Sequence[Object]) -> Iterator[Finding]:
    name = pod["metadata"]["name"]
    waits = any(
        one.get("state", {}).get("waiting", {}).get("reason") in ("ContainerCreating", "PodInitializing")
        for one in _container_statuses(pod)
    )
    trouble = [one for one in events if one.get("reason") in ("FailedMount", "FailedCreatePodSandBox")]
    if waits and trouble:
        yield Finding(
            key=f"{name}/volume",
            message=f"pod {name} is not created: {one_line(trouble[-1].get('message', ''))}",
            hint="the message is the node's: a Secret, ConfigMap or network it needs is missing",
            patience=FOREVER,
        )


def _last(events: Sequence[Object], text: str) -> str:
    """The newest event message that contains `text`; events come oldest first."""
    for one in reversed(events):
        if text in one.get("message", ""):
            return one_line(one["message"])
    return ""


def _containers(pod: Object) -> list[Object]:
    return [*pod["spec"].get("initContainers", ()), *pod["spec"].get("containers", ())]


def _container_statuses(pod: Object) -> list[Object]:
    status = pod.get("status", {})
    return [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]
