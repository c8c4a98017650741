from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from servegen.errors import RenderError
from servegen.kube import quantity, versions
from servegen.planning.deployment import draft, plan
from servegen.planning.secrets import looks_secret
from servegen.values.deployment import (
    AutoscalingSettings,
    KubeVersion,
    ResourceSettings,
    Settings,
    TolerationSettings,
)
from servegen.values.image import Image, ImageRef, Platform
from servegen.values.network import MonitoringSettings, NetworkPolicySettings, RouteSettings
from servegen.values.scaling import KedaSettings
from tests.kube.deployments import deployment, everything, image


def env(planned):
    return {one.name: one.value for one in planned.env}


def scaling(**settings):
    return AutoscalingSettings(**settings)


def keda(**settings):
    return KedaSettings(enabled=True, **settings)


def to_zero(**settings):
    return scaling(min_replicas=0, keda=keda(prometheus="http://p:9090", **settings))


def test_without_settings_two_replicas_follow_the_load():
    planned = deployment()
    assert planned.replicas is None
    assert (planned.autoscaling.min_replicas, planned.autoscaling.max_replicas) == (2, 10)
    assert planned.profile == "none"
    assert planned.kube_version == KubeVersion(major=1, minor=35)
    assert planned.image.pinned.endswith("@sha256:" + "a" * 64)


def test_dev_means_one_replica():
    assert deployment(dev=True).autoscaling.min_replicas == 1
    assert deployment(dev=True, autoscaling=scaling(enabled=False)).replicas == 1
    assert deployment(autoscaling=scaling(enabled=False)).replicas == 2
    assert deployment(dev=True, autoscaling=scaling(enabled=False), replicas=4).replicas == 4


def test_the_name_comes_from_the_model_and_ends_in_the_environment():
    assert (deployment().name, deployment().instance) == ("iris", "iris")
    planned = deployment(environment="prod")
    assert (planned.name, planned.instance) == ("iris", "iris-prod")
    assert deployment(name="flowers", environment="prod").instance == "flowers-prod"
    long = plan(image(model_name="x" * 80), Settings(environment="staging"))
    assert len(long.instance) <= 45
    assert long.instance.endswith("-staging")


def test_the_version_label_stays_a_string():
    assert deployment().model.version == "7"
    assert plan(image(model_version=""), Settings()).model.version == "sha-" + "b" * 12
    assert plan(image(model_version="", model_digest=""), Settings()).model.version == "sha-" + "a" * 12


@pytest.mark.parametrize(("cpu", "threads"), [("500m", "1"), ("1", "1"), ("2", "2"), ("3900m", "3")])
def test_libraries_start_as_many_threads_as_cores_are_requested(cpu, threads):
    planned = deployment(resources=ResourceSettings(cpu=cpu))
    assert env(planned)["OMP_NUM_THREADS"] == env(planned)["RAYON_NUM_THREADS"] == threads


def test_a_users_variable_replaces_ours_and_new_ones_come_last():
    planned = deployment(env={"OMP_NUM_THREADS": "4", "LEVEL": "info"}, secret_env={"HF_HOME": "s/k"})
    assert env(planned)["OMP_NUM_THREADS"] == "4"
    names = [one.name for one in planned.env]
    assert names[-2:] == ["LEVEL", "HF_HOME"]
    assert len(names) == len(set(names))
    assert (planned.env[-1].secret, planned.env[-1].key) == ("s", "k")


def test_a_models_name_is_not_expanded_like_a_variable():
    assert env(plan(image(model_name="$(HOME)"), Settings()))["SERVEGEN_MODEL_NAME"] == "$$(HOME)"


@given(
    st.integers(1, 86_400),
    st.integers(1, 3600),
    st.integers(0, 15),
    st.integers(0, 300),
    st.integers(0, 3600),
)
def test_a_drain_fits_into_the_grace_and_a_start_into_the_deadline(start, request, stop, drain, ready):
    timing = deployment(
        startup_seconds=start,
        request_timeout_seconds=request,
        pre_stop_seconds=stop,
        drain_delay_seconds=drain,
        min_ready_seconds=ready,
    ).timing
    assert timing.grace_period > timing.pre_stop + timing.drain_delay + timing.drain_timeout
    assert timing.grace_period >= 30
    assert timing.drain_timeout >= timing.request_timeout
    assert timing.startup_probes * 5 >= start
    assert timing.progress_deadline > timing.startup_probes * 5 + timing.min_ready
    assert timing.progress_deadline >= 600


