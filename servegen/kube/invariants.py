"""What must hold between the objects of one deployment, whatever the settings are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from servegen.kube import Object
from servegen.kube.metadata import IN_FLIGHT
from servegen.kube.restricted import pod_spec

_DRAIN = ("SERVEGEN_DRAIN_DELAY", "SERVEGEN_DRAIN_TIMEOUT")
_CHANGING = ("version", "digest", "track", "pod-template-hash")


def violations(objects: Sequence[Object]) -> tuple[str, ...]:
    """Each contradiction among `objects` in one line; empty when there is none."""
    return tuple(text for check in _CHECKS for text in check(objects))


def _names(objects: Sequence[Object]) -> Iterator[str]:
    seen = set()
    for one in objects:
        key = (one["kind"], one["metadata"].get("namespace"), one["metadata"]["name"])
        if key in seen:
            yield f"{key[0]} {key[2]} occurs twice"
        seen.add(key)


def _selectors(objects: Sequence[Object]) -> Iterator[str]:
    workloads = _of_kind(objects, "Deployment")
    templates = [dict(one["spec"]["template"]["metadata"]["labels"]) for one in workloads]
    services = [dict(one["metadata"]["labels"]) for one in _of_kind(objects, "Service")]
    for one in objects:
        wanted = _selector(one)
        if wanted is None:
            continue
        what, chosen = ("Service", services) if one["kind"] == "ServiceMonitor" else ("pod", templates)
        if not any(wanted.items() <= labels.items() for labels in chosen):
            yield f"{_title(one)} selects no {what}"
        for key in wanted:
            if key.rpartition("/")[2] in _CHANGING:
                yield f"{_title(one)} selects by {key}, which changes"


def _selector(one: Object) -> dict[str, str] | None:
    spec = one.get("spec", {})
    if one["kind"] == "Service":
        return dict(spec.get("selector", {}))
    if one["kind"] == "NetworkPolicy":
        return dict(spec.get("podSelector", {}).get("matchLabels", {}))
    if one["kind"] in ("Deployment", "PodDisruptionBudget", "PodMonitor", "ServiceMonitor"):
        return dict(spec.get("selector", {}).get("matchLabels", {}))
    return None


def _scaling(objects: Sequence[Object]) -> Iterator[str]:
    deployments = {one["metadata"]["name"]: one for one in _of_kind(objects, "Deployment")}
    scalers = [*_of_kind(objects, "HorizontalPodAutoscaler"), *_of_kind(objects, "ScaledObject")]
    targets = [one["spec"]["scaleTargetRef"]["name"] for one in scalers]
    for scaler, target in zip(scalers, targets, strict=True):
        if target not in deployments:
            yield f"{_title(scaler)} scales {target}, which is not among the objects"
        elif "replicas" in deployments[target]["spec"]:
            yield f"Deployment {target} sets replicas although {_title(scaler)} owns the number"
    for name in deployments:
        if targets.count(name) > 1:
            yield f"Deployment {name} has more than one autoscaler"
        if name not in targets and "replicas" not in deployments[name]["spec"]:
            yield f"Deployment {name} has neither replicas nor an autoscaler"
    for one in _of_kind(objects, "HorizontalPodAutoscaler"):
        if one["spec"]["minReplicas"] > one["spec"]["maxReplicas"]:
            yield f"{_title(one)} has minReplicas above maxReplicas"
        if one["spec"]["minReplicas"] < 1:
            yield f"{_title(one)} goes to zero, where none of its metrics is measured"
    for one in _of_kind(objects, "ScaledObject"):
        yield from _keda(one)


def _keda(one: Object) -> Iterator[str]:
    spec = one["spec"]
    if spec["minReplicaCount"] > spec["maxReplicaCount"]:
        yield f"{_title(one)} has minReplicaCount above maxReplicaCount"
    for trigger in spec["triggers"]:
        for key, value in trigger["metadata"].items():
            if not isinstance(value, str):
                yield f"{_title(one)} has {key}: {value!r} in a trigger, which takes texts only"
    wakes = [each for each in spec["triggers"] if IN_FLIGHT not in each["metadata"].get("query", "")]
    if spec["minReplicaCount"] == 0 and not wakes:
        yield f"{_title(one)} goes to zero and has no trigger that sees load there"


def _disruption(objects: Sequence[Object]) -> Iterator[str]:
    for one in _of_kind(objects, "PodDisruptionBudget"):
        if "minAvailable" in one["spec"] or one["spec"].get("maxUnavailable") in (None, 0, "0", "0%"):
            yield f"{_title(one)} can block the drain of a node for ever"


def _ports(objects: Sequence[Object]) -> Iterator[str]:
    named = set()
    for one in objects:
        yield from _shared_ports(one)
        for container in _containers(one):
            own = {port["name"] for port in container.get("ports", ()) if "name" in port}
            named |= own
            for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
                port = container.get(probe, {}).get("httpGet", {}).get("port")
                if isinstance(port, str) and port not in own:
                    yield f"{_title(one)}: {probe} asks port {port}, which the container does not have"
    for service in _of_kind(objects, "Service"):
        for port in service["spec"]["ports"]:
            target = port.get("targetPort")
            if isinstance(target, str) and target not in named:
                yield f"{_title(service)} points to port {target}, which no container has"
    offered = {port["name"] for one in _of_kind(objects, "Service") for port in one["spec"]["ports"]}
    for one in objects:
        known = offered if one["kind"] == "ServiceMonitor" else named
        for port in _named_ports(one):
            if port not in known:
                yield f"{_title(one)} names port {port}, which does not exist"


def _shared_ports(one: Object) -> Iterator[str]:
    """Ports of two containers: they share one network, and a name has to mean one of them."""
    spec = pod_spec(one) or {}
    lasting = [each for each in spec.get("initContainers", ()) if each.get("restartPolicy") == "Always"]
    ports = [port for each in (*lasting, *spec.get("containers", ())) for port in each.get("ports", ())]
    numbers = [f"{port['containerPort']}/{port.get('protocol', 'TCP')}" for port in ports]
    names = [port["name"] for port in ports if "name" in port]
    for found in (numbers, names):
        for port in sorted({port for port in found if found.count(port) > 1}):
            yield f"{_title(one)} has port {port} twice"


def _named_ports(one: Object) -> list[str]:
    spec = one.get("spec", {})
    if one["kind"] == "NetworkPolicy":
        return [port["port"] for rule in spec.get("ingress", ()) for port in rule.get("ports", ())]
    if one["kind"] in ("PodMonitor", "ServiceMonitor"):
        return [each["port"] for each in (*spec.get("podMetricsEndpoints", ()), *spec.get("endpoints", ()))]
    return []


def _routes(objects: Sequence[Object]) -> Iterator[str]:
    services = _of_kind(objects, "Service")
    ports = {(one["metadata"]["name"], port["port"]) for one in services for port in one["spec"]["ports"]}
    for one in _of_kind(objects, "HTTPRoute"):
        for rule in one["spec"]["rules"]:
            for backend in rule.get("backendRefs", ()):
                if backend.get("kind", "Service") != "Service":
                    continue
                if (backend["name"], backend.get("port")) not in ports:
                    place = f"{backend['name']}:{backend.get('port', 'no port')}"
                    yield f"{_title(one)} leads to {place}, which is no Service here"


def _shutdown(objects: Sequence[Object]) -> Iterator[str]:
    for one in _of_kind(objects, "Deployment"):
        spec = one["spec"]["template"]["spec"]
        for container in _containers(one):
            env = {entry["name"]: entry.get("value", "0") for entry in container.get("env", ())}
            pause = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
            waits = {name: env.get(name, "0") for name in _DRAIN}
            if wrong := [f"{name}={value}" for name, value in waits.items() if not value.isdecimal()]:
                yield f"{_title(one)} sets {', '.join(wrong)}, which is no number of seconds"
                continue
            drain = sum(map(int, waits.values()))
            grace = spec["terminationGracePeriodSeconds"]
            if pause + drain >= grace:
                yield f"{_title(one)} is killed after {grace} s, before it has drained"
        if one["spec"]["progressDeadlineSeconds"] <= one["spec"].get("minReadySeconds", 0):
            yield f"{_title(one)} has progressDeadlineSeconds within minReadySeconds"


def _environment(objects: Sequence[Object]) -> Iterator[str]:
    for one in objects:
        for container in _containers(one):
            names = [entry["name"] for entry in container.get("env", ())]
            for name in sorted({name for name in names if names.count(name) > 1}):
                yield f"{_title(one)} sets the variable {name} twice"


def _accounts(objects: Sequence[Object]) -> Iterator[str]:
    accounts = {one["metadata"]["name"] for one in _of_kind(objects, "ServiceAccount")}
    for one in objects:
        spec = pod_spec(one)
        if spec is not None and spec.get("serviceAccountName") not in accounts:
            yield f"{_title(one)} runs as {spec.get('serviceAccountName')}, which is not among the objects"


def _volumes(objects: Sequence[Object]) -> Iterator[str]:
    for one in objects:
        spec = pod_spec(one) or {}
        volumes = [volume["name"] for volume in spec.get("volumes", ())]
        names = [container["name"] for container in _containers(one)]
        for kind, found in (("volume", volumes), ("container", names)):
            for name in sorted({name for name in found if found.count(name) > 1}):
                yield f"{_title(one)} has two of the {kind} {name}"
        for container in _containers(one):
            mounts = container.get("volumeMounts", ())
            paths = [mount["mountPath"] for mount in mounts]
            for mount in mounts:
                if mount["name"] not in volumes:
                    yield f"{_title(one)} mounts {mount['name']}, which is not among its volumes"
            for path in sorted({path for path in paths if paths.count(path) > 1}):
                yield f"{_title(one)} mounts two volumes at {path}"


_CHECKS = (
    _names,
    _selectors,
    _scaling,
    _disruption,
    _ports,
    _routes,
    _shutdown,
    _environment,
    _accounts,
    _volumes,
)


def _of_kind(objects: Sequence[Object], kind: str) -> list[Object]:
    return [one for one in objects if one["kind"] == kind]


def _containers(one: Object) -> list[Object]:
    spec = pod_spec(one) or {}
    return [*spec.get("initContainers", ()), *spec.get("containers", ())]


def _title(one: Object) -> str:
    return f"{one['kind']} {one['metadata']['name']}"
