"""Means `namespace`: own mounts, network, processes; for root, and wherever user namespaces are allowed."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from servegen.oci.image import ImageConfig
from servegen.values.image import StoredImage
from servegen.verify.rootfs import Unpacked, prepare_unpacked, probe
from servegen.verify.sandbox import Surroundings


def available(env: Mapping[str, str]) -> str | None:  # noqa: ARG001 (every means is asked alike)
    """None on a Linux that grants the namespaces."""
    if sys.platform != "linux":
        return "only Linux has namespaces"
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        return probe("namespace", Path(folder))


def prepare(image: StoredImage, config: ImageConfig, surroundings: Surroundings) -> Unpacked:
    """The image's layers, unpacked; its root is read-only once entered."""
    return prepare_unpacked(image, config, surroundings, means="namespace", isolated=True)
