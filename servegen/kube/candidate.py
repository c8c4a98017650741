"""The ConfigMap beside a canary: the objects that its promotion applies to the stable instance.

Both sets of objects come from one plan. Nothing has to be derived from the canary's objects later, and the
settings are those that were tried, whatever servegen.yaml says by then.
"""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Sequence

from servegen.errors import DeployError
from servegen.kube import Object, prune
from servegen.kube.client import Cluster

_KEY = "objects.json.gz"


def name_of(instance: str) -> str:
    """The name of the ConfigMap; `instance` is the canary's."""
    return f"{instance}-promotion"


def build(aside: Sequence[Object], stable: Sequence[Object]) -> Object:
    """The ConfigMap that belongs to the objects `aside` and holds the objects `stable`."""
    (workload,) = [one for one in aside if one["kind"] == "Deployment"]
    about = workload["metadata"]
    namespace = {"namespace": about["namespace"]} if about.get("namespace") else {}
    text = json.dumps(list(stable), sort_keys=True, separators=(",", ":"))
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name_of(about["name"]), **namespace, "labels": about["labels"]},
        # Without a time in it, so that the same objects are the same text.
        "binaryData": {_KEY: base64.b64encode(gzip.compress(text.encode(), mtime=0)).decode()},
    }


def read(cluster: Cluster, instance: str) -> tuple[Object, ...]:
    """The objects to apply; NotDeployedError when there is no such `instance` to promote."""
    found = cluster.get("v1", "ConfigMap", name_of(instance))
    if found is None:
        raise prune.absent(cluster, instance)
    try:
        return tuple(json.loads(gzip.decompress(base64.b64decode(found["binaryData"][_KEY]))))
    except (KeyError, TypeError, ValueError, OSError, EOFError) as exc:
        msg = f"ConfigMap {name_of(instance)} holds no objects to promote: {exc}"
        raise DeployError(msg, hint="deploy it again with the same options, then promote it") from exc
