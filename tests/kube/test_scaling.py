import copy

import pytest

from servegen.kube import scaling

CPU = {
    "type": "ContainerResource",
    "containerResource": {
        "name": "cpu",
        "container": "server",
        "target": {"type": "Utilization", "averageUtilization": 50},
    },
}
WORKING = (("AbleToScale", "True", "ReadyForNewScale", ""), ("ScalingActive", "True", "ValidMetricFound", ""))


def hpa(*conditions, current=2, desired=2, cpu=None, **spec):
    read = {"name": "cpu", "container": "server", "current": {"averageUtilization": cpu}}
    return {
        "metadata": {"name": "iris"},
        "spec": {"minReplicas": 2, "maxReplicas": 10, "metrics": [copy.deepcopy(CPU)]} | spec,
        "status": {
            "currentReplicas": current,
            "desiredReplicas": desired,
            "currentMetrics": [{"type": "ContainerResource", "containerResource": read}] if cpu else None,
            "conditions": [
                {"type": kind, "status": state, "reason": reason, "message": message}
                for kind, state, reason, message in conditions
            ],
        },
    }


def scaled_object(*conditions, **spec):
    return {
        "metadata": {"name": "iris"},
        "spec": {"minReplicaCount": 0, "maxReplicaCount": 4} | spec,
        "status": {
            "conditions": [
                {"type": kind, "status": state, "message": text} for kind, state, text in conditions
            ]
        },
    }


def limited(reason):
    return (*WORKING, ("ScalingLimited", "True", reason, "the desired count is beyond the range"))


def able(reason):
    return (("AbleToScale", "True", reason, "recent recommendations were other"), WORKING[1])


@pytest.mark.parametrize(
    ("seen", "words"),
    [
        (
            hpa(*WORKING, desired=4, cpu=95),
            "scaling up from 2 to 4: cpu of container server is 95%, the target 50%",
        ),
        (
            hpa(*WORKING, current=4, desired=3, cpu=20),
            "scaling down from 4 to 3: cpu of container server is 20%",
        ),
        (
            hpa(*limited("TooManyReplicas"), current=10, desired=10, cpu=99),
            "at its maximum of 10, the load would",
        ),
        (hpa(*limited("TooFewReplicas"), cpu=1), "at its minimum of 2, the load would need less: cpu"),
        (hpa(*able("ScaleDownStabilized"), current=4, desired=4, cpu=9), "needed within the last 300 s; cpu"),
        (hpa(*WORKING, cpu=53), "steady: within 10% of the target"),
        (
            hpa(*WORKING, cpu=53, behavior={"scaleUp": {"tolerance": "50m"}}),
            "about to look again: cpu of container server is 53%",
        ),
        (
            hpa(*WORKING, current=3, desired=3, cpu=40),
            "steady: with a replica less it would be above the target",
        ),
        (hpa(), "has not looked at it yet"),
    ],
)
def test_a_working_autoscaler_says_why_the_number_is_what_it_is(seen, words):
    found = scaling.read(seen)
    assert found.working
    assert words in found.why


@pytest.mark.parametrize(
    ("seen", "words"),
    [
        (hpa(("AbleToScale", "False", "FailedGetScale", "not found")), "cannot scale: not found"),
        (
            hpa(WORKING[0], ("ScalingActive", "False", "FailedGetPodsMetric", "no custom metrics API")),
            "cannot scale up or down: no custom metrics API",
        ),
        (
            hpa(
                WORKING[0],
                ("ScalingActive", "False", "FailedGetResourceMetric", "missing request for cpu in …"),
            ),
            "requests none of what is measured",
        ),
        (
            hpa(
                WORKING[0],
                ("ScalingActive", "False", "FailedGetResourceMetric", "no metrics returned from API"),
            ),
            "cannot scale yet: no pod has been measured",
        ),
        (
            hpa(WORKING[0], ("ScalingActive", "False", "ScalingDisabled", ""), current=0),
            "scaled to 0 by hand",
        ),
    ],
)
def test_an_autoscaler_that_cannot_work_says_what_it_lacks(seen, words):
    found = scaling.read(seen)
    assert not found.working
    assert words in found.why


def test_without_metrics_server_the_reason_is_named():
    seen = hpa(WORKING[0], ("ScalingActive", "False", "FailedGetContainerResourceMetric", "unable to fetch"))
    assert "metrics-server" in scaling.read(seen, metrics_served=False).why
    assert "unable to fetch" in scaling.read(seen).why


def test_figures_are_shown_beside_their_targets_also_before_they_are_read():
    (metric,) = scaling.read(hpa(*WORKING, cpu=25)).metrics
    assert (metric.name, metric.now, metric.target, metric.ratio) == (
        "cpu of container server",
        "25%",
        "50%",
        0.5,
    )
    (metric,) = scaling.read(hpa(*WORKING)).metrics
    assert (metric.now, metric.ratio) == (None, None)


def test_external_figures_are_quantities():
    target = {"type": "AverageValue", "averageValue": "6"}
    named = {"metric": {"name": "s0-prometheus"}}
    seen = hpa(*WORKING, metrics=[{"type": "External", "external": named | {"target": target}}])
    current = {"type": "External", "external": named | {"current": {"averageValue": "1500m"}}}
    # An empty entry stands for a figure that could not be read.
    seen["status"]["currentMetrics"] = [{"type": ""}, current]
    (metric,) = scaling.read(seen).metrics
    assert (metric.now, metric.target, metric.ratio) == ("1500m", "6", 0.25)


@pytest.mark.parametrize(
    ("conditions", "working", "words"),
    [
        (
            [("Ready", "False", "Triggers defined in ScaledObject are not working")],
            False,
            "KEDA cannot use it",
        ),
        (
            [("Ready", "True", ""), ("Fallback", "True", "prometheus does not answer")],
            False,
            "fallback number",
        ),
        ([("Ready", "True", ""), ("Active", "False", "")], True, "no load: KEDA keeps it at 0"),
        ([("Paused", "True", "")], False, "paused by an annotation"),
        ([("Ready", "True", ""), ("Active", "True", "")], True, "scaling up from 1 to 3"),
    ],
)
def test_keda_has_the_first_word(conditions, working, words):
    found = scaling.read(hpa(*WORKING, current=1, desired=3), scaled_object=scaled_object(*conditions))
    assert (found.kind, found.minimum, found.working) == ("ScaledObject", 0, working)
    assert words in found.why


def test_a_scaled_object_without_autoscaler_is_shown_as_not_working():
    found = scaling.of_scaled_object(scaled_object())
    assert not found.working
    assert found.maximum == 4
