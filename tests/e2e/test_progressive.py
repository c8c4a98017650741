"""A new version beside the one that serves: canaries by their objects, blue-green under load."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from servegen import progressive
from servegen.deployed import releases
from servegen.errors import ConfigError, NotDeployedError
from servegen.kube import instances, traffic
from servegen.kube.client import Cluster
from servegen.kube.options import ClusterOptions
from servegen.planning.deployment import plan
from servegen.progress import Silent
from servegen.progressive import Steps
from servegen.targets.k8s import Kubernetes
from servegen.values.deployment import AutoscalingSettings, Deployment, ResourceSettings, Settings
from servegen.values.image import LABEL, Image
from servegen.values.network import RouteSettings
from tests.e2e.life import Load

pytest_plugins = ("tests.e2e.kubernetes",)
pytestmark = pytest.mark.e2e

STABLE = Settings(
    resources=ResourceSettings(cpu="50m", memory="64Mi", ephemeral_storage="16Mi"),
    min_ready_seconds=0,
    replicas=1,
    autoscaling=AutoscalingSettings(enabled=False),
)
ROUTED = replace(STABLE, route=RouteSettings(gateway="public"))
GOOD = {"LEVEL": "2"}


@pytest.fixture
def image(stub_image: Image) -> Image:
    """A model without an example, as the stub answers none."""
    labels = tuple(pair for pair in stub_image.labels if pair[0] != f"{LABEL}example")
    return replace(stub_image, labels=labels)


def deploy(wanted: Deployment, options: ClusterOptions) -> str:
    return str(Kubernetes(options=options).deliver(wanted, progress=Silent()).cluster_ip)


def weights(options: ClusterOptions) -> dict[str, int]:
    found = traffic.route(Cluster.connect(options), "iris")
    assert found is not None
    return dict(traffic.weights(found))


def env(options: ClusterOptions, name: str) -> dict[str, str]:
    found = Cluster.connect(options).get("apps/v1", "Deployment", name)
    assert found is not None
    (container,) = found["spec"]["template"]["spec"]["containers"]
    return {one["name"]: one.get("value", "") for one in container["env"]}


def test_a_canary_starts_moves_goes_and_is_promoted(
    image: Image, options: ClusterOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    # No gateway has to hear of the weights.
    monkeypatch.setattr(progressive, "PAUSE_SECONDS", 0.5)
    cluster = Cluster.connect(options)
    candidate = plan(image, replace(ROUTED, env=GOOD))
    with pytest.raises(NotDeployedError):
        progressive.start(candidate, Steps(percents=(10,)), options, Silent())
    deploy(plan(image, ROUTED), options)
    progressive.start(candidate, Steps(percents=(10,)), options, Silent())
    assert weights(options) == {"iris": 90, "iris-canary": 10}
    progressive.move("iris", Steps(percents=(50,)), options, Silent())
    # A deploy of the stable, and nothing to do in it, leaves the canary its requests.
    deploy(plan(image, ROUTED), options)
    assert weights(options) == {"iris": 50, "iris-canary": 50}
    assert [one.number for one in releases("iris", options)] == [1]
    progressive.abort("iris", traffic.CANARY, options, Silent())
    assert weights(options) == {"iris": 100}
    assert instances.find(cluster, "iris-canary").objects == ()
    progressive.start(candidate, Steps(percents=(10,)), options, Silent())
    progressive.promote("iris", traffic.CANARY, options, Silent())
    assert weights(options) == {"iris": 100}
    assert instances.find(cluster, "iris-canary").objects == ()
    assert env(options, "iris")["LEVEL"] == "2"


def test_blue_green_switches_under_load_without_a_failed_request(
    image: Image, options: ClusterOptions
) -> None:
    address = deploy(plan(image, STABLE), options)
    with pytest.raises(ConfigError, match="no HTTPRoute"):
        progressive.start(plan(image, STABLE), Steps(percents=(10,)), options, Silent())
    load = Load(host=address, request=b"GET /livez HTTP/1.0\r\n\r\n", rate=50)
    load.await_first()
    with load:
        progressive.switch(plan(image, replace(STABLE, env=GOOD)), 2, options, Silent())
        time.sleep(1)
    assert load.failed == []
    assert env(options, "iris")["LEVEL"] == "2"
    assert instances.find(Cluster.connect(options), "iris-next").objects == ()
    service = Cluster.connect(options).get("v1", "Service", "iris")
    assert service is not None
    assert traffic.served_by(service) == "iris"
