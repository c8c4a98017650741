"""What delivering a deployment changed."""

from __future__ import annotations

from dataclasses import dataclass

from servegen.values.gitops import Commit


@dataclass(frozen=True, kw_only=True)
class Change:
    """One object or file, and what happened to it."""

    kind: str
    """A Kubernetes kind, or `file`."""
    name: str
    action: str
    """`created`, `configured`, `unchanged`, `deleted`, or `kept` for a file that is the user's."""


@dataclass(frozen=True, kw_only=True)
class Released:
    """What a place says of the newest release of one model and environment; None for nothing."""

    pin: str | None = None
    holds: tuple[str, ...] = ()
    """Pins that may not be deployed, since they were rolled back."""


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """The state after a delivery that succeeded."""

    changes: tuple[Change, ...]
    warnings: tuple[str, ...] = ()
    """What the API server wants the user to know."""
    namespace: str | None = None
    name: str | None = None
    """Name of the Service and of the Deployment."""
    address: str | None = None
    """URL of the model inside the cluster."""
    cluster_ip: str | None = None
    ready: int = 0
    """Pods that answer requests."""
    replicas: int = 0
    """Pods that are wanted."""
    release: int | None = None
    """Number under which it is remembered in the cluster, for `servegen rollback`."""
    commit: Commit | None = None
    """Where a repository was delivered to, and no cluster."""

    @property
    def state(self) -> str:
        """In a word: the pods that answer, or the commit."""
        return self.commit.id[:12] if self.commit else f"{self.ready}/{self.replicas}"

    @property
    def lines(self) -> tuple[str, ...]:
        """What a command prints of it."""
        if self.commit:
            return (self.commit.id, *((self.commit.url,) if self.commit.url else ()))
        return (f"{self.address} {self.ready}/{self.replicas} ready in {self.namespace}",)
