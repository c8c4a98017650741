"""Image and settings to the intent of a deployment; numbers without a measurement behind them are here."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NoReturn

import servegen
from servegen.errors import RenderError
from servegen.kube import names, quantity, versions
from servegen.kube.pod import PROBE_PERIOD
from servegen.planning import checks, network
from servegen.planning.additions import additions
from servegen.planning.environment import environment
from servegen.planning.scaling import autoscaling
from servegen.values.deployment import (
    ENVIRONMENT,
    Deployment,
    Extras,
    KubeVersion,
    ModelFacts,
    Placement,
    Resources,
    ResourceSettings,
    Settings,
    Timing,
)
from servegen.values.image import LABEL, Image, ImageRef, Platform

PULL_SECONDS = 60
"""Time to pull an image that nobody has measured."""
MIN_STARTUP_PROBES = 12
MIN_GRACE = 30
MIN_PROGRESS_DEADLINE = 600
_QUICK_PERIOD = 1
"""Seconds between startup probes of an accelerated image, which is ready in less."""
SLACK = 5
"""Seconds between the end of the drain and the kill."""


@dataclass(frozen=True, kw_only=True)
class Unmeasured:
    """What a replica asks of its node where nothing is set."""

    cpu: str
    memory: str
    ephemeral_storage: str
    tmp_size: str


USUAL = Unmeasured(cpu="500m", memory="1Gi", ephemeral_storage="256Mi", tmp_size="512Mi")
ACCELERATED = Unmeasured(cpu="250m", memory="256Mi", ephemeral_storage="64Mi", tmp_size="64Mi")
"""Of an image without pandas and MLflow: its process has 90 MiB at rest, and writes nothing."""


def plan(image: Image, settings: Settings, shared: Settings | None = None) -> Deployment:
    """The intent to run `image` as `settings` say; raises RenderError naming the setting that cannot be.

    `shared` are the settings without what they override in their environment; None where that is nothing.
    """
    checks.check(settings)
    model = _model(image)
    name, instance = _names(model.name, settings)
    scaling = autoscaling(settings)
    version = versions.wanted(settings.kube_version)
    _check_version(settings, version)
    accelerated = image.label("accelerated") is not None
    asked = resources(settings.resources, ACCELERATED if accelerated else USUAL)
    timing = _timing(settings, _QUICK_PERIOD if accelerated else PROBE_PERIOD)
    # A device is rarely spare: waiting for one more before the old replica ends would never end.
    surge = not settings.gpu.count if settings.surge is None else settings.surge
    many = scaling is not None and scaling.max_replicas >= 8
    return Deployment(
        name=name,
        instance=instance,
        namespace=settings.namespace,
        part_of=names.label_value(settings.part_of or name),
        model=model,
        image=image.ref,
        kube_version=version,
        replicas=None if scaling else _replicas(settings),
        autoscaling=scaling,
        resources=asked,
        timing=timing,
        max_surge=("25%" if many else 1) if surge else 0,
        max_unavailable=0 if surge else 1,
        env=environment(model_name=model.name, resources=asked, timing=timing, settings=settings),
        env_from_secrets=settings.env_from_secrets,
        placement=_placement(settings),
        extras=_extras(settings),
        additions=additions(settings, asked),
        same_zone=settings.same_zone,
        network_policy=network.network_policy(settings),
        monitoring=network.monitoring(settings),
        route=network.route(settings),
        port=image.port,
        grpc_port=_grpc_port(image),
        generator=servegen.__version__,
        environment=settings.environment,
        shared=plan(image, replace(shared or settings, environment=None)) if settings.environment else None,
    )


def instance_name(model_name: str, settings: Settings) -> str:
    """What the objects of that model are called with these settings."""
    return _names(model_name, settings)[1]


def object_name(model_name: str, settings: Settings) -> str:
    """The same without the environment: what all environments of the model have in common."""
    return _names(model_name, settings)[0]


def draft(settings: Settings, shared: Settings | None = None, model_name: str = "draft") -> Deployment:
    """The intent with a stand-in for the image: refused for what `settings` say, before there is an image."""
    ref = ImageRef(registry="", repository="draft", tag=None, digest=f"sha256:{'0' * 64}")
    labels = ((f"{LABEL}model-name", model_name),)
    return plan(Image(ref=ref, platform=Platform.parse("linux/amd64"), labels=labels), settings, shared)


def _model(image: Image) -> ModelFacts:
    if not image.ref.digest:
        _refuse(f"image {image.ref} has no digest", "push it first: servegen package MODEL --tag REF --push")
    name = image.label("model-name")
    if not name:
        _refuse(
            f"image {image.ref} does not say which model it serves",
            "deploy an image that `servegen package` made",
        )
    digest = image.label("model-digest")
    version = image.label("model-version")
    content = (digest or image.ref.digest).partition(":")[2]
    return ModelFacts(
        name=name,
        # The prefix keeps it a string for every YAML reader.
        version=names.label_value(version) if version else f"sha-{content[:12]}",
        uri=image.asked or image.label("pin"),
        pin=image.label("pin"),
        run_id=image.label("run-id"),
        digest=digest,
        example=image.label("example"),
    )


def _grpc_port(image: Image) -> int | None:
    port = image.label("grpc-port")
    if port is None:
        return None
    if not port.isdecimal():
        _refuse(f"image {image.ref} has the label {LABEL}grpc-port={port!r}", "package the model again")
    return int(port)


def _names(model_name: str, settings: Settings) -> tuple[str, str]:
    suffix = f"-{settings.environment}" if settings.environment else ""
    limit = names.NAME_LIMIT - len(suffix)
    if settings.environment and not ENVIRONMENT.fullmatch(settings.environment):
        _refuse(
            f"environment {settings.environment!r} cannot be part of a name",
            "set deploy.environment to at most 20 of a-z, 0-9 and -",
        )
    if settings.name is None:
        name = names.slug(model_name, limit)
    elif names.is_dns_label(settings.name, limit):
        name = settings.name
    else:
        _refuse(
            f"{settings.name!r} cannot name Kubernetes objects",
            f"set deploy.name to at most {limit} of a-z, 0-9 and -, a letter first",
        )
    return name, name + suffix


def _check_version(settings: Settings, version: KubeVersion) -> None:
    """Refuse what is asked for by name and does not exist yet in `version`."""
    for setting, field in versions.OPT_IN.items():
        if getattr(settings, setting) and not versions.supports(version, field):
            _refuse(
                f"deploy.{setting}: {field} needs Kubernetes 1.{versions.SINCE[field]}, not {version}",
                f"remove deploy.{setting}, or set deploy.kube_version",
            )


def _replicas(settings: Settings) -> int:
    return settings.replicas or (1 if settings.dev else 2)


def resources(settings: ResourceSettings, usual: Unmeasured = USUAL) -> Resources:
    """Canonical quantities; raises RenderError naming the one that cannot be."""
    cpu = checks.cpu("resources.cpu", settings.cpu or usual.cpu)
    cpu_limit = None if settings.cpu_limit is None else checks.cpu("resources.cpu_limit", settings.cpu_limit)
    if cpu_limit and quantity.value(cpu_limit) < quantity.value(cpu):
        _refuse(f"cpu_limit {cpu_limit} is below the request {cpu}", "raise deploy.resources.cpu_limit")
    disk = checks.size("resources.ephemeral_storage", settings.ephemeral_storage or usual.ephemeral_storage)
    disk_limit = checks.size("resources.ephemeral_storage_limit", settings.ephemeral_storage_limit)
    tmp = checks.size("resources.tmp_size", settings.tmp_size or usual.tmp_size)
    for what, amount in (("ephemeral_storage", disk), ("tmp_size", tmp)):
        if quantity.value(amount) > quantity.value(disk_limit):
            _refuse(
                f"{what} {amount} is above ephemeral_storage_limit {disk_limit}",
                "raise deploy.resources.ephemeral_storage_limit",
            )
    return Resources(
        cpu=cpu,
        cpu_limit=cpu_limit,
        memory=checks.size("resources.memory", settings.memory or usual.memory),
        ephemeral_storage=disk,
        ephemeral_storage_limit=disk_limit,
        tmp_size=tmp,
    )


def _timing(settings: Settings, period: int) -> Timing:
    probes = max(MIN_STARTUP_PROBES, math.ceil(settings.startup_seconds / period))
    drain_timeout = settings.request_timeout_seconds
    drain = settings.pre_stop_seconds + settings.drain_delay_seconds + drain_timeout
    min_ready = settings.min_ready_seconds
    if min_ready is None:
        min_ready = 10 if settings.gpu.count else 5
    startup = PULL_SECONDS + period * probes
    return Timing(
        startup_probes=probes,
        startup_period=period,
        request_timeout=settings.request_timeout_seconds,
        pre_stop=settings.pre_stop_seconds,
        drain_delay=settings.drain_delay_seconds,
        drain_timeout=drain_timeout,
        grace_period=max(MIN_GRACE, drain + SLACK),
        min_ready=min_ready,
        progress_deadline=max(MIN_PROGRESS_DEADLINE, startup + min_ready + 120),
    )


def _placement(settings: Settings) -> Placement:
    return Placement(
        node_selector=_pairs(settings.node_selector),
        tolerations=settings.tolerations,
        priority_class=settings.priority_class,
        runtime_class=settings.runtime_class,
        image_pull_secrets=settings.image_pull_secrets,
        user_namespace=settings.user_namespace,
    )


def _extras(settings: Settings) -> Extras:
    return Extras(
        labels=_pairs(settings.labels),
        annotations=_pairs(settings.annotations),
        pod_labels=_pairs(settings.pod_labels),
        pod_annotations=_pairs(settings.pod_annotations),
        service_account_annotations=_pairs(settings.service_account_annotations),
    )


def _pairs(mapping: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(mapping.items()))


def _refuse(message: str, hint: str) -> NoReturn:
    raise RenderError(message, hint=hint)
