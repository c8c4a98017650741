"""Carries connections from a port of this machine to a ready pod of a deployment."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator

from servegen.errors import ConfigError, DeployError
from servegen.kube import Object, metadata, prune, reasons
from servegen.kube.client import Cluster
from servegen.kube.connection import Lost
from servegen.kube.instances import LABEL
from servegen.progress import Progress
from servegen.values.image import PORT

_CHUNK = 1 << 16
_TRIES = 3
"""Pods that are tried for one connection: the first may just have gone."""
Dial = Callable[[], socket.socket]


class Pods:
    """Opens streams to the server of one deployment: to the same pod as long as that is ready."""

    def __init__(self, cluster: Cluster, instance: str, progress: Progress) -> None:
        self._cluster = cluster
        self._instance = instance
        self._progress = progress
        self._lock = threading.Lock()
        self._pod = ""

    def require(self) -> None:
        """Raise DeployError unless there is a ready pod."""
        self._choose(set())

    def dial(self) -> socket.socket:
        """A stream to a ready pod; raises DeployError when there is none that takes it."""
        gone: set[str] = set()
        lost: Lost | None = None
        for _ in range(_TRIES):
            try:
                pod, port = self._choose(gone)
            except DeployError:
                if lost is None:
                    raise
                # All that are ready were tried.
                break
            try:
                return self._cluster.forward(pod, port)
            except Lost as exc:
                gone.add(pod)
                lost = exc
        msg = f"no pod of {self._instance} takes a connection: {lost}"
        raise DeployError(
            msg, hint="forwarding needs a Role that allows: get pods/portforward, create pods/portforward"
        ) from lost

    def _choose(self, gone: set[str]) -> tuple[str, int]:
        """Name and port of a ready pod that is not `gone`."""
        selector = f"{LABEL}={self._instance}"
        pods = self._cluster.list("v1", "Pod", labels=selector)["items"]
        ready = {
            pod["metadata"]["name"]: pod
            for pod in pods
            if reasons.is_ready(pod) and not pod["metadata"].get("deletionTimestamp")
        }
        for name in gone:
            ready.pop(name, None)
        if not ready:
            if not self._cluster.list("apps/v1", "Deployment", labels=selector)["items"]:
                raise prune.absent(self._cluster, self._instance)
            msg = f"none of the {len(pods)} pods of {self._instance} is ready"
            raise DeployError(msg, hint=f"servegen status {self._instance} says why")
        with self._lock:
            if self._pod not in ready:
                self._pod = min(ready)
                self._progress.step(f"forwarding to pod {self._pod}")
            return self._pod, port_of(ready[self._pod])


def port_of(pod: Object) -> int:
    """The port that the server in `pod` listens on."""
    ports = [port for one in pod["spec"]["containers"] for port in one.get("ports") or ()]
    return next((int(one["containerPort"]) for one in ports if one.get("name") == metadata.PORT_NAME), PORT)


@contextlib.contextmanager
def listening(dial: Dial, port: int, progress: Progress) -> Iterator[int]:
    """A loopback port, `port` or with 0 a free one, whose connections go where `dial` leads.

    A connection for which `dial` fails is closed and told of; the next one tries anew.
    """
    try:
        # As servers do: connections of an earlier run that are still closing are no obstacle.
        server = socket.create_server(("127.0.0.1", port))
    except OSError as exc:
        msg = f"port {port} of 127.0.0.1 cannot be used: {exc.strerror}"
        raise ConfigError(msg, hint="--port NUMBER of one that is free; 0 takes any") from exc
    with server:
        threading.Thread(target=_accept, args=(server, dial, progress), daemon=True).start()
        try:
            yield int(server.getsockname()[1])
        finally:
            # Closing alone does not wake the thread that accepts.
            with contextlib.suppress(OSError):
                server.shutdown(socket.SHUT_RDWR)


def _accept(server: socket.socket, dial: Dial, progress: Progress) -> None:
    with contextlib.suppress(OSError):
        while True:
            client, _ = server.accept()
            threading.Thread(target=_carry, args=(client, dial, progress), daemon=True).start()


def _carry(client: socket.socket, dial: Dial, progress: Progress) -> None:
    with client:
        try:
            pod = dial()
        except DeployError as exc:
            progress.warn(f"{exc}; {exc.hint}")
            return
        with contextlib.closing(pod):
            back = threading.Thread(target=_pump, args=(pod, client), daemon=True)
            back.start()
            _pump(client, pod)
            back.join()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    """Copy until `source` ends, then end `sink`; what a closed `sink` does not take is dropped."""
    heard = True
    with contextlib.suppress(OSError):
        while data := source.recv(_CHUNK):
            # A stream to a pod is read to its end in any case, or its other side would fail loudly.
            if heard:
                try:
                    sink.sendall(data)
                except OSError:
                    heard = False
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)