def test_quantities_are_canonical():
    wanted = everything().resources
    assert (wanted.cpu, wanted.cpu_limit, wanted.memory, wanted.tmp_size) == ("2", "4", "1536Mi", "1Gi")
    for text in (wanted.cpu, wanted.memory, wanted.ephemeral_storage_limit):
        assert quantity.canonical(text) == text


def test_surge_is_a_share_only_with_many_replicas():
    assert (deployment().max_surge, deployment().max_unavailable) == ("25%", 0)
    assert deployment(autoscaling=scaling(max_replicas=7)).max_surge == 1
    assert (deployment(surge=False).max_surge, deployment(surge=False).max_unavailable) == (0, 1)


def test_a_kubernetes_that_nobody_knows_yet_is_refused_and_a_server_of_it_gets_the_newest_known():
    with pytest.raises(RenderError, match="newer than this servegen knows"):
        deployment(kube_version="v1.41.2+k3s1")
    newest = KubeVersion(major=1, minor=37)
    assert versions.of_server(KubeVersion(major=1, minor=41)) == newest
    assert deployment(kube_version="v1.37.2+k3s1").kube_version == newest


@pytest.mark.parametrize(
    ("setting", "settings"),
    [
        ("deploy.name", {"name": "Iris"}),
        ("deploy.name", {"name": "x" * 46}),
        ("deploy.name", {"name": "8e1"}),
        ("deploy.environment", {"environment": "Prod_1"}),
        ("deploy.environment", {"environment": "e" * 21}),
        ("deploy.namespace", {"namespace": "My Team"}),
        ("deploy.kube_version", {"kube_version": "1.28"}),
        ("deploy.kube_version", {"kube_version": "latest"}),
        ("deploy.replicas", {"replicas": 3}),
        ("deploy.replicas", {"replicas": 0, "autoscaling": scaling(enabled=False)}),
        ("deploy.autoscaling.min_replicas", {"autoscaling": scaling(min_replicas=0)}),
        ("deploy.autoscaling.max_replicas", {"autoscaling": scaling(min_replicas=11)}),
        ("deploy.autoscaling.metric", {"autoscaling": scaling(metric="gpu")}),
        ("deploy.autoscaling.in_flight", {"autoscaling": scaling(in_flight="0.5")}),
        ("deploy.autoscaling.in_flight", {"autoscaling": scaling(in_flight="4Gi")}),
        ("deploy.autoscaling.in_flight", {"autoscaling": scaling(in_flight="many")}),
        ("deploy.autoscaling.enabled", {"autoscaling": scaling(enabled=False, keda=keda())}),
        ("deploy.autoscaling.keda.prometheus", {"namespace": "ml", "autoscaling": scaling(keda=keda())}),
        (
            "deploy.autoscaling.keda.prometheus",
            {"namespace": "ml", "autoscaling": scaling(keda=keda(prometheus="http://me:pw@host"))},
        ),
        ("deploy.namespace", {"autoscaling": scaling(keda=keda(prometheus="http://p:9090"))}),
        ("deploy.autoscaling.keda.wake_query", {"namespace": "ml", "autoscaling": to_zero()}),
        ("deploy.autoscaling.keda.wake_query", {"namespace": "ml", "autoscaling": to_zero(wake_query=" ")}),
        (
            "deploy.autoscaling.keda.query",
            {"namespace": "ml", "autoscaling": to_zero(query="", wake_query="up")},
        ),
        (
            "deploy.autoscaling.keda.wake_query",
            {"namespace": "ml", "autoscaling": to_zero(wake_query="sum(servegen_requests_in_flight)")},
        ),
        (
            "deploy.autoscaling.keda.polling_seconds",
            {"namespace": "ml", "autoscaling": to_zero(polling_seconds=0)},
        ),
        ("deploy.same_zone", {"same_zone": True, "kube_version": "1.34"}),
        ("deploy.user_namespace", {"user_namespace": True, "kube_version": "1.35"}),
        ("deploy.network_policy.enabled", {"network_policy": NetworkPolicySettings(egress=("features",))}),
        (
            "deploy.network_policy.ingress",
            {"network_policy": NetworkPolicySettings(enabled=True, ingress=("My Team",))},
        ),
        (
            "deploy.network_policy.egress",
            {"network_policy": NetworkPolicySettings(enabled=True, egress=("10.0.0.1/8",))},
        ),
        ("deploy.monitoring.discovery", {"monitoring": MonitoringSettings(discovery="PodMonitor")}),
        ("deploy.monitoring.interval_seconds", {"monitoring": MonitoringSettings(interval_seconds=0)}),
        ("deploy.monitoring.labels", {"monitoring": MonitoringSettings(labels={"a": "b c"})}),
        (
            "deploy.monitoring.labels",
            {"monitoring": MonitoringSettings(labels={"app.kubernetes.io/name": "x"})},
        ),
        ("deploy.monitoring.namespace", {"monitoring": MonitoringSettings(namespace="a.b")}),
        ("deploy.route.gateway", {"route": RouteSettings(hostnames=("iris.example.com",))}),
        ("deploy.route.gateway", {"route": RouteSettings(gateway="Public Gateway")}),
        ("deploy.route.gateway_namespace", {"route": RouteSettings(gateway="g", gateway_namespace="A")}),
        ("deploy.route.section", {"route": RouteSettings(gateway="g", section="HTTPS")}),
        ("deploy.route.hostnames", {"route": RouteSettings(gateway="g", hostnames=("10.0.0.1",))}),
        (
            "deploy.route.hostnames",
            {"route": RouteSettings(gateway="g", hostnames=tuple(f"h{n}" for n in range(17)))},
        ),
        ("deploy.route.hostnames", {"route": RouteSettings(gateway="g", hostnames=("a.example:80",))}),
        ("deploy.autoscaling.cpu_utilization", {"autoscaling": scaling(cpu_utilization=0)}),
        ("deploy.autoscaling.scale_down_percent", {"autoscaling": scaling(scale_down_percent=101)}),
        ("deploy.resources.cpu", {"resources": ResourceSettings(cpu="2Gi")}),
        ("deploy.resources.cpu", {"resources": ResourceSettings(cpu="0")}),
        ("deploy.resources.cpu", {"resources": ResourceSettings(cpu="two")}),
        ("deploy.resources.cpu_limit", {"resources": ResourceSettings(cpu="2", cpu_limit="1")}),
        ("deploy.resources.memory", {"resources": ResourceSettings(memory="512m")}),
        ("deploy.resources.memory", {"resources": ResourceSettings(memory="1e9")}),
        ("deploy.resources.cpu", {"resources": ResourceSettings(cpu="10001")}),
        (
            "deploy.resources.cpu",
            {"resources": ResourceSettings(cpu="1234567890123456789012345678901234567")},
        ),
        ("deploy.resources.cpu_limit", {"resources": ResourceSettings(cpu_limit="1M")}),
        ("deploy.resources.memory", {"resources": ResourceSettings(memory="9999999999999Ei")}),
        ("deploy.annotations.db", {"annotations": {"db": "postgres://me:secretpw@host/db"}}),
        ("deploy.pod_annotations.note", {"pod_annotations": {"note": "ghp_" + "a" * 36}}),
        ("deploy.service_account_annotations.a", {"service_account_annotations": {"a": "AKIA" + "A" * 16}}),
        ("deploy.labels.a", {"labels": {"a": "ghp_" + "a" * 36}}),
        ("deploy.secret_env.MYAUTH", {"env": {"MYAUTH": "Bearer abcdef123456"}}),
        ("deploy.secret_env.CONN", {"env": {"CONN": "Server=x;Password=hunter2"}}),
        ("deploy.resources.ephemeral_storage_limit", {"resources": ResourceSettings(tmp_size="2Gi")}),
        ("deploy.startup_seconds", {"startup_seconds": 0}),
        ("deploy.request_timeout_seconds", {"request_timeout_seconds": 4000}),
        ("deploy.pre_stop_seconds", {"pre_stop_seconds": 16}),
        ("deploy.queue_size", {"queue_size": 0}),
        ("deploy.env", {"env": {"1A": "x"}}),
        ("deploy.secret_env.DB_PASSWORD", {"env": {"DB_PASSWORD": "hunter2"}}),
        ("deploy.env.A", {"env": {"A": "1"}, "secret_env": {"A": "s/k"}}),
        ("deploy.queue_size", {"env": {"SERVEGEN_QUEUE_SIZE": "1"}}),
        ("deploy.secret_env.A", {"secret_env": {"A": "vault"}}),
        ("deploy.env_from_secrets", {"env_from_secrets": ("A B",)}),
        ("deploy.labels.team", {"labels": {"team": "a b"}}),
        ("deploy.labels", {"labels": {"a b": "x"}}),
        ("deploy.labels", {"labels": {"app.kubernetes.io/name": "x"}}),
        ("deploy.pod_annotations", {"pod_annotations": {"servegen.dev/pin": "x"}}),
        ("deploy.image_pull_secrets", {"image_pull_secrets": ("A_B",)}),
        ("deploy.node_selector.disk", {"node_selector": {"disk": "a b"}}),
        ("deploy.priority_class", {"priority_class": "High"}),
        ("deploy.tolerations", {"tolerations": (TolerationSettings(key="a", operator="In"),)}),
        ("deploy.tolerations", {"tolerations": (TolerationSettings(operator="Equal"),)}),
        ("deploy.tolerations", {"tolerations": (TolerationSettings(key="a", effect="Never"),)}),
        ("deploy.tolerations", {"tolerations": (TolerationSettings(key="a", seconds=3),)}),
    ],
)
def test_what_cannot_be_is_refused_and_the_setting_named(setting, settings):
    with pytest.raises(RenderError) as caught:
        deployment(**settings)
    assert setting in f"{caught.value} {caught.value.hint}"
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", ["true", "secret/data/iris#password", "db-password"])
def test_an_annotation_may_talk_of_secrets(value):
    notes = {"secret.reloader.example.com/reload": value}
    assert deployment(annotations=notes).extras.annotations == tuple(notes.items())


