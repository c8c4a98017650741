"""A new version beside the one that serves: first a share of the requests, then all or none.

The new version runs as an instance of its own, `NAME-canary` or `NAME-next`. Its promotion gives its image
and settings to the instance NAME, so that afterwards everything is as after a plain deploy.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from servegen.deployed import Removal, instance
from servegen.errors import (
    AbsentKindError,
    CanaryError,
    ConfigError,
    DeployError,
    NotDeployedError,
    RolloutError,
    StoppedError,
    TrafficError,
    VerifyError,
)
from servegen.job import Job
from servegen.kube import Object, analysis, candidate, lifting, objects, prune, samples, traffic
from servegen.kube.client import Cluster
from servegen.kube.forward import Pods, listening
from servegen.kube.options import ClusterOptions
from servegen.pipeline import image_of
from servegen.planning.deployment import draft, plan
from servegen.planning.tracks import aside
from servegen.progress import Progress
from servegen.targets.k8s import Kubernetes
from servegen.values.analysis import Counts, Limits, Verdict
from servegen.values.delivery import Delivery
from servegen.values.deployment import Deployment
from servegen.verify.ask import ask

PAUSE_SECONDS = 5.0
"""Between leading requests elsewhere and ending the pods: gateways and nodes hear of it one by one."""
_GROW_SECONDS = 120.0
_LOOK_SECONDS = 5.0
_WAYS = {traffic.CANARY: "--canary", traffic.NEXT: "--blue-green"}
"""Track to the option that stands for it."""


@dataclass(frozen=True, kw_only=True)
class Steps:
    """How a canary gets its requests."""

    percents: tuple[int, ...]
    """Ascending; all but the last need an analysis to be left."""
    seconds: int | None = None
    """How long each step is analysed; None leaves the canary at the first one."""
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True, kw_only=True)
class Split:
    """Where the requests go in the end."""

    namespace: str
    name: str
    beside: str | None
    """The instance beside it; None when there is none any more."""
    percent: int
    """Of the requests that go there."""


def canary(
    image: str | None, steps: Steps, options: ClusterOptions, job: Job, progress: Progress, *, named: bool
) -> Split:
    """Deploy a canary, lead requests to it and, with an analysis, promote it or take it away.

    Unless the user has `named` what to deploy, a canary that runs already is not touched; only weights move.
    Raises CanaryError when it did worse than the stable instance, TrafficError when nobody can tell.
    """
    place = Kubernetes(options=options)
    cluster = place.cluster
    if image is None:
        # Known before anything is built.
        name = instance(None, job, progress)
        _require_route(cluster, name)
        if not named and _runs(cluster, traffic.beside(name, traffic.CANARY)):
            progress.step(f"{name}-canary runs already, so only weights move; name a model to replace it")
            return move(name, steps, options, progress)
    return start(_planned(place, image, job, progress), steps, options, progress)


def start(deployment: Deployment, steps: Steps, options: ClusterOptions, progress: Progress) -> Split:
    """Run `deployment` as a canary, then `move`."""
    place = Kubernetes(options=options)
    _require_route(place.cluster, deployment.instance)
    _deliver_beside(place, deployment, traffic.CANARY, progress)
    return move(deployment.instance, steps, options, progress)


def move(name: str, steps: Steps, options: ClusterOptions, progress: Progress) -> Split:
    """Lead requests to the canary of `name`; with an analysis, more and more until all or none go there."""
    cluster = Cluster.connect(options)
    percent = steps.percents[0]
    _weigh(cluster, name, percent, progress)
    if steps.seconds is not None:
        return _climb(name, steps, options, cluster, progress)
    beside = traffic.beside(name, traffic.CANARY)
    return Split(namespace=cluster.namespace, name=name, beside=beside, percent=percent)


def blue_green(
    image: str | None, keep_seconds: int, options: ClusterOptions, job: Job, progress: Progress
) -> Split:
    """Deploy beside the running pods, ask there, switch the Service, replace the old pods after a while."""
    place = Kubernetes(options=options)
    if image is None:
        # Known before anything is built.
        _service(place.cluster, instance(None, job, progress))
    return switch(_planned(place, image, job, progress), keep_seconds, options, progress)


def switch(deployment: Deployment, keep_seconds: int, options: ClusterOptions, progress: Progress) -> Split:
    """As `blue_green`, of what is planned already; VerifyError when its pods do not answer the example."""
    place = Kubernetes(options=options)
    cluster, name = place.cluster, deployment.instance
    service = _service(cluster, name)
    beside = traffic.beside(name, traffic.NEXT)
    _deliver_beside(place, deployment, traffic.NEXT, progress)
    with _leaving(cluster, name, traffic.NEXT, f"{beside} runs beside {name}"):
        try:
            _try(cluster, beside, deployment, progress)
        except VerifyError:
            # Nobody but us has asked it yet, unless an earlier run was interrupted.
            abort(name, traffic.NEXT, options, progress)
            raise
        traffic.lead_to(cluster, service, beside)
    progress.step(f"Service {name} leads to {beside}; the pods of before are kept for {keep_seconds} s")
    with _leaving(cluster, name, traffic.NEXT, f"Service {name} goes on leading to {beside}"):
        time.sleep(keep_seconds)
    return promote(name, traffic.NEXT, options, progress)


def promote(name: str, track: str, options: ClusterOptions, progress: Progress) -> Split:
    """Give image and settings of what runs on `track` to `name`, all requests too, and delete the former."""
    place = Kubernetes(options=options)
    cluster, beside = place.cluster, traffic.beside(name, track)
    wanted = candidate.read(cluster, beside)
    pods = lifting.replicas(cluster, beside)
    if track == traffic.CANARY:
        pods += lifting.replicas(cluster, name)
    progress.step(f"promoting {beside}: {name} gets its image and settings")
    with _leaving(cluster, name, track, f"the promotion of {beside} is not finished"):
        place.deliver_objects(wanted, progress=progress)
        lifted = lifting.lift(cluster, wanted, pods, seconds=_GROW_SECONDS, progress=progress)
        _take_back(cluster, name, track, progress)
        removal = Removal.of(beside, options)
        if lifted:
            # Before what a second promotion is made of goes, too.
            lifting.settle(cluster, wanted)
        removal.carry_out(progress)
    return Split(namespace=cluster.namespace, name=name, beside=None, percent=0)


def abort(name: str, track: str, options: ClusterOptions, progress: Progress) -> Split:
    """Lead all requests to `name` again and delete what runs on `track`."""
    cluster, beside = Cluster.connect(options), traffic.beside(name, track)
    # Known before anything is written.
    removal = Removal.of(beside, options)
    _take_back(cluster, name, track, progress)
    removal.carry_out(progress)
    return Split(namespace=cluster.namespace, name=name, beside=None, percent=0)


def _climb(name: str, steps: Steps, options: ClusterOptions, cluster: Cluster, progress: Progress) -> Split:
    for percent in steps.percents:
        with _leaving(cluster, name, traffic.CANARY, f"{name}-canary stays at {percent} %"):
            _weigh(cluster, name, percent, progress)
            verdict = _analyse(cluster, name, steps, progress)
            if verdict.good is None:
                msg = f"{name}-canary stays at {percent} %: {verdict.reason}"
                raise TrafficError(msg, hint=_ways(cluster, name, traffic.CANARY))
            if not verdict.good:
                progress.step(f"aborting: {verdict.reason}")
                abort(name, traffic.CANARY, options, progress)
                msg = f"{name}-canary was taken away at {percent} %: {verdict.reason}"
                raise CanaryError(
                    msg, hint=f"all requests go to {name} as before; mend the model and try again"
                )
        progress.step(f"{percent} % is fine: {verdict.reason}")
    return promote(name, traffic.CANARY, options, progress)


def _analyse(cluster: Cluster, name: str, steps: Steps, progress: Progress) -> Verdict:
    """The verdict after one step's time, or as soon as two in a row are bad."""
    assert steps.seconds is not None  # noqa: S101 (who analyses has a time for it)
    beside = traffic.beside(name, traffic.CANARY)
    before = _samples(cluster, name, beside)
    deadline = time.monotonic() + steps.seconds
    doubted = False
    while True:
        time.sleep(max(0.0, min(_LOOK_SECONDS, deadline - time.monotonic())))
        now = _samples(cluster, name, beside)
        if not now[beside]:
            return Verdict(good=False, reason=f"no pod of {beside} is ready")
        seen = {one: analysis.since(before[one], now[one]) for one in now}
        verdict = analysis.judge(seen[beside], seen[name], steps.limits)
        bad = verdict.good is False
        if (bad and doubted) or time.monotonic() >= deadline:
            return verdict
        doubted = bad
        progress.step(f"{beside}: {verdict.reason}")


