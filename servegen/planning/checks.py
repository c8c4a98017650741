"""Settings that no cluster would take, refused before anything is written; each error names its setting."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NoReturn

from servegen.errors import RenderError
from servegen.kube import metadata, names, quantity
from servegen.planning.secrets import holds_secret, looks_secret
from servegen.values.deployment import Settings, TolerationSettings

_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_FIELD = re.compile(
    r"metadata\.(name|namespace|uid)|metadata\.(labels|annotations)\['[^']+'\]"
    r"|spec\.(nodeName|serviceAccountName)|status\.(hostIPs?|podIPs?)"
)
_SECRET_KEY = re.compile(r"[-._A-Za-z0-9]{1,253}")
_NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_MEBIBYTE = 1024**2
# More than any node has; the server's own arithmetic overflows far above, and then one pod fills a node.
_MOST_CORES = 10_000
_MOST_BYTES = 1024**5
_RANGES: dict[str, tuple[int, int]] = {
    "replicas": (1, 10_000),
    "startup_seconds": (1, 86_400),
    "request_timeout_seconds": (1, 3600),
    "pre_stop_seconds": (0, 15),
    "drain_delay_seconds": (0, 300),
    "queue_size": (1, 100_000),
    "min_ready_seconds": (0, 3600),
}
_AUTOSCALING_RANGES: dict[str, tuple[int, int]] = {
    "max_replicas": (1, 10_000),
    "cpu_utilization": (1, 1000),
    "scale_up_window_seconds": (0, 3600),
    "scale_up_percent": (1, 10_000),
    "scale_up_pods": (1, 10_000),
    "scale_up_period_seconds": (1, 1800),
    "scale_down_window_seconds": (0, 3600),
    "scale_down_percent": (1, 100),
    "scale_down_period_seconds": (1, 1800),
}
_EFFECTS = ("", "NoSchedule", "PreferNoSchedule", "NoExecute")


def check(settings: Settings) -> None:
    """Raise RenderError for the first setting that Kubernetes would refuse, or that would do harm."""
    for name, bounds in _RANGES.items():
        _range(name, getattr(settings, name), bounds)
    for name, bounds in _AUTOSCALING_RANGES.items():
        _range(f"autoscaling.{name}", getattr(settings.autoscaling, name), bounds)
    if settings.namespace is not None and not _NAMESPACE.fullmatch(settings.namespace):
        _refuse("namespace", f"{settings.namespace!r} is not a namespace's name", "use a-z, 0-9 and -")
    _environment(settings)
    for name in ("labels", "pod_labels"):
        _labels(name, getattr(settings, name))
    for name in ("annotations", "pod_annotations", "service_account_annotations"):
        _keys(name, getattr(settings, name), own=True)
        _public(name, getattr(settings, name))
    _placement(settings)


def cpu(name: str, text: str) -> str:
    """`text` as a canonical amount of CPU."""
    amount = _quantity(name, text, example="500m or 2")
    if not amount or text.endswith("i"):
        _refuse(name, f"{text!r} is not an amount of CPU", "write cores, such as 500m or 2")
    if quantity.value(text) > _MOST_CORES:
        _refuse(name, f"{text} is more than {_MOST_CORES} cores", "write cores, such as 500m or 2")
    return amount


def size(name: str, text: str) -> str:
    """`text` as a canonical amount of memory or disk; at least a mebibyte, so that `512m` is caught."""
    amount = _quantity(name, text, example="512Mi or 2Gi")
    if quantity.value(text) < _MEBIBYTE:
        _refuse(name, f"{text!r} is less than 1Mi", "write a suffix, such as 512Mi or 2Gi")
    if quantity.value(text) > _MOST_BYTES:
        _refuse(name, f"{text} is more than 1Pi", "write an amount such as 512Mi or 2Gi")
    return amount


def _quantity(name: str, text: str, *, example: str) -> str:
    try:
        amount = quantity.canonical(text)
    except ValueError as exc:
        _refuse(name, str(exc), f"write a quantity such as {example}")
    return "" if amount == "0" else amount


def _range(name: str, value: int | None, bounds: tuple[int, int]) -> None:
    lowest, highest = bounds
    if value is not None and not lowest <= value <= highest:
        _refuse(name, f"{name} is {value}", f"use a number from {lowest} to {highest}")


def _environment(settings: Settings) -> None:
    for name, value in settings.env.items():
        _variable("env", name)
        if looks_secret(name, value):
            _refuse(
                f"env.{name}",
                f"variable {name} looks like a secret, and manifests are read by many",
                f"put it into a Secret and name it: deploy.secret_env.{name}: SECRET/KEY",
            )
        if name in settings.secret_env:
            _refuse(f"env.{name}", f"variable {name} is set twice", f"remove deploy.env.{name}")
    for name, place in settings.secret_env.items():
        _variable("secret_env", name)
        secret, slash, key = place.partition("/")
        if not slash or not names.is_subdomain(secret) or not _SECRET_KEY.fullmatch(key):
            _refuse(f"secret_env.{name}", f"{place!r} names no key of a Secret", "write SECRET/KEY")
    for name, path in settings.field_env.items():
        _variable("field_env", name)
        if name in settings.env or name in settings.secret_env:
            _refuse(f"field_env.{name}", f"variable {name} is set twice", f"remove deploy.field_env.{name}")
        if not _FIELD.fullmatch(path):
            _refuse(
                f"field_env.{name}", f"{path!r} is no field of a pod for variables", "such as status.podIP"
            )
    for secret in settings.env_from_secrets:
        _object_name("env_from_secrets", secret)


def _variable(setting: str, name: str) -> None:
    if not _ENV_NAME.fullmatch(name):
        _refuse(setting, f"{name!r} cannot name an environment variable", "use letters, digits and _")


def _labels(setting: str, labels: Mapping[str, str]) -> None:
    _keys(setting, labels, own=True)
    _public(setting, labels)
    for key, value in labels.items():
        if not names.is_label_value(value):
            _refuse(
                f"{setting}.{key}",
                f"{value!r} is not a label value",
                "use at most 63 letters, digits, - _ and . (free text fits into deploy.annotations)",
            )


def _public(setting: str, mapping: Mapping[str, str]) -> None:
    # By value alone: keys such as `secret.reloader.example/watch` talk of Secrets without holding one.
    for key, value in mapping.items():
        if holds_secret(value):
            _refuse(
                f"{setting}.{key}",
                "the value looks like a secret, and manifests are read by many",
                "put it into a Secret, and its variable into deploy.secret_env",
            )


def _keys(setting: str, mapping: Mapping[str, str], *, own: bool) -> None:
    for key in mapping:
        if not names.is_key(key):
            _refuse(setting, f"{key!r} is not a key of labels or annotations", "write NAME or DOMAIN/NAME")
        if own and key.startswith(metadata.OWN_KEYS):
            _refuse(setting, f"{key} is written by servegen", "choose another key")


def _placement(settings: Settings) -> None:
    _keys("node_selector", settings.node_selector, own=False)
    for key, value in settings.node_selector.items():
        if not names.is_label_value(value):
            _refuse(f"node_selector.{key}", f"{value!r} is not a label value", "see the node's labels")
    for secret in settings.image_pull_secrets:
        _object_name("image_pull_secrets", secret)
    for setting in ("priority_class", "runtime_class"):
        name = getattr(settings, setting)
        if name is not None:
            _object_name(setting, name)
    for toleration in settings.tolerations:
        _toleration(toleration)


def _toleration(one: TolerationSettings) -> None:
    if one.operator not in ("Equal", "Exists"):
        _refuse("tolerations", f"operator {one.operator!r} does not exist", "use Equal or Exists")
    if one.effect not in _EFFECTS:
        _refuse("tolerations", f"effect {one.effect!r} does not exist", f"use {', '.join(_EFFECTS[1:])}")
    if one.operator == "Exists" and one.value:
        _refuse("tolerations", f"operator Exists compares no value, but value is {one.value!r}", "use Equal")
    if one.operator == "Equal" and not one.key:
        _refuse("tolerations", "operator Equal needs a key", "set key, or use Exists")
    if one.key and not names.is_key(one.key):
        _refuse("tolerations", f"{one.key!r} is not the key of a taint", "see the node's taints")
    if not names.is_label_value(one.value):
        _refuse("tolerations", f"{one.value!r} is not the value of a taint", "see the node's taints")
    if one.seconds is not None and one.effect != "NoExecute":
        _refuse("tolerations", "seconds needs effect NoExecute", "set the effect, or remove seconds")


def _object_name(setting: str, name: str) -> None:
    if not names.is_subdomain(name):
        _refuse(setting, f"{name!r} cannot name an object", "use a-z, 0-9, - and .")


def _refuse(setting: str, message: str, hint: str) -> NoReturn:
    msg = f"deploy.{setting}: {message}"
    raise RenderError(msg, hint=hint)
