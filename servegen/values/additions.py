"""What users add to the objects beyond what servegen decides: settings and intent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from servegen.values.option import option

Raw = Mapping[str, object]
"""Part of a Kubernetes object, as YAML writes it."""
Patch = Mapping[str, object | None]
"""A strategic-merge patch: part of an object, in which null takes a field away."""


@dataclass(frozen=True, kw_only=True)
class ConfigSettings:
    """`deploy.config`: files that the pods see."""

    files: Mapping[str, str] = option("File name → text: the data of a ConfigMap.", default={})
    path: str = option("Folder of those files in the server's container.", default="/etc/model")


@dataclass(frozen=True, kw_only=True)
class GpuSettings:
    """`deploy.gpu`: devices of one replica."""

    count: int = option("Devices a replica gets; 0: none.", default=0)
    resource: str = option(
        "Resource that nodes offer them as; their taint has its name.", default="nvidia.com/gpu"
    )
    products: tuple[str, ...] = option("Values of `product_label` that will do; empty: all.", default=())
    product_label: str = option(
        "Label of nodes that names the device they have.", default="nvidia.com/gpu.product"
    )


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """Devices of one replica."""

    count: int
    resource: str
    products: tuple[str, ...]
    product_label: str


@dataclass(frozen=True, kw_only=True)
class Additions:
    """What the pod has beside the server, and what changes the objects in the end."""

    config: tuple[tuple[str, str], ...] = ()
    """Files of the ConfigMap, sorted by name; empty: there is none."""
    config_path: str = ""
    gpu: Gpu | None = None
    model_volume: str | None = None
    shm_size: str | None = None
    env_from: tuple[Raw, ...] = ()
    affinity: Raw = field(default_factory=dict)
    volumes: tuple[Raw, ...] = ()
    volume_mounts: tuple[Raw, ...] = ()
    sidecars: tuple[Raw, ...] = ()
    init_containers: tuple[Raw, ...] = ()
    patches: tuple[Patch, ...] = ()
