"""The Pod Security level `restricted`, checked without a server.

Follows the Pod Security Standards of Kubernetes 1.29 to 1.37, `baseline` rules included.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from servegen.kube import Object

_VOLUMES = frozenset(
    (
        "configMap",
        "csi",
        "downwardAPI",
        "emptyDir",
        "ephemeral",
        "image",
        "persistentVolumeClaim",
        "projected",
        "secret",
    )
)
_SYSCTLS = frozenset(
    (
        "kernel.shm_rmid_forced",
        "net.ipv4.ip_local_port_range",
        "net.ipv4.ip_local_reserved_ports",
        "net.ipv4.ip_unprivileged_port_start",
        "net.ipv4.ping_group_range",
        "net.ipv4.tcp_fin_timeout",
        "net.ipv4.tcp_keepalive_intvl",
        "net.ipv4.tcp_keepalive_probes",
        "net.ipv4.tcp_keepalive_time",
        "net.ipv4.tcp_rmem",
        "net.ipv4.tcp_syncookies",
        "net.ipv4.tcp_wmem",
    )
)
_SELINUX_TYPES = frozenset(("", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"))
_SECCOMP = frozenset(("RuntimeDefault", "Localhost"))


def violations_of(objects: Iterable[Object]) -> tuple[str, ...]:
    """What `restricted` forbids in the pods of `objects`, each with the object's kind and name."""
    return tuple(
        f"{one['kind']} {one['metadata']['name']}: {text}"
        for one in objects
        if (spec := pod_spec(one)) is not None
        for text in violations(spec)
    )


def pod_spec(one: Object) -> Object | None:
    """The pod `spec` inside a Pod, Deployment, Job or CronJob; None for other kinds."""
    spec = one.get("spec", {})
    if one["kind"] == "Pod":
        return dict(spec)
    if one["kind"] == "CronJob":
        spec = spec["jobTemplate"]["spec"]
    found = spec.get("template", {}).get("spec")
    return None if found is None else dict(found)


def violations(spec: Object) -> tuple[str, ...]:
    """What `restricted` forbids in a pod `spec`."""
    return (*_pod(spec), *(text for one in _containers(spec) for text in _container(one, spec)))


def _containers(spec: Object) -> Iterator[Object]:
    for key in ("initContainers", "containers", "ephemeralContainers"):
        yield from spec.get(key) or ()


def _pod(spec: Object) -> Iterator[str]:
    for key in ("hostNetwork", "hostPID", "hostIPC"):
        if spec.get(key):
            yield f"{key} is set"
    for volume in spec.get("volumes") or ():
        for kind in sorted(set(volume) - {"name"} - _VOLUMES):
            yield f"volume {volume['name']} is a {kind}"
    context = spec.get("securityContext") or {}
    for sysctl in context.get("sysctls") or ():
        if sysctl["name"] not in _SYSCTLS:
            yield f"sysctl {sysctl['name']} is set"
    yield from _shared_rules(context, "pod")


def _container(container: Object, spec: Object) -> Iterator[str]:
    name = f"container {container['name']}"
    context = container.get("securityContext") or {}
    pod_context = spec.get("securityContext") or {}
    if context.get("privileged"):
        yield f"{name} is privileged"
    if context.get("allowPrivilegeEscalation") is not False:
        yield f"{name} does not set allowPrivilegeEscalation: false"
    yield from _capabilities(context.get("capabilities") or {}, name)
    if context.get("runAsNonRoot", pod_context.get("runAsNonRoot")) is not True:
        yield f"{name} does not set runAsNonRoot: true"
    seccomp = context.get("seccompProfile", pod_context.get("seccompProfile")) or {}
    if seccomp.get("type") not in _SECCOMP:
        yield f"{name} sets no seccompProfile RuntimeDefault"
    if context.get("procMount", "Default") != "Default":
        yield f"{name} sets procMount {context['procMount']}"
    for port in container.get("ports") or ():
        if port.get("hostPort"):
            yield f"{name} takes host port {port['hostPort']}"
    for hook in ("livenessProbe", "readinessProbe", "startupProbe"):
        for action in ("httpGet", "tcpSocket"):
            if ((container.get(hook) or {}).get(action) or {}).get("host"):
                yield f"{name} sets a host in its {hook}"
    yield from _shared_rules(context, name)


def _capabilities(capabilities: Object, name: str) -> Iterator[str]:
    if "ALL" not in (capabilities.get("drop") or ()):
        yield f"{name} does not drop capability ALL"
    for added in sorted(set(capabilities.get("add") or ()) - {"NET_BIND_SERVICE"}):
        yield f"{name} adds capability {added}"


def _shared_rules(context: Object, name: str) -> Iterator[str]:
    """Rules that hold for the security context of a pod and of a container alike."""
    if context.get("runAsUser") == 0:
        yield f"{name} runs as user 0"
    if (context.get("seccompProfile") or {}).get("type") == "Unconfined":
        yield f"{name} sets seccompProfile Unconfined"
    if (context.get("appArmorProfile") or {}).get("type") == "Unconfined":
        yield f"{name} sets appArmorProfile Unconfined"
    if (context.get("windowsOptions") or {}).get("hostProcess"):
        yield f"{name} is a Windows host process"
    selinux = context.get("seLinuxOptions") or {}
    if selinux.get("type", "") not in _SELINUX_TYPES or selinux.get("user") or selinux.get("role"):
        yield f"{name} sets seLinuxOptions"
