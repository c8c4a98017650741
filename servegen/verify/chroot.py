"""Means `chroot`: another root folder and user, nothing else; for root in a container without namespaces."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from servegen.oci.image import ImageConfig
from servegen.values.image import StoredImage
from servegen.verify.rootfs import Unpacked, prepare_unpacked, probe
from servegen.verify.sandbox import Surroundings


def available(env: Mapping[str, str]) -> str | None:  # noqa: ARG001 (every means is asked alike)
    """None for root with the right to chroot."""
    if os.geteuid():
        return "only root may chroot"
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        return probe("chroot", Path(folder))


def prepare(image: StoredImage, config: ImageConfig, surroundings: Surroundings) -> Unpacked:
    """The image's layers, unpacked and owned by root, so that the server's user can write to /tmp only."""
    surroundings.progress.warn("no namespaces here: the model runs in a chroot and can reach the network")
    return prepare_unpacked(image, config, surroundings, means="chroot", isolated=False)
