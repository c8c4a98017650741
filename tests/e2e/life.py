"""Rollouts, evictions, rollbacks and scaling under a constant load: `python -m tests.e2e.life IMAGE`.

IMAGE is the reference of a packaged image that the nodes can pull; KUBECONFIG names the cluster. The load
goes through the Service, every request over a connection of its own, so that each one chooses a pod anew.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Any

from servegen.config import Config, environment
from servegen.deployed import rollback
from servegen.images import find_image
from servegen.job import Job
from servegen.kube import Object, instances, reasons
from servegen.kube.client import Cluster
from servegen.kube.options import ClusterOptions
from servegen.planning.deployment import plan
from servegen.progress import Silent
from servegen.targets.k8s import Kubernetes
from servegen.values.delivery import Delivery
from servegen.values.deployment import AutoscalingSettings, ResourceSettings, Settings
from servegen.values.image import Image

_ANSWER_SECONDS = 10
_LEAVE_SECONDS = 120


@dataclass
class Load:
    """Requests at a constant rate from a thread of their own, and what became of them."""

    host: str
    request: bytes
    rate: int
    """A second."""
    answered: int = 0
    failed: list[str] = field(default_factory=list)
    slowest: float = 0.0
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def __enter__(self) -> Load:
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def await_first(self) -> None:
        """Return once there is an answer: nodes learn of a new Service a moment after its pods are ready."""
        deadline = time.monotonic() + _ANSWER_SECONDS
        while not self.answered and time.monotonic() < deadline:
            asyncio.run(self._ask())
            time.sleep(0.1)
        self.answered, self.failed = 0, []

    async def _run(self) -> None:
        # By the clock and not by pauses: a late answer must not make the next request later.
        due, pending = time.monotonic(), set()
        while not self._stop.is_set():
            task = asyncio.create_task(self._ask())
            pending.add(task)
            task.add_done_callback(pending.discard)
            due += 1 / self.rate
            await asyncio.sleep(max(0.0, due - time.monotonic()))
        await asyncio.gather(*pending)

    async def _ask(self) -> None:
        started = time.monotonic()
        try:
            answer = await asyncio.wait_for(self._exchange(), _ANSWER_SECONDS)
        except (OSError, asyncio.TimeoutError) as exc:
            self.failed.append(f"{time.strftime('%T')} {type(exc).__name__} {exc}")
            return
        self.slowest = max(self.slowest, time.monotonic() - started)
        if b" 200 " in answer.partition(b"\r\n")[0]:
            self.answered += 1
        else:
            self.failed.append(f"{time.strftime('%T')} {answer[:200]!r}")

    async def _exchange(self) -> bytes:
        reader, writer = await asyncio.open_connection(self.host, 80)
        try:
            writer.write(self.request)
            return await reader.read()
        finally:
            writer.close()


def prediction(image: Image) -> bytes:
    """A request with the model's own example."""
    body = (image.label("example") or "").encode()
    head = (
        "POST /invocations HTTP/1.1\r\nHost: model\r\nContent-Type: application/json\r\n"
        f"Connection: close\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


@dataclass(frozen=True, kw_only=True)
class Life:
    """One deployment that is changed again and again."""

    image: Image
    options: ClusterOptions
    settings: Settings

    def deploy(self, **changes: Any) -> Delivery:
        """Deploy with these settings changed, and wait."""
        wanted = plan(self.image, replace(self.settings, **changes))
        return Kubernetes(options=self.options).deliver(wanted, progress=Silent())

    def roll_out(self, number: int) -> None:
        """New pods."""
        self.deploy(env={**self.settings.env, "ROLLOUT": str(number)})

    def roll_back(self, _number: int) -> None:
        """The release before."""
        rollback(self.name, None, self.options, Silent())

    def scale(self, replicas: int) -> None:
        """Another number of pods, and none on its way out any more."""
        self.deploy(replicas=replicas)
        deadline = time.monotonic() + _LEAVE_SECONDS
        while len(self._listed()) > replicas:
            if time.monotonic() > deadline:
                msg = f"more than {replicas} pods are left"
                raise TimeoutError(msg)
            time.sleep(0.5)

    def evict(self, _number: int) -> None:
        """Take a pod away as a drain of its node does, and wait for another one in its place."""
        from kubernetes import client, config

        before = self._pods()
        (gone, *_) = sorted(before)
        api = client.CoreV1Api(config.new_client_from_config(config_file=self.options.kubeconfig))
        eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": gone}}
        api.create_namespaced_pod_eviction(gone, self.options.namespace, eviction)
        deadline = time.monotonic() + _LEAVE_SECONDS
        while sum(self._pods().values()) < len(before) or gone in self._pods():
            if time.monotonic() > deadline:
                raise TimeoutError(gone)
            time.sleep(0.5)

    def versions(self) -> dict[str, str]:
        """The resource version of every object."""
        found = instances.find(Cluster.connect(self.options), self.name).objects
        return {
            f"{one['kind']} {one['metadata']['name']}": one["metadata"]["resourceVersion"] for one in found
        }

    @property
    def name(self) -> str:
        """Of the objects."""
        return plan(self.image, self.settings).instance

    def _pods(self) -> dict[str, bool]:
        """Name and readiness of the pods that are to stay."""
        return {
            pod["metadata"]["name"]: reasons.is_ready(pod)
            for pod in self._listed()
            if "deletionTimestamp" not in pod["metadata"]
        }

    def _listed(self) -> list[Object]:
        cluster = Cluster.connect(self.options)
        labels = f"app.kubernetes.io/instance={self.name}"
        return list(cluster.list("v1", "Pod", labels=labels)["items"])


def repeat(load: Load, what: str, act: Callable[[int], None], numbers: Iterable[int]) -> None:
    """Do `act` for every number and print how it and the load went."""
    for number in numbers:
        started, before = time.monotonic(), load.answered
        act(number)
        seconds, answered = time.monotonic() - started, load.answered - before
        print(
            f"{what} {number}: {seconds:.1f} s, {answered} answers, {len(load.failed)} failures", flush=True
        )


def main() -> int:
    """Live through everything; exit status 1 when a request failed or a second deploy changed something."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("image")
    parser.add_argument("--rate", type=int, default=50)
    parser.add_argument("--rollouts", type=int, default=20)
    parser.add_argument("--evictions", type=int, default=10)
    parser.add_argument("--rollbacks", type=int, default=5)
    args = parser.parse_args()
    job = Job(config=Config(), environment=environment(), lock_file=None, push=True)
    options = ClusterOptions(
        kubeconfig=os.environ["KUBECONFIG"],
        namespace=f"servegen-life-{uuid.uuid4().hex[:8]}",
        timeout_seconds=300,
    )
    settings = Settings(
        replicas=2,
        autoscaling=AutoscalingSettings(enabled=False),
        resources=ResourceSettings(cpu="50m", memory="768Mi", ephemeral_storage="16Mi"),
    )
    life = Life(image=find_image(args.image, job, Silent()), options=options, settings=settings)
    with _namespace(options):
        address = str(life.deploy().cluster_ip)
        load = Load(host=address, request=prediction(life.image), rate=args.rate)
        load.await_first()
        with load:
            repeat(load, "rollout", life.roll_out, range(1, args.rollouts + 1))
            repeat(load, "eviction", life.evict, range(1, args.evictions + 1))
            repeat(load, "rollback", life.roll_back, range(1, args.rollbacks + 1))
            repeat(load, "replicas", life.scale, (1, 5, 1))
        before = life.versions()
        again = life.deploy(replicas=1)
        # A status may still have been on its way before; nothing of ours was written.
        unchanged = {change.action for change in again.changes} == {"unchanged"}
        written = [name for name, version in life.versions().items() if before[name] != version]
    print(f"{load.answered} answers, {len(load.failed)} failures, slowest {load.slowest:.2f} s")
    print(f"second deploy: {'unchanged' if unchanged else again.changes}, versions that differ: {written}")
    for line in load.failed[:20]:
        print(line)
    return 1 if load.failed or not unchanged else 0


@contextlib.contextmanager
def _namespace(options: ClusterOptions) -> Iterator[None]:
    from kubernetes import client, config

    api = client.CoreV1Api(config.new_client_from_config(config_file=options.kubeconfig))
    api.create_namespace({"metadata": {"name": options.namespace}})
    try:
        yield
    finally:
        api.delete_namespace(options.namespace)


if __name__ == "__main__":
    sys.exit(main())
