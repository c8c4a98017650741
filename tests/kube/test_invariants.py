import copy

import pytest

from servegen.errors import RenderError
from servegen.kube import invariants, objects
from servegen.kube.objects import hpa
from tests.kube.deployments import deployment


def spec(made, kind):
    return next(one["spec"] for one in made if one["kind"] == kind)


def container(made):
    return spec(made, "Deployment")["template"]["spec"]["containers"][0]


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
            "spec": {"scaleTargetRef": {"name": "iris"}},
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
    "runs as iris, which is not among": drop("ServiceAccount"),
    "occurs twice": lambda made: made.append(made[0]),
}


@pytest.mark.parametrize("text", MUTANTS)
def test_each_contradiction_is_noticed(text):
    made = [copy.deepcopy(one) for one in objects.build(deployment())]
    MUTANTS[text](made)
    assert any(text in line for line in invariants.violations(made))


def test_contradicting_objects_are_never_returned(monkeypatch):
    monkeypatch.setattr(hpa, "OBJECT", lambda deployment: None)
    with pytest.raises(RenderError, match="neither replicas nor an autoscaler"):
        objects.build(deployment())
