"""Keeps copies of objects up to date in the background and wakes whoever waits for a change."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from types import TracebackType

from servegen.errors import ClusterUnreachableError, DeployError
from servegen.kube import Object
from servegen.kube.client import Cluster
from servegen.kube.connection import Lost
from servegen.kube.refusal import RefusalError

_ROUND_SECONDS = 10
"""Length of one watch request; also how long a thread may outlive its use."""
_PAUSE_SECONDS = 1
_GONE = 410


@dataclass(frozen=True, kw_only=True)
class Outage:
    """A server that does not answer."""

    since: float
    """By the clock of `time.monotonic`."""
    cause: Exception


def passing(error: DeployError) -> bool:
    """Whether the trouble may be over at the next try: no server, a busy one, or one that restarts."""
    if isinstance(error, RefusalError):
        return error.status == 429 or error.status >= 500
    return isinstance(error, ClusterUnreachableError)


class Watched:
    """The objects of one kind that fit a selector, as of now; use it as a context manager."""

    def __init__(
        self,
        cluster: Cluster,
        api_version: str,
        kind: str,
        *,
        wake: threading.Event,
        labels: str = "",
        name: str = "",
    ) -> None:
        self._cluster = cluster
        self._kind = (api_version, kind)
        self._labels = labels
        self._fields = f"metadata.name={name}" if name else ""
        self._wake = wake
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._objects: dict[str, Object] | None = None
        self._since: str | None = None
        self._outage: Outage | None = None
        self._error: DeployError | None = None
        self._thread = threading.Thread(target=self._run, name=f"watch {kind}", daemon=True)

    def __enter__(self) -> Watched:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Not joined: the thread sits in a read and ends with the current round.
        self._stop.set()

    def objects(self) -> list[Object] | None:
        """All objects, by name; None before the first answer; raises what ended the watch."""
        with self._lock:
            if self._error:
                raise self._error
            if self._objects is None:
                return None
            return [self._objects[name] for name in sorted(self._objects)]

    @property
    def outage(self) -> Outage | None:
        """Since when the server has not answered; None while it does."""
        return self._outage

    def _run(self) -> None:
        while not self._stop.is_set():
            self._round()

    def _round(self) -> None:
        try:
            self._follow()
        except (DeployError, Lost) as exc:
            if isinstance(exc, RefusalError) and exc.status == _GONE:
                self._since = None
            elif isinstance(exc, Lost) or passing(exc):
                # The caller has a deadline; until then a server may restart.
                self._outage = self._outage or Outage(since=time.monotonic(), cause=exc)
                self._wake.set()
                self._stop.wait(_PAUSE_SECONDS)
            else:
                self._fail(exc)

    def _follow(self) -> None:
        if self._since is None:
            listed = self._cluster.list(*self._kind, labels=self._labels, fields=self._fields)
            with self._lock:
                self._objects = {one["metadata"]["name"]: one for one in listed["items"]}
            self._since = str(listed["metadata"]["resourceVersion"])
            self._wake.set()
        events = self._cluster.watch(
            *self._kind, labels=self._labels, fields=self._fields, since=self._since, seconds=_ROUND_SECONDS
        )
        self._outage = None
        for change, one in events:
            if self._stop.is_set():
                return
            with self._lock:
                self._change(change, one)
            self._since = one["metadata"]["resourceVersion"]
            self._wake.set()

    def _change(self, change: str, one: Object) -> None:
        assert self._objects is not None  # noqa: S101 (what is watched was listed before)
        if change == "DELETED":
            self._objects.pop(one["metadata"]["name"], None)
        else:
            self._objects[one["metadata"]["name"]] = one

    def _fail(self, error: DeployError) -> None:
        with self._lock:
            self._error = error
        self._stop.set()
        self._wake.set()
