"""What is left, and said, when bringing in a new version step by step does not get to its end."""

import json

import pytest

from servegen import progressive
from servegen.errors import DeployError, QuotaError, RolloutError, StoppedError
from servegen.kube import traffic
from servegen.kube.client import Cluster
from servegen.progress import Silent
from servegen.progressive import Steps
from servegen.targets.k8s import Kubernetes
from servegen.values.deployment import AutoscalingSettings
from servegen.values.network import RouteSettings
from tests.kube.deployments import deployment

OFF = AutoscalingSettings(enabled=False)
ROUTED = {"autoscaling": OFF, "replicas": 2, "kube_version": "1.35", "route": RouteSettings(gateway="public")}
GO_ON = "go on with servegen promote --canary iris --namespace ml"
BACK = "back with servegen rollback --canary iris --namespace ml"


@pytest.fixture
def canary(api, options, monkeypatch):
    """A stable version with a canary that gets a tenth."""
    monkeypatch.setattr(progressive, "PAUSE_SECONDS", 0)
    resources = [{"kind": "HTTPRoute", "name": "httproutes"}]
    api.answer["/apis/gateway.networking.k8s.io/v1"] = (200, json.dumps({"resources": resources}).encode())
    Kubernetes(options=options).deliver(deployment(**ROUTED), progress=Silent())
    progressive.start(deployment(**ROUTED, env={"LEVEL": "2"}), Steps(percents=(10,)), options, Silent())
    return Cluster.connect(options)


def weights(cluster):
    return traffic.weights(traffic.route(cluster, "iris"))


def test_a_canary_without_ready_pods_gets_no_more_requests(api, options, canary):
    api.objects["/apis/apps/v1/namespaces/ml/deployments/iris-canary"]["status"]["availableReplicas"] = 0
    with pytest.raises(RolloutError, match="no pod of iris-canary is ready") as caught:
        progressive.move("iris", Steps(percents=(50,)), options, Silent())
    assert BACK in caught.value.hint
    assert weights(canary) == {"iris": 90, "iris-canary": 10}
    # Less is always possible.
    progressive.move("iris", Steps(percents=(5,)), options, Silent())
    assert weights(canary) == {"iris": 95, "iris-canary": 5}


def test_a_promotion_that_fails_midway_says_how_to_go_on_and_back(api, options, canary):
    def refuse(server, one):
        message = "exceeded quota: small, requested: pods=1"
        failure = {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": message}
        server.run_pods(one, phase="Pending")
        stored = server.objects["/apis/apps/v1/namespaces/ml/deployments/iris"]
        stored["status"]["conditions"] = [failure]

    working, api.controller = api.controller, refuse
    with pytest.raises(QuotaError) as caught:
        progressive.promote("iris", traffic.CANARY, options, Silent())
    assert f"the promotion of iris-canary is not finished: {GO_ON}, or {BACK}" in caught.value.details
    assert weights(canary) == {"iris": 90, "iris-canary": 10}
    api.controller = working
    progressive.promote("iris", traffic.CANARY, options, Silent())
    assert weights(canary) == {"iris": 100}


def test_ctrl_c_in_a_promotion_says_how_to_go_on(options, canary, monkeypatch):
    def interrupted(*_args):
        raise KeyboardInterrupt

    monkeypatch.setattr(progressive.traffic, "set_weight", interrupted)
    with pytest.raises(StoppedError, match="promotion of iris-canary is not finished") as caught:
        progressive.promote("iris", traffic.CANARY, options, Silent())
    assert caught.value.hint == f"{GO_ON}, or {BACK}"


def test_a_server_that_goes_away_while_a_canary_is_judged_leaves_it_with_its_share(
    options, canary, monkeypatch
):
    def away(*_args):
        raise DeployError("no cluster answers", hint="is it running?")

    monkeypatch.setattr(progressive.samples, "read", away)
    with pytest.raises(DeployError) as caught:
        progressive.move("iris", Steps(percents=(20, 50), seconds=5), options, Silent())
    assert caught.value.details == f"iris-canary stays at 20 %: {GO_ON}, or {BACK}"
