"""Where requests go: weights of routes, selectors of Services, and what a release remembers of them."""

import pytest

from servegen.kube import objects, traffic
from servegen.kube.invariants import violations
from servegen.planning.tracks import aside
from servegen.values.deployment import Deployment
from tests.kube.deployments import deployment, everything


def of_kind(made, kind):
    return next(one for one in made if one["kind"] == kind)


@pytest.mark.parametrize("track", traffic.TRACKS)
def test_what_runs_beside_shares_no_object_and_no_pod(track):
    stable, beside = objects.build(everything()), objects.build(aside(everything(), track))
    assert not {one["metadata"]["name"] for one in stable} & {one["metadata"]["name"] for one in beside}
    assert not violations([*stable, *beside])
    pods = of_kind(beside, "Deployment")["spec"]["template"]["metadata"]["labels"]
    assert pods["servegen.dev/track"] == track
    for one in stable:
        chosen = one["spec"].get("selector", {}) if one["kind"] != "HTTPRoute" and "spec" in one else {}
        chosen = chosen.get("matchLabels", chosen)
        assert not chosen or not chosen.items() <= pods.items()


def test_what_runs_beside_has_no_route_of_its_own():
    kinds = {one["kind"] for one in objects.build(aside(everything(), traffic.CANARY))}
    assert "HTTPRoute" not in kinds
    assert {"Deployment", "Service", "PodDisruptionBudget"} <= kinds


def test_it_starts_with_as_many_pods_as_it_replaces_within_its_maximum():
    scaled: Deployment = deployment()
    assert scaled.autoscaling is not None
    least = aside(scaled, traffic.NEXT, replicas=1000).autoscaling
    assert least is not None
    assert least.min_replicas == scaled.autoscaling.max_replicas


def test_weights_sum_to_a_hundred_and_are_read_back():
    route = of_kind(objects.build(everything()), "HTTPRoute")
    name = route["metadata"]["name"]
    split = traffic.split(route, 10)
    assert traffic.weights(split) == {name: 90, f"{name}-canary": 10}
    assert [ref["port"] for ref in split["spec"]["rules"][0]["backendRefs"]] == [80, 80]
    assert traffic.weights(traffic.split(split, 50)) == {name: 50, f"{name}-canary": 50}


def test_a_release_knows_nothing_of_a_split():
    made = objects.build(everything())
    split = tuple(traffic.split(one, 25) if one["kind"] == "HTTPRoute" else one for one in made)
    assert split != made
    assert traffic.whole(split) == made
    assert traffic.whole(made) == made
