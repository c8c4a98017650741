"""What runs `servegen watch` in a cluster."""

from __future__ import annotations

from dataclasses import dataclass

from servegen.values.deployment import KubeVersion
from servegen.values.network import Peer


@dataclass(frozen=True, kw_only=True)
class WatchedFile:
    """A servegen.yaml that the watcher reads."""

    folder: str
    """Below the watcher's folder; `.` is that folder itself."""
    key: str
    """Under which the ConfigMap holds it."""
    text: str


@dataclass(frozen=True, kw_only=True)
class Watcher:
    """The intent to follow the models of some servegen.yaml files from within a cluster."""

    name: str
    namespace: str
    image: str
    """Of servegen itself."""
    files: tuple[WatchedFile, ...]
    schedule: str | None
    """Cron line of a watcher that looks and ends; None for one that stays and takes webhooks."""
    deploys_to: tuple[str, ...]
    """Namespaces in which it applies objects itself, sorted; none where it commits to a repository."""
    ingress: tuple[Peer, ...] | None
    """Who may send it webhooks beside its own namespace; None where everybody may."""
    kube_version: KubeVersion
    generator: str
    environment: str | None = None
    """The only one that is followed; None: all that a file has."""
