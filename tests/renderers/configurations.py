"""The configurations, 13 of them, that every format and every supported Kubernetes is tried with.

Together they use every group of settings; a new group belongs into the one it fits, or into `everything`.
"""

from __future__ import annotations

from dataclasses import replace

from servegen.kube import versions
from servegen.planning.deployment import plan
from servegen.values.deployment import (
    AutoscalingSettings,
    Deployment,
    KubeVersion,
    ResourceSettings,
    Settings,
    TolerationSettings,
)
from servegen.values.network import MonitoringSettings, NetworkPolicySettings, RouteSettings
from tests.kube.deployments import ADDED, EVERYTHING, KEDA, image
from tests.kube.hazards import HAZARDS

CONFIGURATIONS: dict[str, Settings] = {
    "defaults": Settings(namespace="ml"),
    "everything": EVERYTHING,
    "added": ADDED,
    "fixed": Settings(autoscaling=AutoscalingSettings(enabled=False), replicas=3),
    "dev": Settings(dev=True, pre_stop_seconds=0, min_ready_seconds=0, surge=False),
    "oldest": Settings(kube_version="1.29", environment="staging"),
    "newest": Settings(kube_version="1.37", environment="prod", namespace="ml", part_of="Flowers & more"),
    "large": Settings(
        namespace="ml",
        resources=ResourceSettings(
            cpu="8",
            cpu_limit="8",
            memory="24Gi",
            ephemeral_storage="2Gi",
            ephemeral_storage_limit="20Gi",
            tmp_size="10Gi",
        ),
        startup_seconds=1800,
        request_timeout_seconds=300,
        drain_delay_seconds=15,
        min_ready_seconds=30,
        queue_size=8,
        network_policy=NetworkPolicySettings(enabled=True, egress=("features", "192.0.2.0/24")),
        monitoring=MonitoringSettings(discovery="podmonitor"),
        route=RouteSettings(gateway="public", hostnames=("iris.example.com",)),
    ),
    "scaling": Settings(
        autoscaling=AutoscalingSettings(
            min_replicas=4,
            max_replicas=200,
            cpu_utilization=120,
            scale_up_window_seconds=30,
            scale_up_percent=10,
            scale_up_pods=20,
            scale_up_period_seconds=60,
            scale_down_window_seconds=3600,
            scale_down_percent=5,
            scale_down_period_seconds=300,
        )
    ),
    "placed": Settings(
        secret_env={"API_KEY": "vault/api-key", "OTHER": "vault/other"},
        env_from_secrets=("shared", "more"),
        image_pull_secrets=("registry-login", "mirror-login"),
        env={"OMP_NUM_THREADS": "3", "GREETING": 'a: "b" {{ c }}\n# d'},
        node_selector={"disk": "ssd", "example.com/pool": "8e1"},
        tolerations=(
            TolerationSettings(key="model", value="yes", effect="NoExecute", seconds=60),
            TolerationSettings(operator="Exists"),
        ),
        priority_class="high",
        runtime_class="gvisor",
    ),
    "keda": replace(KEDA, environment="prod"),
    "labelled": Settings(
        name="flowers",
        labels={"team": "flowers", "cost-center": "007"},
        annotations={"example.com/contact": "flowers: #ops"},
        pod_labels={"sidecar.istio.io/inject": "false"},
        pod_annotations={"example.com/note": "1e3"},
        service_account_annotations={"example.com/role": "reader"},
    ),
    "hostile": Settings(
        env={f"HAZARD_{index}": text for index, text in enumerate(HAZARDS)},
        annotations={f"example.com/hazard-{index}": text for index, text in enumerate(HAZARDS)},
        labels={"a": "8e1", "b": "N", "c": "0o17", "d": "007"},
    ),
}
VERSIONS = tuple(f"1.{minor}" for minor in range(versions.OLDEST.minor, versions.NEWEST.minor + 1))
IMAGES = {
    "everything": image(grpc_port="9000"),
    "hostile": image(model_name='Fraud: {{ "x" }} `Détection` 😀 #1', asked="models:/$(HOME)/${HOME}"),
}
"""Images that are not the plain one."""


def planned(name: str, kube_version: str | None = None) -> Deployment:
    """The configuration `name`, for its own Kubernetes or for another one."""
    settings = CONFIGURATIONS[name]
    if kube_version:
        minor = KubeVersion.parse(kube_version).minor
        lacking = [name for name, field in versions.OPT_IN.items() if versions.SINCE[field] > minor]
        plain = Settings()
        settings = replace(settings, **{name: getattr(plain, name) for name in lacking})
        settings = replace(settings, kube_version=kube_version)
    return plan(IMAGES.get(name, image()), settings)
