"""The pod template: one container that passes the Pod Security level `restricted`."""

from __future__ import annotations

from servegen.kube import Object, additions, metadata, versions
from servegen.values.deployment import Deployment, EnvVar, TolerationSettings
from servegen.values.image import USER

PROBE_PERIOD = 5


def template(deployment: Deployment) -> Object:
    """`spec.template` of the Deployment."""
    extras = deployment.extras
    notes = dict(extras.pod_annotations) | {
        "kubectl.kubernetes.io/default-container": metadata.CONTAINER,
        **_scraped(deployment),
        **additions.checksum(deployment),
    }
    return {
        "metadata": {
            "labels": dict(sorted((dict(extras.pod_labels) | metadata.labels(deployment)).items())),
            "annotations": dict(sorted(notes.items())),
        },
        "spec": spec(deployment),
    }


def _scraped(deployment: Deployment) -> dict[str, str]:
    if deployment.monitoring.discovery != "annotations":
        # A monitor asks the pods; annotations beside it would have them asked twice.
        return {}
    return {
        "prometheus.io/path": metadata.METRICS_PATH,
        "prometheus.io/port": str(deployment.port),
        "prometheus.io/scrape": "true",
    }


def spec(deployment: Deployment) -> Object:
    """The pod's `spec`."""
    place, before = deployment.placement, additions.init_containers(deployment)
    optional = {
        "priorityClassName": place.priority_class,
        "runtimeClassName": place.runtime_class,
        "imagePullSecrets": [{"name": name} for name in place.image_pull_secrets],
        "nodeSelector": dict(place.node_selector),
        "tolerations": [*additions.tolerations(deployment), *map(_toleration, place.tolerations)],
        "affinity": additions.affinity(deployment),
    }
    return {
        "serviceAccountName": deployment.instance,
        "automountServiceAccountToken": False,
        # Otherwise every Service of the namespace adds variables that programs may misread.
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": deployment.timing.grace_period,
        "securityContext": _pod_security(deployment),
        **({"hostUsers": False} if place.user_namespace else {}),
        **{key: value for key, value in optional.items() if value},
        "topologySpreadConstraints": [
            _spread(deployment, key) for key in ("topology.kubernetes.io/zone", "kubernetes.io/hostname")
        ],
        **({"initContainers": before} if before else {}),
        "containers": [_container(deployment), *additions.containers(deployment)],
        "volumes": additions.volumes(deployment),
    }


def _pod_security(deployment: Deployment) -> Object:
    strict = (
        {"supplementalGroupsPolicy": "Strict"}
        if versions.supports(deployment.kube_version, "supplementalGroupsPolicy")
        else {}
    )
    return {
        "runAsNonRoot": True,
        "runAsUser": USER,
        "runAsGroup": USER,
        "fsGroup": USER,
        "fsGroupChangePolicy": "OnRootMismatch",
        **strict,
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def _container(deployment: Deployment) -> Object:
    timing = deployment.timing
    secrets = [{"secretRef": {"name": name}} for name in deployment.env_from_secrets]
    env_from = [*secrets, *map(dict, deployment.additions.env_from)]
    return {
        "name": metadata.CONTAINER,
        "image": deployment.image.pinned,
        # By digest a second pull cannot change anything.
        "imagePullPolicy": "IfNotPresent",
        "ports": _ports(deployment),
        "env": [_env(one) for one in deployment.env],
        **({"envFrom": env_from} if env_from else {}),
        "resources": _resources(deployment),
        "startupProbe": _probe(
            "/readyz", period=timing.startup_period, timeout=2, failures=timing.startup_probes
        ),
        "readinessProbe": _probe("/readyz", period=PROBE_PERIOD, timeout=2, failures=2),
        # Another path and slow to trip: overload must not cause restarts.
        "livenessProbe": _probe("/livez", period=10, timeout=5, failures=6),
        # Endpoints need time to forget the pod before the server hears that it should stop.
        **({"lifecycle": {"preStop": {"sleep": {"seconds": timing.pre_stop}}}} if timing.pre_stop else {}),
        "securityContext": additions.SECURITY,
        "volumeMounts": additions.mounts(deployment),
    }


def _ports(deployment: Deployment) -> list[Object]:
    numbers = {metadata.PORT_NAME: deployment.port, metadata.GRPC_PORT_NAME: deployment.grpc_port}
    return [
        {"name": name, "containerPort": number, "protocol": "TCP"}
        for name, number in numbers.items()
        if number is not None
    ]


def _probe(path: str, *, period: int, timeout: int, failures: int) -> Object:
    return {
        "httpGet": {"path": path, "port": metadata.PORT_NAME, "scheme": "HTTP"},
        "periodSeconds": period,
        "timeoutSeconds": timeout,
        "failureThreshold": failures,
    }


def _resources(deployment: Deployment) -> Object:
    wanted = deployment.resources
    cpu_limit = {"cpu": wanted.cpu_limit} if wanted.cpu_limit else {}
    gpu = deployment.additions.gpu
    # A limit alone is enough: the request follows, and cannot differ.
    devices = {gpu.resource: str(gpu.count)} if gpu else {}
    return {
        "requests": {
            "cpu": wanted.cpu,
            "memory": wanted.memory,
            "ephemeral-storage": wanted.ephemeral_storage,
        },
        "limits": {
            **cpu_limit,
            "memory": wanted.memory,
            "ephemeral-storage": wanted.ephemeral_storage_limit,
            **devices,
        },
    }


def _env(one: EnvVar) -> Object:
    if one.field is not None:
        return {"name": one.name, "valueFrom": {"fieldRef": {"fieldPath": one.field}}}
    if one.secret is None:
        return {"name": one.name, "value": one.value}
    return {"name": one.name, "valueFrom": {"secretKeyRef": {"name": one.secret, "key": one.key}}}


def _spread(deployment: Deployment, key: str) -> Object:
    return {
        "maxSkew": 1,
        "topologyKey": key,
        # Spreads where it can and never stops the autoscaler.
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": metadata.selector(deployment)},
        "matchLabelKeys": ["pod-template-hash"],
    }


def _toleration(one: TolerationSettings) -> Object:
    known = {
        "key": one.key,
        "operator": one.operator,
        "value": one.value,
        "effect": one.effect,
    }
    seconds = {} if one.seconds is None else {"tolerationSeconds": one.seconds}
    return {key: value for key, value in known.items() if value} | seconds
