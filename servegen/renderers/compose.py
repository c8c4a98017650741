"""A compose file: the image on one machine, as restricted as its pod would be."""

from __future__ import annotations

import re
from collections.abc import Mapping

from servegen.errors import RenderError
from servegen.kube import Object, metadata, quantity, yaml
from servegen.kube.pod import PROBE_PERIOD
from servegen.renderers import Renderer
from servegen.values.additions import Additions
from servegen.values.bundle import Bundle
from servegen.values.deployment import Deployment, EnvVar
from servegen.values.image import USER

FILE = "compose.yaml"
_HEADER = "# docker compose up --wait, then ask http://127.0.0.1:{port}/\n"
_PROBE = (
    "import http.client as h; c = h.HTTPConnection('127.0.0.1', {port}, timeout=2); "
    "c.request('GET', '/readyz'); raise SystemExit(c.getresponse().status != 200)"
)
_NVIDIA = "nvidia.com/gpu"
_UNITS = (("g", 2**30), ("m", 2**20), ("k", 2**10))
_REFERENCE = re.compile(r"\$(?:\$|\(([^)]*)\))")
"""What Kubernetes replaces in the value of a variable: `$(NAME)`, and `$$` for a single `$`."""


class Compose:
    """One file for `docker compose up`."""

    layered = False

    def render(self, deployment: Deployment) -> Bundle:
        """The file `compose.yaml`."""
        return Bundle.of({FILE: self.stream(deployment)})

    def stream(self, deployment: Deployment) -> str:
        """The same as text."""
        return _HEADER.format(port=deployment.port) + yaml.dump(project(deployment))


def project(deployment: Deployment) -> Object:
    """The compose project (compose-spec): one service, reachable from this machine only.

    Raises RenderError for settings of pods that have no form here.
    """
    _check(deployment)
    added = deployment.additions
    facts = metadata.notes(deployment) | metadata.facts(deployment)
    files = [f"{name}.env" for name in deployment.env_from_secrets]
    service = {
        "image": deployment.image.pinned,
        "environment": _environment(deployment.env),
        **({"env_file": files} if files else {}),
        **({"configs": _mounts(added)} if added.config else {}),
        **({"shm_size": _bytes(added.shm_size)} if added.shm_size else {}),
        "ports": [
            {"target": port, "published": str(port), "host_ip": "127.0.0.1", "protocol": "tcp"}
            for port in (deployment.port, deployment.grpc_port)
            if port is not None
        ],
        "user": f"{USER}:{USER}",
        "read_only": True,
        # Without `exec` libraries that compile for themselves could not load what they made.
        "tmpfs": [f"/tmp:exec,mode=1777,size={_bytes(deployment.resources.tmp_size)}"],  # noqa: S108
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges:true"],
        "healthcheck": {
            # Without site-packages, as it runs every few seconds.
            "test": ["CMD", "python3", "-I", "-S", "-c", _PROBE.format(port=deployment.port)],
            "interval": f"{PROBE_PERIOD}s",
            "timeout": "5s",
            "retries": 3,
            "start_period": f"{deployment.timing.startup_probes * deployment.timing.startup_period}s",
        },
        "stop_grace_period": f"{deployment.timing.grace_period}s",
        "restart": "unless-stopped",
        "deploy": {"resources": {"limits": _limits(deployment), **_devices(added)}},
        "labels": {key: _literal(value) for key, value in sorted(facts.items())},
    }
    contents = {name: {"content": _literal(text)} for name, text in added.config}
    return {
        "name": deployment.instance,
        "services": {deployment.instance: service},
        **({"configs": contents} if contents else {}),
    }


def _check(deployment: Deployment) -> None:
    added = deployment.additions
    given = {
        "field_env": any(one.field for one in deployment.env),
        "gpu.resource": added.gpu is not None and added.gpu.resource != _NVIDIA,
    }
    named = ("env_from", "init_containers", "model_volume", "patches", "sidecars", "volumes")
    given |= {name: bool(getattr(added, name)) for name in named}
    for name, is_given in given.items():
        if is_given:
            msg = f"deploy.{name} has no form in a compose file"
            raise RenderError(msg, hint="render an environment without it: --env NAME")


def _mounts(added: Additions) -> list[Object]:
    return [{"source": name, "target": f"{added.config_path}/{name}"} for name, _ in added.config]


def _devices(added: Additions) -> Object:
    if added.gpu is None:
        return {}
    wanted = {"driver": "nvidia", "count": added.gpu.count, "capabilities": ["gpu"]}
    return {"reservations": {"devices": [wanted]}}


def _environment(variables: tuple[EnvVar, ...]) -> dict[str, str]:
    found: dict[str, str] = {}
    made: dict[str, str] = {}
    for one in variables:
        if one.secret is None:
            found[one.name] = _resolved(one.value, found)
            made[one.name] = _literal(found[one.name])
        else:
            # From the shell or an .env file; `:?` stops with this text where it is not set.
            made[one.name] = f"${{{one.name}:?set it to key {one.key} of the Secret {one.secret}}}"
    return made


def _resolved(value: str, known: Mapping[str, str]) -> str:
    """`value` as the kubelet would hand it over."""
    return _REFERENCE.sub(lambda match: "$" if match[1] is None else known.get(match[1], match[0]), value)


def _literal(text: str) -> str:
    """`text` where compose puts variables in: it stays as it is."""
    return text.replace("$", "$$")


def _limits(deployment: Deployment) -> dict[str, str]:
    wanted = deployment.resources
    cpus = {"cpus": f"{float(quantity.value(wanted.cpu_limit)):g}"} if wanted.cpu_limit else {}
    return {**cpus, "memory": _bytes(wanted.memory)}


def _bytes(text: str) -> str:
    """A quantity in the units of compose, whose `m` are Mi."""
    number = int(quantity.value(text))
    unit, size = next(((u, s) for u, s in _UNITS if number % s == 0), ("b", 1))
    return f"{number // size}{unit}"


RENDERER: type[Renderer] = Compose
