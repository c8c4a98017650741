from dataclasses import replace

import kubernetes_validate
import pytest

from servegen.kube import invariants, objects, order, restricted
from servegen.kube.versions import NEWEST, OLDEST, OPT_IN, supports
from servegen.planning.deployment import plan
from servegen.values.deployment import AutoscalingSettings, KubeVersion, Settings
from servegen.values.network import MonitoringSettings, NetworkPolicySettings, RouteSettings
from servegen.values.scaling import KedaSettings
from tests.kube.deployments import ADDED, EVERYTHING, KEDA, deployment, everything, image

VERSIONS = [f"1.{minor}" for minor in range(OLDEST.minor, NEWEST.minor + 1)]
CONFIGURATIONS = {
    "defaults": Settings(),
    "everything": EVERYTHING,
    "fixed": Settings(autoscaling=AutoscalingSettings(enabled=False), replicas=3),
    "dev": Settings(dev=True, pre_stop_seconds=0, min_ready_seconds=0),
    "keda": KEDA,
    "added": ADDED,
}
CUSTOM = {"PodMonitor", "ServiceMonitor", "ScaledObject", "HTTPRoute"}
"""Kinds whose types are not Kubernetes' own; tests/e2e/test_scaling.py asks a server that has them."""


def by_kind(found):
    return {one["kind"]: one for one in found}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_objects_are_strictly_valid_for_every_supported_kubernetes(name, version):
    settings = replace(CONFIGURATIONS[name], kube_version=version)
    for setting, field in OPT_IN.items():
        if not supports(KubeVersion.parse(version), field):
            settings = replace(settings, **{setting: getattr(Settings(), setting)})
    for one in objects.build(plan(image(), settings)):
        if one["kind"] not in CUSTOM:
            kubernetes_validate.validate(one, version, strict=True)


def test_the_validator_would_notice_an_unknown_field():
    one = by_kind(objects.build(deployment()))["Deployment"]
    one["spec"]["template"]["spec"]["containers"][0]["readinessProbe"]["periodSecond"] = 5
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(one, "1.35", strict=True)


def test_objects_come_in_the_order_of_apply():
    assert [one["kind"] for one in objects.build(everything())] == [
        "ServiceAccount",
        "NetworkPolicy",
        "Service",
        "Deployment",
        "PodDisruptionBudget",
        "HorizontalPodAutoscaler",
        "PodMonitor",
        "HTTPRoute",
    ]
    assert [one["kind"] for one in objects.build(plan(image(), KEDA))][-2:] == [
        "ServiceMonitor",
        "ScaledObject",
    ]
    assert order.rank("VirtualService") > order.rank("HTTPRoute")


def test_every_object_carries_the_instance_as_its_name_and_label():
    for one in objects.build(everything()):
        about = one["metadata"]
        assert about["name"] == about["labels"]["app.kubernetes.io/instance"] == "iris-prod"
        assert about["namespace"] == "ml"
        assert list(about["labels"]) == sorted(about["labels"])
        assert about["annotations"]["servegen.dev/model-name"] == "iris"


def test_without_a_namespace_none_is_written():
    assert all("namespace" not in one["metadata"] for one in objects.build(deployment()))


def test_the_autoscaler_owns_the_number_of_replicas():
    scaled = by_kind(objects.build(deployment()))
    assert "replicas" not in scaled["Deployment"]["spec"]
    fixed = by_kind(objects.build(deployment(autoscaling=AutoscalingSettings(enabled=False), replicas=3)))
    assert fixed["Deployment"]["spec"]["replicas"] == 3
    assert "HorizontalPodAutoscaler" not in fixed


@pytest.mark.parametrize(
    ("version", "metric", "tolerance", "eviction", "groups"),
    [
        ("1.29", "Resource", False, False, False),
        ("1.30", "ContainerResource", False, False, False),
        ("1.31", "ContainerResource", False, True, False),
        ("1.34", "ContainerResource", False, True, False),
        ("1.35", "ContainerResource", True, True, True),
    ],
)
def test_fields_appear_with_the_version_that_keeps_them(version, metric, tolerance, eviction, groups):
    made = by_kind(objects.build(deployment(kube_version=version)))
    scaler = made["HorizontalPodAutoscaler"]["spec"]
    assert scaler["metrics"][0]["type"] == metric
    assert ("tolerance" in scaler["behavior"]["scaleUp"]) is tolerance
    assert ("unhealthyPodEvictionPolicy" in made["PodDisruptionBudget"]["spec"]) is eviction
    context = made["Deployment"]["spec"]["template"]["spec"]["securityContext"]
    assert ("supplementalGroupsPolicy" in context) is groups


