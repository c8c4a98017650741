"""A watcher in a cluster: a Deployment that takes webhooks, or a CronJob that looks and ends."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator

from servegen.errors import RenderError
from servegen.kube import Object, metadata, restricted, strict, yaml
from servegen.kube.additions import SECURITY
from servegen.kube.instances import KINDS
from servegen.kube.objects.networkpolicy import peers
from servegen.values.bundle import Bundle
from servegen.values.image import USER
from servegen.values.watcher import Watcher

_PORT = 8080
_WORK, _CACHE, _LOGIN = "/models", "/cache", "/login"
_READ = ("get", "list", "watch")


def render(watcher: Watcher) -> Bundle:
    """One file an object."""
    made = {_path(one, watcher): yaml.dump(one) for one in build(watcher)}
    ours = yaml.fragment({"app.kubernetes.io/instance": watcher.name}).strip()
    # `kubectl apply -f DIR` would go on applying what another choice of options left.
    other = ("deployment.yaml", "service.yaml") if watcher.schedule else ("cronjob.yaml",)
    gone = [path for path in (*other, "networkpolicy.yaml") if path not in made]
    return Bundle.of(made, obsolete=dict.fromkeys(gone, ours))


def stream(watcher: Watcher) -> str:
    """All objects in the order of apply, as one YAML stream."""
    return yaml.dump_all(build(watcher))


def build(watcher: Watcher) -> tuple[Object, ...]:
    """The objects in the order of apply: strictly valid, and such that `restricted` admits the pods."""
    objects = tuple(_objects(watcher))
    wrong = [
        f"{one['kind']}: {text}" for one in objects for text in strict.problems(one, watcher.kube_version)
    ]
    if wrong := [*wrong, *restricted.violations_of(objects)]:
        msg = f"Kubernetes {watcher.kube_version} would refuse the watcher: {'; '.join(wrong)}"
        raise RenderError(msg, hint="this is a mistake in servegen, please report it with the options used")
    return objects


def _path(one: Object, watcher: Watcher) -> str:
    kind, place = one["kind"].lower(), one["metadata"]["namespace"]
    return f"{kind}.yaml" if place == watcher.namespace else f"{kind}-{place}.yaml"


def _objects(watcher: Watcher) -> Iterator[Object]:
    yield {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": _metadata(watcher),
        "automountServiceAccountToken": False,
    }
    yield {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": _metadata(watcher),
        "data": {one.key: one.text for one in watcher.files},
    }
    for namespace in watcher.deploys_to:
        yield from _rights(watcher, namespace)
    if watcher.ingress is not None:
        yield _network_policy(watcher)
    if watcher.schedule:
        yield _cron_job(watcher)
        return
    yield {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": _metadata(watcher),
        "spec": {
            "type": "ClusterIP",
            "selector": _selector(watcher),
            "ports": [{"name": "http", "port": 80, "targetPort": "http", "protocol": "TCP"}],
        },
    }
    yield _deployment(watcher)


def _selector(watcher: Watcher) -> dict[str, str]:
    return {"app.kubernetes.io/instance": watcher.name, "app.kubernetes.io/name": "servegen-watch"}


def _metadata(watcher: Watcher, namespace: str | None = None) -> Object:
    labels = _selector(watcher) | {
        "app.kubernetes.io/component": "watcher",
        "app.kubernetes.io/managed-by": metadata.MANAGER,
        "app.kubernetes.io/version": watcher.generator,
    }
    return {
        "name": watcher.name,
        "namespace": namespace or watcher.namespace,
        "labels": dict(sorted(labels.items())),
    }


def _rights(watcher: Watcher, namespace: str) -> Iterator[Object]:
    """What `deploy` needs in a namespace; docs/how-to/deploy.md says why."""
    groups: dict[str, list[str]] = {}
    for api_version, kind in KINDS:
        groups.setdefault(api_version.rpartition("/")[0], []).append(_plural(kind))
    written = ["get", "list", "create", "patch", "delete"]
    rules: list[Object] = [
        {"apiGroups": [group], "resources": sorted(kinds), "verbs": written}
        for group, kinds in sorted(groups.items())
    ]
    rules += [
        {"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["watch"]},
        {"apiGroups": ["apps"], "resources": ["replicasets"], "verbs": list(_READ)},
        {"apiGroups": [""], "resources": ["pods"], "verbs": list(_READ)},
        {"apiGroups": [""], "resources": ["pods/log"], "verbs": ["get"]},
        {"apiGroups": [""], "resources": ["events"], "verbs": ["list"]},
    ]
    about = _metadata(watcher, namespace)
    yield {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "metadata": about,
        "rules": rules,
    }
    yield {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": about,
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": watcher.name},
        "subjects": [{"kind": "ServiceAccount", "name": watcher.name, "namespace": watcher.namespace}],
    }


def _plural(kind: str) -> str:
    lower = kind.lower()
    if lower.endswith("y"):
        return f"{lower[:-1]}ies"
    return f"{lower}es" if lower.endswith("s") else f"{lower}s"


def _network_policy(watcher: Watcher) -> Object:
    port = {"port": "http", "protocol": "TCP"}
    callers = {"from": [{"podSelector": {}}, *peers(watcher.ingress or ())], "ports": [port]}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": _metadata(watcher),
        "spec": {
            "podSelector": {"matchLabels": {"app.kubernetes.io/instance": watcher.name}},
            "policyTypes": ["Ingress", "Egress"],
            # Nobody calls one that looks and ends.
            "ingress": [] if watcher.schedule else [callers],
            # Stores, registries, package indexes, Debian's mirrors, Git: hosts that no policy can name.
            "egress": [{}],
        },
    }


def _deployment(watcher: Watcher) -> Object:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": _metadata(watcher),
        "spec": {
            "replicas": 1,
            "revisionHistoryLimit": 5,
            # Two at a time would do everything twice.
            "strategy": {"type": "Recreate"},
            "selector": {"matchLabels": _selector(watcher)},
            "template": _template(watcher),
        },
    }


def _cron_job(watcher: Watcher) -> Object:
    job: Object = {
        # The next look tries again by itself.
        "backoffLimit": 0,
        "activeDeadlineSeconds": 3 * 3600,
        "ttlSecondsAfterFinished": 24 * 3600,
        "template": _template(watcher),
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": _metadata(watcher),
        "spec": {
            "schedule": watcher.schedule,
            "concurrencyPolicy": "Forbid",
            "startingDeadlineSeconds": 300,
            "successfulJobsHistoryLimit": 3,
            "failedJobsHistoryLimit": 3,
            "jobTemplate": {"spec": job},
        },
    }


def _template(watcher: Watcher) -> Object:
    texts = json.dumps([(one.folder, one.text) for one in watcher.files])
    about = _metadata(watcher)
    # Files that are mounted one by one stay as they are until the pod is replaced.
    checksum = hashlib.sha256(texts.encode()).hexdigest()
    return {
        "metadata": {
            "labels": about["labels"],
            "annotations": {f"{metadata.PREFIX}config-checksum": checksum},
        },
        "spec": {
            "serviceAccountName": watcher.name,
            "automountServiceAccountToken": bool(watcher.deploys_to),
            "enableServiceLinks": False,
            **({"restartPolicy": "Never"} if watcher.schedule else {}),
            # `watch` gives what runs twenty seconds to end.
            "terminationGracePeriodSeconds": 30,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": USER,
                "runAsGroup": USER,
                "fsGroup": USER,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [_container(watcher)],
            "volumes": [
                {"name": "files", "configMap": {"name": watcher.name}},
                {
                    "name": "login",
                    "secret": {
                        "secretName": f"{watcher.name}-registry",
                        "optional": True,
                        "items": [{"key": ".dockerconfigjson", "path": "config.json"}],
                    },
                },
                {"name": "cache", "emptyDir": {"sizeLimit": "20Gi"}},
                {"name": "tmp", "emptyDir": {"sizeLimit": "2Gi"}},
            ],
        },
    }


def _container(watcher: Watcher) -> Object:
    # A pod of this kind may not make the sandbox in which images are run; the rollout shows whether they do.
    arguments = ["watch", _WORK, "--no-verify", "--json"]
    if watcher.environment:
        arguments += ["--env", watcher.environment]
    how = ["--once"] if watcher.schedule else ["--listen", f"0.0.0.0:{_PORT}"]
    variables = {"DOCKER_CONFIG": _LOGIN, "HOME": "/tmp", "SERVEGEN_CACHE_DIR": _CACHE}  # noqa: S108 (in the pod)
    return {
        "name": "watch",
        "image": watcher.image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["servegen"],
        "args": [*arguments, *how],
        "env": [{"name": name, "value": value} for name, value in variables.items()],
        "envFrom": [{"secretRef": {"name": watcher.name}}],
        **({} if watcher.schedule else _listening()),
        "resources": {
            "requests": {"cpu": "500m", "memory": "2Gi", "ephemeral-storage": "4Gi"},
            "limits": {"memory": "2Gi", "ephemeral-storage": "24Gi"},
        },
        "securityContext": SECURITY,
        "volumeMounts": [
            *(_mount(one.folder, one.key) for one in watcher.files),
            {"name": "login", "mountPath": _LOGIN, "readOnly": True},
            {"name": "cache", "mountPath": _CACHE},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 (in the pod)
        ],
    }


def _mount(folder: str, key: str) -> Object:
    place = _WORK if folder == "." else f"{_WORK}/{folder}"
    return {"name": "files", "mountPath": f"{place}/servegen.yaml", "subPath": key, "readOnly": True}


def _listening() -> Object:
    probe = {"httpGet": {"path": "/healthz", "port": "http", "scheme": "HTTP"}, "timeoutSeconds": 5}
    return {
        "ports": [{"name": "http", "containerPort": _PORT, "protocol": "TCP"}],
        "startupProbe": {**probe, "periodSeconds": 5, "failureThreshold": 24},
        "readinessProbe": {**probe, "periodSeconds": 10, "failureThreshold": 3},
        "livenessProbe": {**probe, "periodSeconds": 30, "failureThreshold": 5},
    }
