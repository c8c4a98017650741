"""Scaling by KEDA, and the custom resources, on a cluster that has their types, KEDA and a Prometheus.

Prometheus is the cluster's own; it scrapes annotated pods and gives their labels to all series.
"""

from __future__ import annotations

import json
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest

from servegen.kube import Object, objects
from servegen.kube.client import Cluster
from servegen.kube.options import ClusterOptions
from servegen.kube.refusal import RefusalError
from servegen.planning.deployment import plan
from servegen.progress import Silent
from servegen.targets.k8s import Kubernetes
from servegen.values.delivery import Delivery
from servegen.values.deployment import AutoscalingSettings, ResourceSettings, Settings
from servegen.values.image import Image
from servegen.values.network import MonitoringSettings, NetworkPolicySettings, RouteSettings
from servegen.values.scaling import KedaSettings
from tests.e2e.workspace import Workspace

pytest_plugins = ("tests.e2e.kubernetes", "tests.e2e.workspace")
pytestmark = pytest.mark.e2e

PROMETHEUS = "http://10.88.0.2:9090"
CLIENTS = 12
"""Each has one request in flight all the time."""
SMALL = ResourceSettings(cpu="50m", memory="64Mi", ephemeral_storage="16Mi")
PLAIN = Settings(resources=SMALL, min_ready_seconds=0, autoscaling=AutoscalingSettings(min_replicas=1))
EXPOSED = replace(
    PLAIN,
    network_policy=NetworkPolicySettings(enabled=True, ingress=("batch",), egress=("10.1.0.0/16",)),
    monitoring=MonitoringSettings(discovery="podmonitor", labels={"release": "prometheus"}),
    route=RouteSettings(gateway="public", gateway_namespace="gateways", hostnames=("iris.example.com",)),
    same_zone=True,
)


@pytest.fixture(autouse=True)
def _needs_the_types(options: ClusterOptions) -> None:
    cluster = Cluster.connect(options)
    for api in ("keda.sh/v1alpha1", "monitoring.coreos.com/v1", "gateway.networking.k8s.io/v1"):
        if not cluster.serves(api):
            pytest.skip(f"NO {api}: the cluster lacks KEDA, the Prometheus operator's or the Gateway's types")


def deploy(image: Image, settings: Settings, options: ClusterOptions) -> Delivery:
    return Kubernetes(options=options).deliver(plan(image, settings), progress=Silent())


def by_keda(options: ClusterOptions, **changes: Any) -> Settings:
    """`PLAIN`, scaled by KEDA in the test's namespace, with little patience."""
    keda = KedaSettings(enabled=True, prometheus=PROMETHEUS, polling_seconds=1, cooldown_seconds=3)
    scaling = AutoscalingSettings(min_replicas=1, max_replicas=3, keda=replace(keda, **changes))
    return replace(PLAIN, namespace=options.namespace, autoscaling=scaling)


def live(options: ClusterOptions, api_version: str, kind: str, name: str = "iris") -> Object | None:
    return Cluster.connect(options).get(api_version, kind, name)


def scaler(options: ClusterOptions) -> Object:
    found = live(options, "autoscaling/v2", "HorizontalPodAutoscaler")
    assert found is not None
    return found


def replicas(options: ClusterOptions) -> int:
    found = live(options, "apps/v1", "Deployment")
    assert found is not None
    return int(found["spec"].get("replicas", 1))


def until(condition: Callable[[], bool], what: str, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.5)


def actions(delivery: Delivery) -> dict[str, str]:
    return {change.kind: change.action for change in delivery.changes}