def test_a_changed_model_changes_no_selector():
    def selectors(made):
        return [one["spec"].get("selector") for one in made if one["kind"] != "ServiceAccount"]

    before = objects.build(deployment())
    after = objects.build(plan(image(model_version="8", pin="models:/iris/8"), Settings()))
    assert selectors(before) == selectors(after)
    assert before != after


def test_pods_do_not_roll_because_servegen_was_updated():
    def template(made):
        return by_kind(made)["Deployment"]["spec"]["template"]

    old = deployment()
    assert template(objects.build(old)) == template(objects.build(replace(old, generator="9.9.9")))
    assert objects.build(old) != objects.build(replace(old, generator="9.9.9"))


def test_free_text_stays_out_of_labels():
    made = objects.build(plan(image(model_name="Fraud: {{ x }}", model_version=""), Settings()))
    for one in made:
        assert one["metadata"]["annotations"]["servegen.dev/model-name"] == "Fraud: {{ x }}"
        assert not any("{" in value for value in one["metadata"]["labels"].values())
    assert by_kind(made)["Deployment"]["metadata"]["labels"]["app.kubernetes.io/version"] == "sha-" + "b" * 12


def test_all_configurations_pass_the_offline_checks():
    for settings in CONFIGURATIONS.values():
        made = objects.build(plan(image(), settings))
        assert invariants.violations(made) == ()
        assert restricted.violations_of(made) == ()


def test_an_image_that_speaks_grpc_gets_a_second_port():
    found = by_kind(objects.build(plan(image(grpc_port="9000"), Settings())))
    (container,) = found["Deployment"]["spec"]["template"]["spec"]["containers"]
    assert container["ports"][1] == {"name": "grpc", "containerPort": 9000, "protocol": "TCP"}
    port = found["Service"]["spec"]["ports"][1]
    assert (port["port"], port["targetPort"], port["appProtocol"]) == (9000, "grpc", "kubernetes.io/h2c")
    for each in found.values():
        kubernetes_validate.validate(each, str(NEWEST), strict=True)


def test_by_default_nothing_is_written_that_the_cluster_may_lack():
    assert not CUSTOM & set(by_kind(objects.build(deployment())))
    assert "NetworkPolicy" not in by_kind(objects.build(deployment()))


def test_a_network_policy_lets_in_who_is_named_and_out_to_dns():
    policy = by_kind(objects.build(everything()))["NetworkPolicy"]["spec"]

    def namespace(name):
        return {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}}

    assert policy["podSelector"] == {"matchLabels": {"app.kubernetes.io/instance": "iris-prod"}}
    (ingress,) = policy["ingress"]
    assert ingress["from"] == [
        {"podSelector": {}},
        namespace("watch"),
        namespace("gateways"),
        namespace("batch"),
        {"ipBlock": {"cidr": "10.1.0.0/16"}},
    ]
    assert [port["port"] for port in ingress["ports"]] == ["http", "grpc"]
    dns, features, store = policy["egress"]
    assert {(port["port"], port["protocol"]) for port in dns["ports"]} == {(53, "UDP"), (53, "TCP")}
    assert (features["to"], store["to"]) == ([namespace("features")], [{"ipBlock": {"cidr": "192.0.2.7/32"}}])


def test_nobody_scrapes_where_monitoring_is_off():
    quiet = MonitoringSettings(discovery="none")
    made = by_kind(
        objects.build(deployment(monitoring=quiet, network_policy=NetworkPolicySettings(enabled=True)))
    )
    assert made["NetworkPolicy"]["spec"]["ingress"][0]["from"] == [{"podSelector": {}}]
    notes = made["Deployment"]["spec"]["template"]["metadata"]["annotations"]
    assert not any(key.startswith("prometheus.io/") for key in notes)


