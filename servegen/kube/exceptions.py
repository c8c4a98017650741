"""What other people's checkers say about our objects, and why we leave it so."""

from __future__ import annotations

from dataclasses import dataclass, replace

from servegen.values.deployment import Settings


@dataclass(frozen=True, kw_only=True)
class Waived:
    """One rule that some objects of ours break on purpose."""

    tool: str
    id: str
    kind: str
    """Of the object that the tool names."""
    reason: str
    remedy: str
    """The setting with which the rule is content."""


_CPU = "throttling costs latency first, and hides from the autoscaler that a replica is full"
_NAMESPACE = "where no namespace is given, the one of whoever applies the objects is used"
_NETWORK = "whom a model may talk to is not known here, and a cluster may enforce no policies"

WAIVED = (
    Waived(
        tool="checkov", id="CKV_K8S_11", kind="Deployment", reason=_CPU, remedy="deploy.resources.cpu_limit"
    ),
    *(
        Waived(tool="checkov", id="CKV_K8S_21", kind=kind, reason=_NAMESPACE, remedy="deploy.namespace")
        for kind in ("Deployment", "Service", "ServiceAccount")
    ),
    Waived(
        tool="checkov",
        id="CKV_K8S_35",
        kind="Deployment",
        reason="deploy.secret_env was asked for: libraries read their keys from variables",
        remedy="deploy.volumes and deploy.volume_mounts",
    ),
    Waived(
        tool="checkov",
        id="CKV2_K8S_6",
        kind="Pod",
        reason=_NETWORK,
        remedy="deploy.network_policy.enabled",
    ),
    Waived(
        tool="kube-score",
        id="container-image-pull-policy",
        kind="Deployment",
        reason="the image is named by digest, so that pulling it again cannot change it",
        remedy="deploy.patches",
    ),
    Waived(
        tool="kube-score",
        id="container-resources",
        kind="Deployment",
        reason=_CPU,
        remedy="deploy.resources.cpu_limit",
    ),
    Waived(
        tool="kube-score",
        id="deployment-has-host-podantiaffinity",
        kind="Deployment",
        reason="topology spread constraints do it, and never keep a replica from starting",
        remedy="deploy.affinity",
    ),
    Waived(
        tool="kube-score",
        id="deployment-replicas",
        kind="Deployment",
        reason="a ScaledObject owns the number of replicas, which kube-score does not look for",
        remedy="deploy.autoscaling without keda",
    ),
    Waived(
        tool="kube-score",
        id="horizontalpodautoscaler-replicas",
        kind="HorizontalPodAutoscaler",
        reason="deploy.dev was asked for: one replica is enough where nobody depends on it",
        remedy="deploy.autoscaling.min_replicas",
    ),
    Waived(
        tool="kube-score",
        id="pod-networkpolicy",
        kind="Deployment",
        reason=_NETWORK,
        remedy="deploy.network_policy.enabled",
    ),
)


def suppressing(settings: Settings) -> Settings:
    """`settings` with annotations that tell the tools which rules to leave out, and why.

    They are on objects only: a Deployment answers for its pods, which a longer list should not restart.
    """
    reasons = {one.id: one.reason for one in WAIVED if one.tool == "checkov"}
    skipped = {
        f"checkov.io/skip{number}": f"{rule}={reason}"
        for number, (rule, reason) in enumerate(reasons.items(), start=1)
    }
    ignored = sorted({one.id for one in WAIVED if one.tool == "kube-score"})
    ours = {**skipped, "kube-score/ignore": ",".join(ignored)}
    return replace(settings, annotations={**settings.annotations, **ours})
