"""Logs of all pods of a deployment, each line with the pod it is from."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Iterator
from dataclasses import dataclass

from servegen.errors import DeployError
from servegen.kube import metadata, prune
from servegen.kube.client import Cluster
from servegen.kube.connection import Lost
from servegen.kube.instances import LABEL
from servegen.kube.watching import Watched, passing

_PAUSE_SECONDS = 1.0
"""Before a log that ended, or was not there yet, is asked for again."""
_TICK = 0.5


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """Which logs."""

    instance: str
    container: str = metadata.CONTAINER
    lines: int | None = None
    """The last ones of each pod; None: all."""
    previous: bool = False
    """Those of the containers' runs before these."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line of a pod's log."""

    pod: str
    text: str


def read(cluster: Cluster, wanted: Wanted) -> Iterator[Line]:
    """What the logs hold now, pod by pod; raises DeployError where there is no pod or none has a log."""
    pods = cluster.list("v1", "Pod", labels=f"{LABEL}={wanted.instance}")["items"]
    if not pods:
        _require(cluster, wanted.instance)
    refused: list[DeployError] = []
    for pod in pods:
        name = pod["metadata"]["name"]
        try:
            text = cluster.log(name, wanted.container, previous=wanted.previous, lines=wanted.lines)
        except DeployError as exc:
            # The others may still tell something: one pod that waits for its image has no log.
            refused.append(exc)
            continue
        yield from (Line(pod=name, text=line) for line in text.splitlines())
    if len(refused) == len(pods):
        raise refused[0]


def _require(cluster: Cluster, instance: str) -> None:
    """Refuse to wait for pods that nobody makes."""
    if not cluster.list("apps/v1", "Deployment", labels=f"{LABEL}={instance}")["items"]:
        raise prune.absent(cluster, instance)


def follow(cluster: Cluster, wanted: Wanted) -> Iterator[Line]:
    """The logs as they are written, also of pods that come later; never ends by itself."""
    lines = queue.SimpleQueue[Line]()
    asking, wake = cluster.hasty(), threading.Event()
    followed: dict[str, threading.Event] = {}
    selector = f"{LABEL}={wanted.instance}"
    try:
        with Watched(asking, "v1", "Pod", wake=wake, labels=selector) as pods:
            while True:
                found = pods.objects()
                if not found and not followed and found is not None:
                    _require(cluster, wanted.instance)
                if found is not None:
                    names = {pod["metadata"]["name"] for pod in found}
                    for name in names - followed.keys():
                        followed[name] = _start(asking, name, wanted, lines)
                    for name in followed.keys() - names:
                        followed.pop(name).set()
                with contextlib.suppress(queue.Empty):
                    yield lines.get(timeout=_TICK)
                    while True:
                        yield lines.get_nowait()
    finally:
        for end in followed.values():
            end.set()


def _start(cluster: Cluster, pod: str, wanted: Wanted, lines: queue.SimpleQueue[Line]) -> threading.Event:
    """Follow one pod in the background until the event that is returned is set."""
    end = threading.Event()

    def run() -> None:
        since = ""
        while not end.is_set():
            try:
                for stamp, text in cluster.follow_log(pod, wanted.container, since=since, lines=wanted.lines):
                    # Asked again, the server begins with the whole second.
                    if _order(stamp) > _order(since):
                        lines.put(Line(pod=pod, text=text))
                        since = stamp
            except Lost:
                pass
            except DeployError as exc:
                if not passing(exc) and "waiting to start" not in str(exc) and "not found" not in str(exc):
                    lines.put(Line(pod=pod, text=f"(no log: {exc})"))
                    return
            end.wait(_PAUSE_SECONDS)

    threading.Thread(target=run, name=f"log {pod}", daemon=True).start()
    return end


def _order(stamp: str) -> str:
    """A time of the server so that texts compare as times do: fractions come with and without zeros."""
    seconds, _, fraction = stamp.rstrip("Z").partition(".")
    return f"{seconds}.{fraction:0<9}" if stamp else ""