def _samples(cluster: Cluster, *names: str) -> Mapping[str, Mapping[str, Counts]]:
    return {one: samples.read(cluster, one) for one in names}


def _planned(place: Kubernetes, image: str | None, job: Job, progress: Progress) -> Deployment:
    settings = job.config.deploy
    if settings.kube_version is None:
        settings = replace(settings, kube_version=str(place.version()))
    # What cannot be is known before anything is built.
    place.check(draft(settings))
    return plan(image_of(image, job, progress), settings)


def _deliver_beside(place: Kubernetes, deployment: Deployment, track: str, progress: Progress) -> Delivery:
    """Apply `deployment` as what runs on `track`, with what its promotion needs, and wait for its pods."""
    pods = lifting.replicas(place.cluster, deployment.instance) if track == traffic.NEXT else 1
    made = objects.build(aside(deployment, track, replicas=pods))
    wanted = (*made, candidate.build(made, objects.build(deployment)))
    try:
        return place.deliver_objects(wanted, progress=progress)
    except DeployError as exc:
        way, name = _WAYS[track], deployment.instance
        exc.details += "\n" * bool(exc.details) + (
            f"{name} serves as before; to remove what was tried: "
            f"servegen rollback {way} {name} --namespace {place.cluster.namespace}"
        )
        raise


