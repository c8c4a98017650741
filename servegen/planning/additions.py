"""What users add to the pod: checked, so that what cannot work is named by its setting."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from servegen.kube import additions as ours
from servegen.kube import metadata, names, quantity
from servegen.planning import checks
from servegen.planning.refusing import refuse
from servegen.planning.secrets import holds_secret, looks_secret
from servegen.values.additions import Additions, ConfigSettings, Gpu, GpuSettings, Raw
from servegen.values.deployment import Resources, Settings
from servegen.values.image import ImageRef

_FILE_NAME = re.compile(r"[-._A-Za-z0-9]{1,253}")
_MOST_CONFIG = 1024**2
"""Bytes that a ConfigMap may hold."""
_OWN_VOLUMES = (ours.CONFIG, ours.MODEL, ours.SHM, ours.TMP)
_OWN_PATHS = ("/tmp", "/dev/shm", ours.MODEL_PATH)  # noqa: S108 (paths in the container)


def additions(settings: Settings, resources: Resources) -> Additions:
    """The intent; raises RenderError naming the setting that cannot be."""
    _containers(settings)
    _volumes(settings)
    for index, one in enumerate(settings.env_from):
        _source(f"env_from[{index}]", one)
    for index, patch in enumerate(settings.patches):
        _no_secrets(f"patches[{index}]", patch)
    return Additions(
        config=_config(settings.config),
        config_path=_path("config.path", settings.config.path),
        gpu=_gpu(settings.gpu, settings.affinity),
        model_volume=_model_volume(settings.model_volume),
        shm_size=_shm(settings.resources.shm_size, resources),
        env_from=settings.env_from,
        affinity=settings.affinity,
        volumes=settings.volumes,
        volume_mounts=settings.volume_mounts,
        sidecars=settings.sidecars,
        init_containers=settings.init_containers,
        patches=settings.patches,
    )


def _source(setting: str, one: Raw) -> None:
    found = [one[key] for key in ("configMapRef", "secretRef") if key in one]
    name = found[0].get("name") if len(found) == 1 and isinstance(found[0], Mapping) else None
    if not isinstance(name, str) or not names.is_subdomain(name):
        refuse(setting, "it has to name one ConfigMap or Secret", "configMapRef: {name: NAME}")


def _config(settings: ConfigSettings) -> tuple[tuple[str, str], ...]:
    if settings.files and settings.path.rstrip("/") in _OWN_PATHS:
        refuse("config.path", f"{settings.path} is a folder of the server's own", "such as /etc/model")
    for name, text in settings.files.items():
        setting = f"config.files.{name}"
        if not _FILE_NAME.fullmatch(name) or name == "." or name.startswith(".."):
            refuse(setting, f"{name!r} cannot name a file of a ConfigMap", "use letters, digits, -, _ and .")
        if holds_secret(text):
            refuse(setting, "the text looks like a secret, and a ConfigMap is read by many", "use a Secret")
    if sum(len(name) + len(text.encode()) for name, text in settings.files.items()) > _MOST_CONFIG:
        refuse(
            "config.files", "the files are larger than 1 MiB together", "put them into the model or a volume"
        )
    return tuple(sorted(settings.files.items()))


def _gpu(settings: GpuSettings, affinity: Raw) -> Gpu | None:
    if not 0 <= settings.count <= 64:
        refuse("gpu.count", f"count is {settings.count}", "use a number from 0 to 64")
    if not settings.count:
        return None
    if "/" not in settings.resource:
        # The API server takes only its own resources, such as cpu, without a domain.
        refuse("gpu.resource", f"{settings.resource!r} has no domain", "DOMAIN/NAME, such as nvidia.com/gpu")
    for setting in ("resource", "product_label"):
        if not names.is_key(getattr(settings, setting)):
            refuse(
                f"gpu.{setting}", f"{getattr(settings, setting)!r} is not a name of that kind", "DOMAIN/NAME"
            )
    for product in settings.products:
        if not names.is_label_value(product):
            refuse("gpu.products", f"{product!r} is not a label value", "see the node's labels")
    if settings.products and "nodeAffinity" in affinity:
        refuse("gpu.products", "deploy.affinity has a nodeAffinity, too", "name the products there")
    return Gpu(
        count=settings.count,
        resource=settings.resource,
        products=settings.products,
        product_label=settings.product_label,
    )


def _model_volume(text: str | None) -> str | None:
    if text is None:
        return None
    hint = "write REGISTRY/REPOSITORY@sha256:…, so that every replica serves the same model"
    try:
        reference = ImageRef.parse(text)
    except ValueError as exc:
        refuse("model_volume", str(exc), hint)
    if not reference.digest:
        refuse("model_volume", f"{text} names no digest", hint)
    return reference.pinned


def _shm(text: str | None, resources: Resources) -> str | None:
    if text is None:
        return None
    size = checks.size("resources.shm_size", text)
    if quantity.value(size) > quantity.value(resources.memory):
        refuse(
            "resources.shm_size",
            f"{size} is above memory {resources.memory}, of which it is a part",
            "raise it",
        )
    return size


def _containers(settings: Settings) -> None:
    seen = {metadata.CONTAINER}
    for setting in ("init_containers", "sidecars"):
        for index, one in enumerate(getattr(settings, setting)):
            place = f"{setting}[{index}]"
            name = _name(place, one)
            if name in seen:
                refuse(place, f"there is a container {name} already", "choose another name")
            seen.add(name)
            if not str(one.get("image") or "").strip():
                refuse(place, f"container {name} has no image", "image: REGISTRY/REPOSITORY@sha256:…")
            _no_secrets(place, one)


def _volumes(settings: Settings) -> None:
    seen = set()
    for index, one in enumerate(settings.volumes):
        place = f"volumes[{index}]"
        name = _name(place, one)
        if name in seen or name in _OWN_VOLUMES:
            refuse(place, f"there is a volume {name} already", "choose another name")
        seen.add(name)
    paths = {*_OWN_PATHS, settings.config.path.rstrip("/")}
    for index, one in enumerate(settings.volume_mounts):
        place = f"volume_mounts[{index}]"
        path = _path(place, one.get("mountPath")).rstrip("/")
        if path in paths:
            refuse(place, f"something is mounted at {path} already", "choose another mountPath")
        paths.add(path)
        if one.get("name") not in seen:
            refuse(place, f"there is no volume {one.get('name')!r}", "add it to deploy.volumes")


def _name(setting: str, one: Raw) -> str:
    name = one.get("name")
    # A digit first is fine here, unlike in names of Services.
    if (
        not isinstance(name, str)
        or not names.is_subdomain(name)
        or "." in name
        or len(name) > names.LABEL_LIMIT
    ):
        refuse(setting, f"{name!r} cannot be its name", "name: at most 63 of a-z, 0-9 and -")
    return name


def _path(setting: str, path: object) -> str:
    if not isinstance(path, str) or not path.startswith("/") or path == "/" or ".." in path or ":" in path:
        refuse(setting, f"{path!r} is not a folder to mount at", "an absolute path, such as /etc/model")
    return path


def _no_secrets(setting: str, node: Mapping[str, object | None]) -> None:
    for name, value in _literals(node):
        if looks_secret(name, value):
            refuse(
                setting,
                f"variable {name} looks like a secret, and manifests are read by many",
                "put it into a Secret, and name it by valueFrom: {secretKeyRef: …}",
            )


def _literals(node: object) -> Iterator[tuple[str, str]]:
    """Environment variables with their literal values, at any depth."""
    if isinstance(node, Mapping):
        for key, value in node.items():
            if key == "env" and isinstance(value, Sequence):
                for one in value:
                    if isinstance(one, Mapping) and isinstance(one.get("value"), str):
                        yield str(one.get("name")), one["value"]
            else:
                yield from _literals(value)
    elif isinstance(node, Sequence) and not isinstance(node, str):
        for item in node:
            yield from _literals(item)
