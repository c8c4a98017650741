"""Moving away from KEDA: its autoscaler has the name of ours and goes a little after the ScaledObject."""

from __future__ import annotations

import time
from collections.abc import Sequence

from servegen.errors import AbsentKindError, DeployError
from servegen.kube import Object
from servegen.kube.client import Cluster
from servegen.kube.refusal import RefusalError

API, KIND = "keda.sh/v1alpha1", "ScaledObject"
_GONE_SECONDS = 60


def find(cluster: Cluster, name: str) -> Object | None:
    """The ScaledObject `name`; None where there is none, no KEDA, or no right to look."""
    try:
        return cluster.get(API, KIND, name)
    except AbsentKindError:
        return None
    except RefusalError as exc:
        # Who never used KEDA needs no right to it.
        if exc.status == 403:
            return None
        raise


def goes_with(live: Object, deleted: Sequence[Object]) -> bool:
    """Whether `live` is a child of one of `deleted`."""
    gone = {one["metadata"]["uid"] for one in deleted}
    return any(owner["uid"] in gone for owner in live["metadata"].get("ownerReferences", ()))


def await_gone(cluster: Cluster, scaled: Object) -> None:
    """Return once the autoscaler of the deleted `scaled` is gone, which would undo what follows.

    Raises DeployError when it stays.
    """
    name = scaled["metadata"]["name"]
    config = scaled["spec"].get("advanced", {}).get("horizontalPodAutoscalerConfig", {})
    scaler = config.get("name", f"keda-hpa-{name}")
    deadline = time.monotonic() + _GONE_SECONDS
    while (live := cluster.get("autoscaling/v2", "HorizontalPodAutoscaler", scaler)) is not None:
        if not goes_with(live, (scaled,)):
            return
        if time.monotonic() > deadline:
            msg = f"ScaledObject {name} was deleted, but its HorizontalPodAutoscaler {scaler} stays"
            raise DeployError(msg, hint="KEDA has to run to let go of it; deploy again when it does")
        time.sleep(0.5)
