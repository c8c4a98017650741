"""Canaries under load on a real cluster: `python -m tests.e2e.canary`; about six minutes, mostly of waiting.

Needs `KUBECONFIG` of a cluster with the types of the Gateway API and `SERVEGEN_TEST_REGISTRY`. No controller
has to run: a proxy in here reads the HTTPRoute from the API server twice a second and sends each request to
a Service chosen by the route's weights, which is what a gateway does with it.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import cloudpickle
from kubernetes import client, config

from servegen import progressive
from servegen.cli.console import Console
from servegen.errors import CanaryError
from servegen.kube import traffic
from servegen.kube.client import Cluster
from servegen.kube.options import ClusterOptions
from servegen.planning.deployment import plan
from servegen.progressive import Steps
from servegen.targets.k8s import Kubernetes
from servegen.values.analysis import Limits
from servegen.values.deployment import AutoscalingSettings, ResourceSettings, Settings
from servegen.values.image import LABEL, Image, ImageRef, Platform
from servegen.values.network import RouteSettings
from tests.e2e import moody

RATE = 60
"""Requests a second."""
BODY = b'{"inputs": {"x": [1.0, 2.0]}}'
SETTINGS = Settings(
    resources=ResourceSettings(cpu="100m", memory="512Mi"),
    min_ready_seconds=0,
    request_timeout_seconds=10,
    drain_delay_seconds=2,
    pre_stop_seconds=3,
    replicas=1,
    autoscaling=AutoscalingSettings(enabled=False),
    route=RouteSettings(gateway="public"),
)
STEPS = Steps(percents=(10, 25, 50), seconds=15, limits=Limits(requests=30))


@dataclass
class Gateway:
    """Forwards requests by the weights of the route, and counts what came back from where."""

    cluster: Cluster
    seen: Counter[tuple[str, int]] = field(default_factory=Counter)
    """By backend and status; 0 for no answer."""
    _weights: dict[str, int] = field(default_factory=dict)
    _addresses: dict[str, str] = field(default_factory=dict)

    def look(self) -> None:
        """Read the route and the addresses of its Services."""
        route = traffic.route(self.cluster, "moody")
        if route is None:
            return
        for name in (found := dict(traffic.weights(route))):
            service = self.cluster.get("v1", "Service", name)
            if service is not None:
                self._addresses[name] = service["spec"]["clusterIP"]
        self._weights = found

    def forward(self, body: bytes) -> tuple[int, bytes]:
        """One request to the Service that the weights choose."""
        weights = self._weights
        (name,) = random.choices(list(weights), list(weights.values()))
        connection = http.client.HTTPConnection(self._addresses[name], timeout=15)
        try:
            connection.request("POST", "/invocations", body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            status, text = answer.status, answer.read()
        except (OSError, http.client.HTTPException) as exc:
            status, text = 0, str(exc).encode()
        finally:
            connection.close()
        self.seen[name, status] += 1
        return status or 502, text

    def take(self) -> Counter[tuple[str, int]]:
        """What was counted since the last time."""
        self.seen, seen = Counter(), self.seen
        return seen


@contextlib.contextmanager
def running(gateway: Gateway) -> Iterator[None]:
    """The gateway listens on loopback, follows the route, and gets requests at RATE."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            status, text = gateway.forward(body)
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_: object) -> None:
            pass

    gateway.look()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    stop = threading.Event()
    threads = [threading.Thread(target=server.serve_forever)]
    threads.append(threading.Thread(target=_follow, args=(gateway, stop)))
    threads += [threading.Thread(target=_ask, args=(server.server_port, stop)) for _ in range(6)]
    for one in threads:
        one.start()
    try:
        yield
    finally:
        stop.set()
        server.shutdown()
        for one in threads:
            one.join()
        server.server_close()


def _follow(gateway: Gateway, stop: threading.Event) -> None:
    while not stop.wait(0.5):
        gateway.look()


def _ask(port: int, stop: threading.Event) -> None:
    while not stop.wait(6 / RATE):
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as connection:
            connection.request("POST", "/invocations", BODY, {"Content-Type": "application/json"})
            connection.getresponse().read()


def packaged(registry: str, folder: Path) -> Image:
    """The moody model as an image in `registry`."""
    # Else the image would need this module.
    cloudpickle.register_pickle_by_value(moody)
    path = moody.save(folder)
    tag = f"{registry}/moody:1"
    command = [sys.executable, "-m", "servegen", "package", str(path), "--tag", tag, "--push", "--no-verify"]
    done = subprocess.run(
        [*command, "--insecure-registry", registry], cwd=folder, stdout=subprocess.PIPE, check=True, text=True
    )
    labels = ((f"{LABEL}example", BODY.decode()), (f"{LABEL}model-name", "moody"))
    ref = ImageRef.parse(done.stdout.strip())
    return Image(ref=ref, platform=Platform.parse("linux/amd64"), labels=labels)


def scenarios(image: Image, options: ClusterOptions, gateway: Gateway, progress: Console) -> None:
    """Split, failing canary, slow canary, good canary; AssertionError where one ends otherwise."""
    good = plan(image, replace(SETTINGS, env={"LEVEL": "2"}))
    progressive.start(good, Steps(percents=(20,)), options, progress)
    time.sleep(2)
    gateway.take()
    time.sleep(20)
    seen = gateway.take()
    share = sum(n for (name, _), n in seen.items() if name == "moody-canary") / sum(seen.values())
    print(f"20 % wanted, {share:.1%} of {sum(seen.values())} requests got there")
    assert 0.15 < share < 0.25
    progressive.abort("moody", traffic.CANARY, options, progress)
    for mood in ("fail", "slow"):
        gateway.take()
        began = time.monotonic()
        try:
            progressive.start(plan(image, replace(SETTINGS, env={"MOOD": mood})), STEPS, options, progress)
        except CanaryError as exc:
            print(f"aborted after {time.monotonic() - began:.0f} s: {exc}")
        else:
            raise AssertionError(mood)
        seen = gateway.take()
        print(dict(seen))
        assert {status for name, status in seen if name == "moody"} == {200}
    progressive.start(good, STEPS, options, progress)
    time.sleep(3)
    seen = gateway.take()
    print("promoted:", dict(seen))
    assert {status for _, status in seen} == {200}
    assert traffic.route(gateway.cluster, "moody-canary") is None


def main() -> None:
    """Run all of it in a namespace of its own."""
    registry = os.environ["SERVEGEN_TEST_REGISTRY"]
    name = f"canary-{uuid.uuid4().hex[:8]}"
    core = client.CoreV1Api(config.new_client_from_config(config_file=os.environ["KUBECONFIG"]))
    options = ClusterOptions(kubeconfig=os.environ["KUBECONFIG"], namespace=name, timeout_seconds=180)
    progress = Console(verbose=False, quiet=False)
    core.create_namespace(
        {"metadata": {"name": name, "labels": {"pod-security.kubernetes.io/enforce": "restricted"}}}
    )
    try:
        with tempfile.TemporaryDirectory() as folder:
            image = packaged(registry, Path(folder))
        Kubernetes(options=options).deliver(plan(image, SETTINGS), progress=progress)
        gateway = Gateway(cluster=Cluster.connect(options))
        # Nodes learn of a new Service a moment after its pods are ready.
        time.sleep(3)
        with running(gateway):
            scenarios(image, options, gateway, progress)
    finally:
        core.delete_namespace(name, grace_period_seconds=0)


if __name__ == "__main__":
    main()
