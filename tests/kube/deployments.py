"""Deployments to test with: the smallest one, and one with every setting used."""

from __future__ import annotations

from servegen.planning.deployment import plan
from servegen.values.additions import ConfigSettings, GpuSettings
from servegen.values.deployment import (
    AutoscalingSettings,
    Deployment,
    ResourceSettings,
    Settings,
    TolerationSettings,
)
from servegen.values.image import LABEL, Image, ImageRef, Platform
from servegen.values.network import MonitoringSettings, NetworkPolicySettings, RouteSettings
from servegen.values.scaling import KedaSettings
from tests.kube.hazards import HAZARDS

REFERENCE = "registry.example.com/ml/iris:v7@sha256:" + "a" * 64

EVERYTHING = Settings(
    namespace="ml",
    environment="prod",
    part_of="Flowers & more",
    kube_version="1.37",
    autoscaling=AutoscalingSettings(
        min_replicas=3,
        max_replicas=20,
        cpu_utilization=70,
        metric="in-flight",
        in_flight="2500m",
        scale_up_window_seconds=10,
        scale_up_percent=50,
        scale_up_pods=2,
        scale_up_period_seconds=30,
        scale_down_window_seconds=600,
        scale_down_percent=25,
        scale_down_period_seconds=120,
    ),
    resources=ResourceSettings(
        cpu="2",
        cpu_limit="4000m",
        memory="1.5Gi",
        ephemeral_storage="512Mi",
        ephemeral_storage_limit="2Gi",
        tmp_size="1024Mi",
    ),
    startup_seconds=600,
    request_timeout_seconds=90,
    pre_stop_seconds=10,
    drain_delay_seconds=8,
    queue_size=32,
    min_ready_seconds=15,
    surge=False,
    env={"LEVEL": "8e1", "OMP_NUM_THREADS": "3", "GREETING": 'a: "b" {{ c }}\n# d', "N": "N"},
    secret_env={"API_KEY": "vault/api-key"},
    env_from_secrets=("shared",),
    labels={"team": "flowers", "cost-center": "007"},
    annotations={"example.com/contact": "flowers: #ops"},
    pod_labels={"sidecar.istio.io/inject": "false"},
    pod_annotations={"example.com/note": "1e3"},
    service_account_annotations={"example.com/role": "reader"},
    image_pull_secrets=("registry-login",),
    node_selector={"disk": "ssd"},
    tolerations=(
        TolerationSettings(key="model", value="yes", effect="NoExecute", seconds=60),
        TolerationSettings(operator="Exists"),
    ),
    priority_class="high",
    runtime_class="gvisor",
    user_namespace=True,
    same_zone=True,
    network_policy=NetworkPolicySettings(
        enabled=True, ingress=("batch", "10.1.0.0/16"), egress=("features", "192.0.2.7/32")
    ),
    monitoring=MonitoringSettings(
        discovery="podmonitor", interval_seconds=30, labels={"release": "prometheus"}, namespace="watch"
    ),
    route=RouteSettings(
        gateway="public", gateway_namespace="gateways", section="https", hostnames=("iris.example.com",)
    ),
)

KEDA = Settings(
    namespace="ml",
    monitoring=MonitoringSettings(discovery="servicemonitor"),
    autoscaling=AutoscalingSettings(
        min_replicas=0,
        in_flight="6",
        keda=KedaSettings(
            enabled=True,
            prometheus="http://prometheus.monitoring:9090",
            wake_query='sum(gateway_requests_in_flight{model="iris"})',
        ),
    ),
)
"""Scaled to zero by KEDA, scraped through the Service."""

ADDED = Settings(
    namespace="ml",
    env={"LEVEL": "info"},
    field_env={"POD_IP": "status.podIP"},
    env_from=({"configMapRef": {"name": "shared"}, "prefix": "SHARED_"},),
    resources=ResourceSettings(memory="8Gi", shm_size="1024Mi"),
    gpu=GpuSettings(count=2, products=("NVIDIA-L4", "NVIDIA-A10")),
    model_volume="registry.example.com/ml/weights@sha256:" + "c" * 64,
    config=ConfigSettings(
        files={"labels.json": '{"0": "<ok> & more"}', "note": "1e3\n"}
        | {f"hazard-{index}": text for index, text in enumerate(HAZARDS)}
    ),
    affinity={"podAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": []}},
    volumes=({"name": "features", "persistentVolumeClaim": {"claimName": "features", "readOnly": True}},),
    volume_mounts=({"name": "features", "mountPath": "/features", "readOnly": True},),
    sidecars=(
        {
            "name": "proxy",
            "image": "registry.example.com/proxy:1",
            "ports": [{"containerPort": 8443}],
            "env": [{"name": "LEVEL", "value": "8e1"}],
        },
    ),
    init_containers=(
        {"name": "fetch", "image": "registry.example.com/fetch:1", "args": ["--all", *HAZARDS]},
    ),
    patches=(
        {
            "kind": "Deployment",
            "spec": {
                "minReadySeconds": None,
                "template": {
                    "metadata": {"annotations": {"example.com/patched": "true"}},
                    "spec": {
                        "containers": [
                            {
                                "name": "server",
                                "env": [
                                    {"name": "LEVEL", "value": "debug"},
                                    {"name": "HF_HOME", "$patch": "delete"},
                                ],
                                "readinessProbe": {"periodSeconds": 3},
                            }
                        ],
                        "tolerations": [{"key": "only", "operator": "Exists"}],
                    },
                },
            },
        },
        {"kind": "HorizontalPodAutoscaler", "spec": {"maxReplicas": 40}},
        {"kind": "Service", "spec": {"type": "NodePort"}},
    ),
)
"""Everything that users can add to the pod, and patches over it."""


def image(*, asked: str = "models:/iris@champion", **labels: str) -> Image:
    """An image with the labels of `servegen package`; keywords replace or add some, with `_` for `-`."""
    facts = {
        "model-name": "iris",
        "pin": "models:/iris/7",
        "model-version": "7",
        "run-id": "0f3c",
        "model-digest": "sha256:" + "b" * 64,
        "example": '{"inputs": [[5.1, 3.5, 1.4, 0.2]]}',
    } | {key.replace("_", "-"): value for key, value in labels.items()}
    return Image(
        ref=ImageRef.parse(REFERENCE),
        platform=Platform.parse("linux/amd64"),
        labels=tuple(sorted((LABEL + key, value) for key, value in facts.items() if value)),
        asked=asked,
    )


def deployment(**settings: object) -> Deployment:
    """The plan for `image()` with these settings."""
    return plan(image(), Settings(**settings))  # type: ignore[arg-type]  # plain keywords of the test


def everything() -> Deployment:
    """The plan that uses every setting, for an image that has every port."""
    return plan(image(grpc_port="9000"), EVERYTHING)
