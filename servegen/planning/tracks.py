"""A second instance beside the one that serves: same settings, own name, no way in of its own."""

from __future__ import annotations

from dataclasses import replace

from servegen.kube.traffic import beside
from servegen.values.deployment import Deployment


def aside(deployment: Deployment, track: str, *, replicas: int = 1) -> Deployment:
    """`deployment` as its own instance on `track`, reached through its Service or another's route.

    It starts with at least `replicas` pods, as far as its autoscaler may go.
    """
    scaling = deployment.autoscaling
    if scaling is not None:
        least = min(max(scaling.min_replicas, replicas), scaling.max_replicas)
        scaling = replace(scaling, min_replicas=least)
    additions = deployment.additions
    patches = tuple(one for one in additions.patches if one.get("kind") != "HTTPRoute")
    return replace(
        deployment,
        instance=beside(deployment.instance, track),
        track=track,
        route=None,
        autoscaling=scaling,
        additions=replace(additions, patches=patches),
        shared=None,
    )
