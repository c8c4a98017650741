"""What the user may choose for a deployment, and the intent that comes of it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from servegen.values.additions import Additions, ConfigSettings, GpuSettings, Patch, Raw
from servegen.values.image import PORT, ImageRef
from servegen.values.network import (
    Monitoring,
    MonitoringSettings,
    NetworkPolicy,
    NetworkPolicySettings,
    Route,
    RouteSettings,
)
from servegen.values.option import option as _option
from servegen.values.scaling import Autoscaling, AutoscalingSettings

ENVIRONMENT = re.compile(r"[-a-z0-9]{0,19}[a-z0-9]")
"""What can be appended to a name, so that it stays one."""


@dataclass(frozen=True, kw_only=True, order=True)
class KubeVersion:
    """A minor version of Kubernetes."""

    major: int
    minor: int

    @classmethod
    def parse(cls, text: str) -> KubeVersion:
        """The version that `1.35`, `v1.35.2` or `1.35+` writes; raises ValueError when it writes none."""
        match = re.fullmatch(r"v?(\d+)\.(\d+)(?:[.+-].*)?", text)
        if not match:
            msg = f"{text!r} is not a Kubernetes version"
            raise ValueError(msg)
        return cls(major=int(match[1]), minor=int(match[2]))

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}"


@dataclass(frozen=True, kw_only=True)
class ResourceSettings:
    """`deploy.resources`: what one replica asks of its node."""

    cpu: str | None = _option(
        "CPU request; the autoscaler's percentage is of this. Default 500m, accelerated 250m.", default=None
    )
    cpu_limit: str | None = _option(
        "CPU limit; none by default, because throttling costs latency.", default=None
    )
    memory: str | None = _option("Memory request and limit; default 1Gi, accelerated 256Mi.", default=None)
    ephemeral_storage: str | None = _option(
        "Request for disk space in the container and /tmp; default 256Mi, accelerated 64Mi.", default=None
    )
    ephemeral_storage_limit: str = _option("Limit of that disk space.", default="1Gi")
    shm_size: str | None = _option(
        "Size of /dev/shm, a part of memory; default: that of the container runtime.", default=None
    )
    tmp_size: str | None = _option(
        "Size of /tmp, the only writable folder; default 512Mi, accelerated 64Mi.", default=None
    )


@dataclass(frozen=True, kw_only=True)
class TolerationSettings:
    """One entry of `deploy.tolerations`."""

    key: str = _option("Taint to tolerate; empty with operator Exists tolerates every one.", default="")
    operator: str = _option("`Equal` or `Exists`.", default="Equal")
    value: str = _option("Value of the taint, for operator Equal.", default="")
    effect: str = _option("`NoSchedule`, `PreferNoSchedule`, `NoExecute`, or empty for all.", default="")
    seconds: int | None = _option(
        "With NoExecute: how long the pod stays after the taint appears.", default=None
    )


@dataclass(frozen=True, kw_only=True)
class Settings:
    """`deploy` in servegen.yaml: everything that has a default a user may want to change."""

    name: str | None = _option("Name of the objects; default: made from the model's name.", default=None)
    namespace: str | None = _option("Namespace of the objects.", default=None)
    environment: str | None = _option("Appended to the name, such as `prod`.", default=None)
    part_of: str | None = _option("Application the model belongs to.", default=None)
    kube_version: str | None = _option(
        "Kubernetes version to write for, 1.29 to 1.37; default 1.35.", default=None
    )
    dev: bool = _option("One replica instead of two where nothing else is said.", default=False)
    replicas: int | None = _option(
        "Replicas when autoscaling is off; default 2, or 1 with `dev`.", default=None
    )
    autoscaling: AutoscalingSettings = field(
        default_factory=AutoscalingSettings, metadata={"help": "How many replicas follow the load."}
    )
    resources: ResourceSettings = field(
        default_factory=ResourceSettings, metadata={"help": "What one replica asks of its node."}
    )
    startup_seconds: int = _option("Time the model may take to load and warm up.", default=120)
    request_timeout_seconds: int = _option(
        "Time one request may take before it is answered with 504.", default=60
    )
    pre_stop_seconds: int = _option(
        "Pause between leaving the Service and the stop signal, 0 to 15.", default=5
    )
    drain_delay_seconds: int = _option("Time the server goes on serving after the stop signal.", default=5)
    queue_size: int = _option(
        "Requests that may wait in one replica; more are refused with 429.", default=256
    )
    min_ready_seconds: int | None = _option(
        "How long a new replica must be ready before the rollout goes on; default 5, or 10 with GPUs.",
        default=None,
    )
    surge: bool | None = _option(
        "Start a new replica before an old one stops; default: yes, but not with GPUs.",
        default=None,
    )
    env: Mapping[str, str] = _option("Environment variables of the server.", default={})
    secret_env: Mapping[str, str] = _option("Variables taken from Secrets: `NAME: secret/key`.", default={})
    env_from_secrets: tuple[str, ...] = _option("Secrets of which every key becomes a variable.", default=())
    labels: Mapping[str, str] = _option("Further labels of all objects and pods.", default={})
    annotations: Mapping[str, str] = _option("Further annotations of all objects.", default={})
    pod_labels: Mapping[str, str] = _option("Further labels of pods only.", default={})
    pod_annotations: Mapping[str, str] = _option("Further annotations of pods only.", default={})
    service_account_annotations: Mapping[str, str] = _option(
        "Annotations of the ServiceAccount, such as a cloud identity.", default={}
    )
    image_pull_secrets: tuple[str, ...] = _option("Secrets with the registry's login.", default=())
    node_selector: Mapping[str, str] = _option("Labels a node must have.", default={})
    tolerations: tuple[TolerationSettings, ...] = _option("Taints of nodes to tolerate.", default=())
    priority_class: str | None = _option(
        "PriorityClass of the pods; must exist in the cluster.", default=None
    )
    runtime_class: str | None = _option("RuntimeClass of the pods; must exist in the cluster.", default=None)
    user_namespace: bool = _option(
        "Give each pod a user namespace of its own (`hostUsers: false`); from Kubernetes 1.36.",
        default=False,
    )
    same_zone: bool = _option(
        "Prefer pods in the caller's zone (`trafficDistribution: PreferSameZone`); from Kubernetes 1.35.",
        default=False,
    )
    network_policy: NetworkPolicySettings = field(
        default_factory=NetworkPolicySettings, metadata={"help": "Whom the pods may talk to."}
    )
    monitoring: MonitoringSettings = field(
        default_factory=MonitoringSettings, metadata={"help": "How Prometheus finds the pods."}
    )
    route: RouteSettings = field(
        default_factory=RouteSettings, metadata={"help": "The way in through a gateway."}
    )
    config: ConfigSettings = field(
        default_factory=ConfigSettings, metadata={"help": "Files that the pods see."}
    )
    gpu: GpuSettings = field(default_factory=GpuSettings, metadata={"help": "Devices of one replica."})
    model_volume: str | None = _option(
        "Image with a model to serve instead of the one packaged, by digest; from Kubernetes 1.35.",
        default=None,
    )
    field_env: Mapping[str, str] = _option(
        "Variables taken from the pod's own fields: `NAME: status.podIP`.", default={}
    )
    env_from: tuple[Raw, ...] = _option(
        "ConfigMaps and Secrets of which every key becomes a variable, as Kubernetes writes them.", default=()
    )
    affinity: Mapping[str, object] = _option("`affinity` of the pods.", default={})
    volumes: tuple[Raw, ...] = _option("Further volumes, as Kubernetes writes them.", default=())
    volume_mounts: tuple[Raw, ...] = _option("Where the server's container sees them.", default=())
    sidecars: tuple[Raw, ...] = _option(
        "Containers beside the server; they start before it and end after it from Kubernetes 1.33.",
        default=(),
    )
    init_containers: tuple[Raw, ...] = _option("Containers that end before the server starts.", default=())
    patches: tuple[Patch, ...] = _option(
        "Strategic-merge patches of the objects, each with the kind that it is for.", default=()
    )


@dataclass(frozen=True, kw_only=True)
class ModelFacts:
    """What the objects say about the model they serve."""

    name: str
    """As registered; free text."""
    version: str
    """Registry version or `sha-` and 12 digits of the content digest; fits a label."""
    uri: str | None = None
    pin: str | None = None
    run_id: str | None = None
    digest: str | None = None
    example: str | None = None
    """A body for `/invocations`."""


@dataclass(frozen=True, kw_only=True)
class Resources:
    """Requests and limits as canonical quantities."""

    cpu: str
    cpu_limit: str | None
    memory: str
    ephemeral_storage: str
    ephemeral_storage_limit: str
    tmp_size: str


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Everything about a replica that is measured in seconds, or in probes."""

    startup_probes: int
    """Probes that may fail before the start counts as failed."""
    startup_period: int = 5
    """Seconds between two of them."""
    request_timeout: int
    pre_stop: int
    drain_delay: int
    drain_timeout: int
    grace_period: int
    min_ready: int
    progress_deadline: int


