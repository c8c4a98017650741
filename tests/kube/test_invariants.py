import copy

import pytest

from servegen.errors import RenderError
from servegen.kube import invariants, objects
from servegen.kube.objects import hpa
from servegen.planning.deployment import plan
from tests.kube.deployments import KEDA, deployment, everything, image


def spec(made, kind):
    return next(one["spec"] for one in made if one["kind"] == kind)


def containers(made):
    return spec(made, "Deployment")["template"]["spec"]["containers"]


def container(made):
    return containers(made)[0]


def drop(kind):
    def mutate(made):
        made[:] = [one for one in made if one["kind"] != kind]

    return mutate


MUTANTS = {
    "Service iris selects no pod": lambda made: spec(made, "Service")["selector"].update(x="y"),
    "PodDisruptionBudget iris selects no pod": lambda made: spec(made, "PodDisruptionBudget")["selector"][
        "matchLabels"
    ].update(x="y"),
    "selects by app.kubernetes.io/version": lambda made: spec(made, "Service")["selector"].update(
        {"app.kubernetes.io/version": "7"}
    ),
    "scales other": lambda made: spec(made, "HorizontalPodAutoscaler")["scaleTargetRef"].update(name="other"),
    "sets replicas although": lambda made: spec(made, "Deployment").update(replicas=2),
    "neither replicas nor an autoscaler": drop("HorizontalPodAutoscaler"),
    "minReplicas above maxReplicas": lambda made: spec(made, "HorizontalPodAutoscaler").update(
        minReplicas=99
    ),
    "more than one autoscaler": lambda made: made.append(
        {
            "kind": "ScaledObject",
            "metadata": {"name": "iris"},
            "spec": {
                "scaleTargetRef": {"name": "iris"},
                "minReplicaCount": 1,
                "maxReplicaCount": 2,
                "triggers": [],
            },
        }
    ),
    "can block the drain": lambda made: spec(made, "PodDisruptionBudget").update(maxUnavailable=0),
    "points to port web": lambda made: spec(made, "Service")["ports"][0].update(targetPort="web"),
    "readinessProbe asks port web": lambda made: container(made)["readinessProbe"]["httpGet"].update(
        port="web"
    ),
    "before it has drained": lambda made: spec(made, "Deployment")["template"]["spec"].update(
        terminationGracePeriodSeconds=30
    ),
    "within minReadySeconds": lambda made: spec(made, "Deployment").update(minReadySeconds=600),
    "sets the variable HOME twice": lambda made: container(made)["env"].append(
        {"name": "HOME", "value": "/"}
    ),
    "has port 3000/TCP twice": lambda made: containers(made).append(
        {"name": "proxy", "ports": [{"containerPort": 3000}]}
    ),
    "has port http twice": lambda made: containers(made).append(
        {"name": "proxy", "ports": [{"name": "http", "containerPort": 8080}]}
    ),
    "SERVEGEN_DRAIN_DELAY=soon, which is no number": lambda made: container(made)["env"].append(
        {"name": "SERVEGEN_DRAIN_DELAY", "value": "soon"}
    ),
    "runs as iris, which is not among": drop("ServiceAccount"),
    "occurs twice": lambda made: made.append(made[0]),
}


CUSTOM_MUTANTS = {
    "NetworkPolicy iris-prod selects no pod": lambda made: spec(made, "NetworkPolicy")["podSelector"][
        "matchLabels"
    ].update(x="y"),
    "NetworkPolicy iris-prod names port web": lambda made: spec(made, "NetworkPolicy")["ingress"][0]["ports"][
        0
    ].update(port="web"),
    "PodMonitor iris-prod selects no pod": lambda made: spec(made, "PodMonitor")["selector"][
        "matchLabels"
    ].update(x="y"),
    "PodMonitor iris-prod names port web": lambda made: spec(made, "PodMonitor")["podMetricsEndpoints"][
        0
    ].update(port="web"),
    "leads to iris-prod:8080, which is no Service": lambda made: spec(made, "HTTPRoute")["rules"][0][
        "backendRefs"
    ][0].update(port=8080),
    "goes to zero, where none of its metrics": lambda made: spec(made, "HorizontalPodAutoscaler").update(
        minReplicas=0
    ),
}
KEDA_MUTANTS = {
    "ServiceMonitor iris selects no Service": lambda made: spec(made, "ServiceMonitor")["selector"][
        "matchLabels"
    ].update(x="y"),
    "ServiceMonitor iris names port web": lambda made: spec(made, "ServiceMonitor")["endpoints"][0].update(
        port="web"
    ),
    "minReplicaCount above maxReplicaCount": lambda made: spec(made, "ScaledObject").update(
        minReplicaCount=11
    ),
    "has threshold: 6 in a trigger": lambda made: spec(made, "ScaledObject")["triggers"][0][
        "metadata"
    ].update(threshold=6),
    "has no trigger that sees load": lambda made: spec(made, "ScaledObject")["triggers"].pop(),
}


@pytest.mark.parametrize(
    ("planned", "mutants", "text"),
    [
        *((everything(), CUSTOM_MUTANTS, text) for text in CUSTOM_MUTANTS),
        *((plan(image(), KEDA), KEDA_MUTANTS, text) for text in KEDA_MUTANTS),
    ],
)
def test_each_contradiction_of_optional_objects_is_noticed(planned, mutants, text):
    made = [copy.deepcopy(one) for one in objects.build(planned)]
    mutants[text](made)
    assert any(text in line for line in invariants.violations(made))


@pytest.mark.parametrize("text", MUTANTS)
def test_each_contradiction_is_noticed(text):
    made = [copy.deepcopy(one) for one in objects.build(deployment())]
    MUTANTS[text](made)
    assert any(text in line for line in invariants.violations(made))


def test_contradicting_objects_are_never_returned(monkeypatch):
    monkeypatch.setattr(hpa, "OBJECT", lambda deployment: None)
    with pytest.raises(RenderError, match="neither replicas nor an autoscaler"):
        objects.build(deployment())