def test_objects_of_gateway_and_operator_are_taken_and_stay_unchanged(
    stub_image: Image, options: ClusterOptions
) -> None:
    kinds = {"NetworkPolicy", "PodMonitor", "HTTPRoute"}
    done = deploy(stub_image, EXPOSED, options)
    first = actions(done)
    # The cluster has the types without the controllers.
    assert [text.partition(":")[0] for text in done.warnings] == [
        "no controller has answered for HTTPRoute iris"
    ]
    assert {kind: first[kind] for kind in kinds} == dict.fromkeys(kinds, "created")
    before = {
        one["kind"]: Cluster.connect(options).live(one) for one in objects.build(plan(stub_image, EXPOSED))
    }
    second = deploy(stub_image, EXPOSED, options)
    assert set(actions(second).values()) == {"unchanged"}
    assert Kubernetes(options=options).diff(plan(stub_image, EXPOSED)) == ""
    for kind in kinds:
        wanted = before[kind]
        now = Cluster.connect(options).live(wanted) if wanted else None
        assert wanted and now
        assert now["metadata"]["resourceVersion"] == wanted["metadata"]["resourceVersion"]


def broken(one: Object, *path: Any, value: Any) -> Object:
    node: Any = one
    for step in path[:-1]:
        node = node[step]
    node[path[-1]] = value
    return one


@pytest.mark.parametrize(
    ("kind", "path", "value"),
    [
        ("ScaledObject", ("spec", "triggers", 0, "metadata", "threshold"), 6),
        ("ScaledObject", ("spec", "triggers"), None),
        ("ScaledObject", ("spec", "coolDown"), 5),
        ("PodMonitor", ("spec", "podMetricsEndpoints", 0, "port"), 3000),
        ("PodMonitor", ("spec", "podMetricsEndpoints", 0, "interval"), "often"),
        ("ServiceMonitor", ("spec", "endpoints", 0, "port"), 3000),
        ("HTTPRoute", ("spec", "rules", 0, "timeouts", "request"), "5"),
        ("HTTPRoute", ("spec", "hostnames"), ["10.0.0.1:80"]),
    ],
)
def test_the_types_refuse_what_is_broken(
    stub_image: Image, options: ClusterOptions, kind: str, path: tuple[Any, ...], value: Any
) -> None:
    cluster = Cluster.connect(options)
    keda = replace(by_keda(options), monitoring=MonitoringSettings(discovery="servicemonitor"))
    made = [*objects.build(plan(stub_image, EXPOSED)), *objects.build(plan(stub_image, keda))]
    one = next(each for each in made if each["kind"] == kind)
    cluster.apply(one, manager="servegen", dry_run=True)
    with pytest.raises(RefusalError):
        cluster.apply(broken(one, *path, value=value), manager="servegen", dry_run=True)


def test_the_autoscaler_moves_to_keda_and_back_and_the_replicas_stay(
    stub_image: Image, options: ClusterOptions
) -> None:
    deploy(stub_image, replace(PLAIN, autoscaling=AutoscalingSettings(min_replicas=2)), options)
    keda = by_keda(options)
    scaled = replace(keda, autoscaling=replace(keda.autoscaling, min_replicas=2))
    assert actions(deploy(stub_image, scaled, options))["ScaledObject"] == "created"
    until(lambda: "ownerReferences" in scaler(options)["metadata"], "KEDA owns the autoscaler")
    until(lambda: scaler(options)["spec"]["metrics"][0]["type"] == "External", "KEDA's metric")
    assert replicas(options) == 2
    assert set(actions(deploy(stub_image, scaled, options)).values()) == {"unchanged"}

    back = deploy(stub_image, replace(PLAIN, autoscaling=AutoscalingSettings(min_replicas=2)), options)
    assert actions(back)["ScaledObject"] == "deleted"
    assert actions(back)["HorizontalPodAutoscaler"] == "created"
    assert "ownerReferences" not in scaler(options)["metadata"]
    assert replicas(options) == 2


def caller(image: Image) -> Object:
    """A pod that Prometheus knows of; as long as it is there it stands for load at a gateway or a queue."""
    template = next(one for one in objects.build(plan(image, PLAIN)) if one["kind"] == "Deployment")
    spec = template["spec"]["template"]["spec"]
    notes = template["spec"]["template"]["metadata"]["annotations"]
    (container,) = spec["containers"]
    kept = {name: container[name] for name in ("name", "image", "securityContext", "volumeMounts")}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "caller", "labels": {"role": "caller"}, "annotations": notes},
        "spec": {
            "automountServiceAccountToken": False,
            "securityContext": spec["securityContext"],
            "terminationGracePeriodSeconds": 1,
            "containers": [kept],
            "volumes": spec["volumes"],
        },
    }