@dataclass(frozen=True, kw_only=True)
class EnvVar:
    """One environment variable: a literal, a key of a Secret, or a field of the pod."""

    name: str
    value: str = ""
    secret: str | None = None
    key: str | None = None
    field: str | None = None


@dataclass(frozen=True, kw_only=True)
class Placement:
    """Which nodes the pods may run on, and with what rank."""

    node_selector: tuple[tuple[str, str], ...] = ()
    tolerations: tuple[TolerationSettings, ...] = ()
    priority_class: str | None = None
    runtime_class: str | None = None
    image_pull_secrets: tuple[str, ...] = ()
    user_namespace: bool = False


@dataclass(frozen=True, kw_only=True)
class Extras:
    """Labels and annotations that the user adds."""

    labels: tuple[tuple[str, str], ...] = ()
    annotations: tuple[tuple[str, str], ...] = ()
    pod_labels: tuple[tuple[str, str], ...] = ()
    pod_annotations: tuple[tuple[str, str], ...] = ()
    service_account_annotations: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """The intent: what should run, independent of manifests, charts and Git."""

    name: str
    """The model's name as a DNS label."""
    instance: str
    """`name` and the environment; the name of every object."""
    namespace: str | None
    part_of: str
    model: ModelFacts
    image: ImageRef
    """With digest."""
    kube_version: KubeVersion
    replicas: int | None
    """None when the autoscaler owns the number."""
    autoscaling: Autoscaling | None
    resources: Resources
    timing: Timing
    max_surge: int | str
    max_unavailable: int
    env: tuple[EnvVar, ...]
    env_from_secrets: tuple[str, ...] = ()
    placement: Placement = field(default_factory=Placement)
    extras: Extras = field(default_factory=Extras)
    additions: Additions = field(default_factory=Additions)
    same_zone: bool = False
    network_policy: NetworkPolicy | None = None
    monitoring: Monitoring = field(default_factory=Monitoring)
    route: Route | None = None
    port: int = PORT
    grpc_port: int | None = None
    profile: str = "none"
    """Hash of the measured profile the numbers come from, or `none`."""
    generator: str
    """Version of servegen that wrote the intent."""
    environment: str | None = None
    """The end of `instance`, where there is one."""
    track: str = "stable"
    """`stable`, or what runs beside it: `canary` or `next`."""
    shared: Deployment | None = None
    """What all environments have in common; None where no environment is named."""