def test_settings_are_refused_before_there_is_an_image():
    assert draft(Settings(name="flowers")).instance == "flowers"
    with pytest.raises(RenderError, match="min_replicas 99"):
        draft(Settings(autoscaling=scaling(min_replicas=99)))


def test_a_number_of_replicas_below_one_is_said_as_it_is():
    with pytest.raises(RenderError, match="min_replicas is -3"):
        deployment(autoscaling=scaling(min_replicas=-3))


def test_an_image_without_digest_or_model_cannot_be_deployed():
    nameless = Image(ref=image().ref, platform=Platform.parse("linux/amd64"))
    with pytest.raises(RenderError, match="does not say which model"):
        plan(nameless, Settings())
    loose = replace(image(), ref=ImageRef.parse("registry.example.com/ml/iris:v7"))
    with pytest.raises(RenderError, match="no digest") as caught:
        plan(loose, Settings())
    assert "--push" in caught.value.hint


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DB_PASSWORD", "hunter2"),
        ("API_KEY", "abc123x"),
        ("openai-api-key", "sk"),
        ("HF_TOKEN", "hf_x"),
        ("X", "AKIA" + "A" * 16),
        ("DATABASE", "postgres://me:pw@db/x"),
        ("PEM", "-----BEGIN RSA PRIVATE KEY-----"),
        ("MYAUTH", "Bearer abcdef123456"),
        ("HEADER", "Authorization: Basic bWU6cGFzc3dvcmQ2"),
        ("CONN", "Server=x;Password=hunter2"),
        ("STORAGE", "AccountName=x;AccountKey=abc=="),
    ],
)
def test_literals_that_look_secret_are_noticed(name, value):
    assert looks_secret(name, value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TOKENIZERS_PARALLELISM", "false"),
        ("MAX_TOKENS", "512"),
        ("TOKEN_LIMIT", "4096"),
        ("SECRET_FILE", "anything"),
        ("AWS_WEB_IDENTITY_TOKEN_FILE", "/var/run/token"),
        ("PASSWORD", ""),
        ("MONKEY", "banana"),
        ("URL", "https://example.com/a@b"),
        ("TRACKING", "http://mlflow:5000/"),
        ("ABOUT", "the bearer certificates of basic information"),
        ("CONN", "Server=x;Password=$(DB_PASSWORD)"),
    ],
)
def test_harmless_variables_are_left_alone(name, value):
    assert not looks_secret(name, value)


def test_an_accelerated_image_asks_for_less_and_is_probed_every_second():
    small = replace(image(), labels=(*image().labels, ("dev.servegen.accelerated", "{}")))
    planned, usual = plan(small, Settings()), deployment()
    for name in ("cpu", "memory", "ephemeral_storage", "tmp_size"):
        asked, before = getattr(planned.resources, name), getattr(usual.resources, name)
        assert quantity.value(asked) < quantity.value(before)
    assert (planned.timing.startup_period, usual.timing.startup_period) == (1, 5)
    assert planned.timing.startup_probes * planned.timing.startup_period >= 120
    assert plan(small, Settings(resources=ResourceSettings(memory="1Gi"))).resources.memory == "1Gi"