@pytest.mark.parametrize(
    ("discovery", "kind", "endpoints"),
    [
        ("podmonitor", "PodMonitor", "podMetricsEndpoints"),
        ("servicemonitor", "ServiceMonitor", "endpoints"),
    ],
)
def test_a_monitor_takes_the_place_of_annotations(discovery, kind, endpoints):
    wanted = MonitoringSettings(discovery=discovery, interval_seconds=30, labels={"release": "prometheus"})
    made = by_kind(objects.build(deployment(monitoring=wanted)))
    monitor = made[kind]
    assert monitor["metadata"]["labels"]["release"] == "prometheus"
    assert monitor["spec"][endpoints] == [{"port": "http", "path": "/metrics", "interval": "30s"}]
    assert monitor["spec"]["selector"] == made["Deployment"]["spec"]["selector"]
    assert "release" not in made["Service"]["metadata"]["labels"]
    notes = made["Deployment"]["spec"]["template"]["metadata"]["annotations"]
    assert not any(key.startswith("prometheus.io/") for key in notes)


def test_a_route_waits_longer_than_the_server():
    wanted = RouteSettings(gateway="public", gateway_namespace="gateways", hostnames=("iris.example.com",))
    made = by_kind(objects.build(deployment(route=wanted, request_timeout_seconds=20)))
    spec = made["HTTPRoute"]["spec"]
    assert spec["parentRefs"] == [{"name": "public", "namespace": "gateways"}]
    assert spec["hostnames"] == ["iris.example.com"]
    (rule,) = spec["rules"]
    assert rule["timeouts"] == {"request": "25s", "backendRequest": "20s"}
    assert rule["backendRefs"] == [{"name": "iris", "port": 80, "weight": 100}]


def test_requests_in_flight_come_before_cpu():
    scaling = AutoscalingSettings(metric="in-flight", in_flight="2.5")
    metrics = by_kind(objects.build(deployment(autoscaling=scaling)))["HorizontalPodAutoscaler"]["spec"][
        "metrics"
    ]
    assert [one["type"] for one in metrics] == ["Pods", "ContainerResource"]
    assert metrics[0]["pods"] == {
        "metric": {"name": "servegen_requests_in_flight"},
        "target": {"type": "AverageValue", "averageValue": "2500m"},
    }


def test_keda_scales_on_the_pods_own_metric_and_wakes_on_another():
    made = by_kind(objects.build(plan(image(), replace(KEDA, environment="prod"))))
    assert "HorizontalPodAutoscaler" not in made
    assert "replicas" not in made["Deployment"]["spec"]
    spec = made["ScaledObject"]["spec"]
    assert (spec["minReplicaCount"], spec["maxReplicaCount"], spec["cooldownPeriod"]) == (0, 10, 300)
    assert spec["fallback"] == {"failureThreshold": 3, "replicas": 2}
    assert spec["advanced"]["horizontalPodAutoscalerConfig"]["name"] == "iris-prod"
    own, wake = (trigger["metadata"] for trigger in spec["triggers"])
    assert own["query"] == (
        'sum(servegen_requests_in_flight{namespace="ml",pod=~"iris-prod-[a-z0-9]+-[a-z0-9]{5}"})'
    )
    assert wake["query"] == 'sum(gateway_requests_in_flight{model="iris"})'
    assert own["threshold"] == wake["threshold"] == "6"


def test_a_missing_series_is_no_load_only_where_there_may_be_no_pod():
    def first(**changes):
        scaling = replace(KEDA.autoscaling, **changes)
        made = by_kind(objects.build(plan(image(), replace(KEDA, autoscaling=scaling))))
        return made["ScaledObject"]["spec"]

    assert first()["triggers"][0]["metadata"]["ignoreNullValues"] == "true"
    assert first()["initialCooldownPeriod"] == 600
    awake = first(min_replicas=3)
    assert awake["triggers"][0]["metadata"]["ignoreNullValues"] == "false"
    assert awake["fallback"]["replicas"] == 3
    assert "initialCooldownPeriod" not in awake


def test_a_query_of_the_users_needs_no_namespace():
    keda = KedaSettings(enabled=True, prometheus="http://prometheus:9090", query="sum(load)")
    scaling = AutoscalingSettings(in_flight="1500m", keda=keda)
    spec = by_kind(objects.build(deployment(autoscaling=scaling)))["ScaledObject"]["spec"]
    (trigger,) = spec["triggers"]
    assert (trigger["metadata"]["query"], trigger["metadata"]["threshold"]) == ("sum(load)", "1.5")


def test_what_is_asked_for_by_name_is_written():
    made = by_kind(objects.build(everything()))
    assert made["Service"]["spec"]["trafficDistribution"] == "PreferSameZone"
    assert made["Deployment"]["spec"]["template"]["spec"]["hostUsers"] is False