def test_a_model_sleeps_is_deployed_asleep_and_wakes(
    stub_image: Image, options: ClusterOptions, api: Any
) -> None:
    wakes = f'count(up{{namespace="{options.namespace}",role="caller"}})'
    keda = by_keda(options, wake_query=wakes)
    sleepy = replace(keda, autoscaling=replace(keda.autoscaling, min_replicas=0))
    api.create_namespaced_pod(options.namespace, caller(stub_image))
    assert deploy(stub_image, sleepy, options).ready == 1
    until(lambda: active(options) == "True", "KEDA sees the caller")
    api.delete_namespaced_pod("caller", options.namespace)
    until(lambda: replicas(options) == 0, "the model sleeps")

    asleep_with = replace(sleepy, env={"LEVEL": "info"})
    asleep = deploy(stub_image, asleep_with, options)
    assert (asleep.ready, asleep.replicas) == (0, 0)
    assert any("scaled to zero" in text for text in asleep.warnings)

    api.create_namespaced_pod(options.namespace, caller(stub_image))
    until(lambda: replicas(options) == 1, "a caller wakes it")
    until(lambda: ready(options) == 1, "it answers")
    fixed = replace(asleep_with, replicas=1, autoscaling=AutoscalingSettings(enabled=False))
    assert deploy(stub_image, fixed, options).replicas == 1
    assert live(options, "autoscaling/v2", "HorizontalPodAutoscaler") is None


def active(options: ClusterOptions) -> str:
    found = live(options, "keda.sh/v1alpha1", "ScaledObject") or {}
    conditions = found.get("status", {}).get("conditions", ())
    return next((str(one["status"]) for one in conditions if one["type"] == "Active"), "")


def ready(options: ClusterOptions) -> int:
    found = live(options, "apps/v1", "Deployment") or {}
    return int(found.get("status", {}).get("readyReplicas", 0))


def request_body() -> bytes:
    """Large enough that the server works on it and the test does not."""
    rows = [[5.1, 3.5, 1.4, 0.2]] * 20_000
    columns = ["sepal length (cm)", "sepal width (cm)", "petal length (cm)", "petal width (cm)"]
    return json.dumps({"dataframe_split": {"columns": columns, "data": rows}}).encode()


@contextmanager
def load(url: str, body: bytes, clients: int) -> Iterator[list[str]]:
    """So many requests in flight all the time; what went wrong with any of them."""
    stop, failed = threading.Event(), []

    def ask() -> None:
        request = urllib.request.Request(url, data=body, headers={"Content-Type": "application/json"})
        while not stop.is_set():
            try:
                with urllib.request.urlopen(request, timeout=30) as answer:
                    answer.read()
            except OSError as exc:
                failed.append(repr(exc))

    threads = [threading.Thread(target=ask) for _ in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield failed
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def test_replicas_follow_the_requests_in_flight(workspace: Workspace, options: ClusterOptions) -> None:
    reference = workspace.ok("package", "models:/iris@champion", "--push", "--no-verify").strip()
    file = workspace.folder / "scaling.yaml"
    keda = {"enabled": True, "prometheus": PROMETHEUS, "polling_seconds": 2}
    settings = {
        "namespace": options.namespace,
        "name": "iris",
        "min_ready_seconds": 0,
        "resources": {"cpu": "100m", "memory": "512Mi"},
        "autoscaling": {"min_replicas": 1, "max_replicas": 3, "in_flight": "4", "keda": keda},
    }
    file.write_text(json.dumps({"deploy": settings}))
    kubeconfig = {"KUBECONFIG": str(options.kubeconfig)}
    done = json.loads(workspace.ok("deploy", reference, "--file", str(file), "--json", **kubeconfig))
    assert (done["ready"], done["warnings"]) == (1, [])
    with load(f"http://{done['cluster_ip']}/invocations", request_body(), CLIENTS) as failed:
        until(lambda: ready(options) == 3, "three replicas for twelve requests in flight")
    assert failed == []
