"""Keeps copies of objects up to date in the background and wakes whoever waits for a change."""

from __future__ import annotations

import threading
from types import TracebackType

from servegen.errors import ClusterUnreachableError, DeployError
from servegen.kube import Object
from servegen.kube.client import Cluster
from servegen.kube.connection import Lost
from servegen.kube.refusal import RefusalError

_ROUND_SECONDS = 10
"""Length of one watch request; also how long a thread may outlive its use."""
_GONE = 410


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
        self._objects: dict[str, Object] = {}
        self._error: DeployError | None = None
        self._thread = threading.Thread(target=self._run, name=f"watch {kind}", daemon=True)

    def __enter__(self) -> Watched:
        self._since = self._list()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Not joined: the thread sits in a read and ends with the current round.
        self._stop.set()

    def objects(self) -> list[Object]:
        """All objects, by name; raises what ended the watch if something did."""
        with self._lock:
            if self._error:
                raise self._error
            return [self._objects[name] for name in sorted(self._objects)]

    def _list(self) -> str:
        listed = self._cluster.list(*self._kind, labels=self._labels, fields=self._fields)
        with self._lock:
            self._objects = {one["metadata"]["name"]: one for one in listed["items"]}
        return str(listed["metadata"]["resourceVersion"])

    def _run(self) -> None:
        while not self._stop.is_set():
            self._round()

    def _round(self) -> None:
        try:
            self._follow()
        except (Lost, ClusterUnreachableError):
            # The caller has a deadline; until then a server may restart.
            self._stop.wait(1)
        except RefusalError as exc:
            if exc.status == _GONE:
                self._relist()
            else:
                self._fail(exc)
        except DeployError as exc:
            self._fail(exc)

    def _relist(self) -> None:
        try:
            self._since = self._list()
        except DeployError as exc:
            self._fail(exc)
        self._wake.set()

    def _follow(self) -> None:
        events = self._cluster.watch(
            *self._kind, labels=self._labels, fields=self._fields, since=self._since, seconds=_ROUND_SECONDS
        )
        for change, one in events:
            if self._stop.is_set():
                return
            name = one["metadata"]["name"]
            with self._lock:
                if change == "DELETED":
                    self._objects.pop(name, None)
                else:
                    self._objects[name] = one
            self._since = one["metadata"]["resourceVersion"]
            self._wake.set()

    def _fail(self, error: DeployError) -> None:
        with self._lock:
            self._error = error
        self._stop.set()
        self._wake.set()