def _try(cluster: Cluster, beside: str, deployment: Deployment, progress: Progress) -> None:
    """Send the model's example to a pod; VerifyError when it is not answered."""
    if deployment.model.example is None:
        progress.warn(f"the model has no example, so {beside} is only known to be ready")
        return
    pods = Pods(cluster, beside, progress)
    with listening(pods.dial, 0, progress) as port:
        asked = ask(f"http://127.0.0.1:{port}", deployment.model.example.encode())
    progress.step(f"{beside} answers the model's example in {asked.median:.0f} ms")


def _weigh(cluster: Cluster, name: str, percent: int, progress: Progress) -> None:
    found = _require_route(cluster, name)
    beside = traffic.beside(name, traffic.CANARY)
    before = traffic.weights(found).get(beside, 0)
    if before == percent:
        return
    if percent > before:
        _require_ready(cluster, name, beside)
    traffic.set_weight(cluster, found, percent)
    progress.step(f"{beside} gets {percent} % of the requests, {name} {traffic.WHOLE - percent} %")


def _take_back(cluster: Cluster, name: str, track: str, progress: Progress) -> None:
    """Lead all requests to the pods of `name`, and wait until everybody knows."""
    beside = traffic.beside(name, track)
    if track == traffic.CANARY:
        found = _route(cluster, name)
        if found is None or beside not in traffic.weights(found):
            return
        traffic.set_weight(cluster, found, None)
    else:
        service = _service(cluster, name)
        if traffic.served_by(service) != beside:
            return
        traffic.lead_to(cluster, service, name)
    progress.step(f"{name} gets all requests")
    time.sleep(PAUSE_SECONDS)


def _route(cluster: Cluster, name: str) -> Object | None:
    try:
        return traffic.route(cluster, name)
    except AbsentKindError:
        return None


def _require_route(cluster: Cluster, name: str) -> Object:
    """The route of a stable instance that serves; refused where there is nothing to weigh."""
    if not _runs(cluster, name):
        raise _no_stable(cluster, name)
    found = _route(cluster, name)
    if found is None or name not in traffic.weights(found):
        msg = f"{name} has no HTTPRoute, so no share of its requests can be led to a canary"
        raise ConfigError(
            msg,
            hint="deploy it with deploy.route (--gateway NAME) first, or use --blue-green, which needs none",
        )
    return found


def _service(cluster: Cluster, name: str) -> Object:
    found = cluster.get("v1", "Service", name)
    if found is None or not _runs(cluster, name):
        raise _no_stable(cluster, name)
    return found


def _no_stable(cluster: Cluster, name: str) -> NotDeployedError:
    error = prune.absent(cluster, name)
    return NotDeployedError(str(error), hint="deploy a first version, without --canary or --blue-green")


def _runs(cluster: Cluster, name: str) -> bool:
    return cluster.get("apps/v1", "Deployment", name) is not None


def _require_ready(cluster: Cluster, name: str, beside: str) -> None:
    """Lead no requests to where nobody answers, as after a deploy of it that failed."""
    found = cluster.get("apps/v1", "Deployment", beside) or {}
    if not found.get("status", {}).get("availableReplicas"):
        msg = f"no pod of {beside} is ready, so no more requests are led to it"
        raise RolloutError(
            msg, hint=f"servegen status {beside} says why; {_ways(cluster, name, traffic.CANARY)}"
        )


@contextlib.contextmanager
def _leaving(cluster: Cluster, name: str, track: str, state: str) -> Iterator[None]:
    """Whatever ends what is inside says in which `state` it leaves the cluster, and the ways out."""
    try:
        yield
    except (CanaryError, TrafficError):
        # They say it themselves.
        raise
    except (KeyboardInterrupt, StoppedError) as exc:
        msg = f"interrupted: {state}"
        raise StoppedError(msg, hint=_ways(cluster, name, track)) from exc
    except DeployError as exc:
        exc.details += "\n" * bool(exc.details) + f"{state}: {_ways(cluster, name, track)}"
        raise


def _ways(cluster: Cluster, name: str, track: str) -> str:
    ends = f"{_WAYS[track]} {name} --namespace {cluster.namespace}"
    return f"go on with servegen promote {ends}, or back with servegen rollback {ends}"
