"""How to reach a cluster and how far a delivery may go."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class ClusterOptions:
    """Which cluster and namespace, and how long to wait for pods."""

    kubeconfig: str | None = None
    """A path, or several joined by `:`; None: `~/.kube/config`, or the service account when in a pod."""
    context: str | None = None
    """None: the current one."""
    namespace: str | None = None
    """None: the context's, or `default`."""
    timeout_seconds: int | None = None
    """How long the pods may take; None: their progressDeadlineSeconds and 30 s."""
    force_conflicts: bool = False
    """Take fields that other managers own; the number of replicas only where no other autoscaler sets it."""
    adopt: bool = False
    """Take over objects that another tool made, and what a client-side `kubectl apply` left of ours."""
    rollback_on_failure: bool = False
    """Bring the newest release back where the pods of this one do not answer."""
