"""Means `podman`: a container of the engine Podman, restricted as the pod will be."""

from __future__ import annotations

from collections.abc import Mapping

from servegen.oci.image import ImageConfig
from servegen.values.image import StoredImage
from servegen.verify.engine import Loaded, engine_available, load
from servegen.verify.sandbox import Surroundings


def available(env: Mapping[str, str]) -> str | None:
    """None when Podman answers."""
    return engine_available("podman", env)


def prepare(image: StoredImage, config: ImageConfig, surroundings: Surroundings) -> Loaded:  # noqa: ARG001
    """The image loaded into Podman."""
    return load("podman", image, surroundings)
