"""Hundreds of models of one folder on fake nodes: how long deploy, status and a second deploy take.

Run by hand, with a cluster that has kwok's fake nodes (KUBECONFIG, SERVEGEN_TEST_REGISTRY):
python -m tests.e2e.fleet --models 300
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path
from typing import Any

from tests.e2e.kubernetes import push_stub

FAKE = {
    "node_selector": {"type": "kwok"},
    "tolerations": [{"key": "type", "value": "kwok", "effect": "NoSchedule"}],
}
BROKEN = "broken"
DEPLOY_SECONDS, AGAIN_SECONDS, STATUS_SECONDS = 180, 60, 10
"""What issue 6 allows for 300 models."""


def main() -> int:
    """Deploy, look, deploy again; exit status 1 when something was slower or otherwise than promised."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=int, default=300)
    parser.add_argument("--real", action="store_true", help="On real nodes, for a few models.")
    args = parser.parse_args()
    from kubernetes import client, config

    api = client.CoreV1Api(config.new_client_from_config(config_file=os.environ["KUBECONFIG"]))
    namespace = f"fleet-{uuid.uuid4().hex[:8]}"
    if not args.real:
        make_room(api)
    api.create_namespace({"metadata": {"name": namespace}})
    try:
        with tempfile.TemporaryDirectory() as folder:
            return trial(Path(folder), namespace, args.models, {} if args.real else FAKE)
    finally:
        api.delete_namespace(namespace)


def make_room(api: Any) -> None:
    """Give the fake nodes disk space: they come without any, and every pod of ours asks for some."""
    room = {"cpu": "1k", "memory": "4Ti", "ephemeral-storage": "4Ti", "pods": "1000"}
    for node in api.list_node(label_selector="type=kwok").items:
        api.patch_node_status(node.metadata.name, {"status": {"capacity": room, "allocatable": room}})


def trial(folder: Path, namespace: str, models: int, where: dict[str, Any]) -> int:
    """The whole of it for one folder."""
    image = push_stub(os.environ["SERVEGEN_TEST_REGISTRY"], folder).ref
    for number in range(models):
        write(folder, f"model-{number:03}", image.pinned, where)
    write(folder, BROKEN, f"{image.name}@sha256:{'0' * 64}", where)
    wrong = []

    first, seconds = servegen(folder, "deploy", "models", "-n", namespace, "--json")
    results = {one["name"]: one for one in json.loads(first.stdout)}
    failed = {name for name, one in results.items() if one["result"] == "failed"}
    print(
        f"deploy: {len(results) - len(failed)} models in {seconds:.1f} s, failed: {sorted(failed)}",
        flush=True,
    )
    if failed != {BROKEN} or first.returncode == 0:
        wrong.append("the broken model does not fail alone")
        print(first.stderr[-2000:])
    wrong += late("deploy", seconds, DEPLOY_SECONDS)

    shown, seconds = servegen(folder, "status", "-n", namespace, "--json")
    healthy = sum(one["healthy"] or one["ready"] == one["replicas"] for one in json.loads(shown.stdout))
    print(f"status: {healthy} of {models} ready in {seconds:.1f} s", flush=True)
    wrong += late("status", seconds, STATUS_SECONDS)

    before = versions(namespace)
    again, seconds = servegen(folder, "deploy", "models", "-n", namespace, "--json")
    after = versions(namespace)
    unchanged = sum(one["result"] == "unchanged" for one in json.loads(again.stdout))
    moved = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
    print(f"again: {unchanged} unchanged in {seconds:.1f} s, {len(before)} objects, changed: {moved[:5]}")
    if moved:
        wrong.append(f"{len(moved)} objects changed by a second deploy")
    wrong += late("second deploy", seconds, AGAIN_SECONDS)
    for text in wrong:
        print(f"WRONG: {text}")
    return 1 if wrong else 0


def write(folder: Path, name: str, image: str, where: dict[str, Any]) -> None:
    """The servegen.yaml of one model."""
    place = folder / "models" / name
    place.mkdir(parents=True)
    small = {"cpu": "10m", "memory": "16Mi", "ephemeral_storage": "16Mi"}
    scaling = {"min_replicas": 1, "max_replicas": 4}
    deploy = {"name": name, "resources": small, "autoscaling": scaling, **where}
    (place / "servegen.yaml").write_text(json.dumps({"image": image, "deploy": deploy}))


def servegen(folder: Path, *arguments: str) -> tuple[subprocess.CompletedProcess[str], float]:
    """A command in `folder`, and the seconds it took."""
    env = {**os.environ, "SERVEGEN_CACHE_DIR": str(folder / "cache")}
    argv = [sys.executable, "-m", "servegen", *arguments]
    began = time.monotonic()
    done = subprocess.run(argv, cwd=folder, env=env, capture_output=True, text=True, check=False)
    if not done.stdout:
        sys.exit(done.stderr)
    return done, time.monotonic() - began


def versions(namespace: str) -> dict[str, str]:
    """The resource version of every object that a deploy writes, but for what controllers add to them."""
    from kubernetes import client, config

    api = config.new_client_from_config(config_file=os.environ["KUBECONFIG"])
    core, apps = client.CoreV1Api(api), client.AppsV1Api(api)
    policy = client.PolicyV1Api(api)
    lists = {
        "Service": core.list_namespaced_service(namespace),
        "ServiceAccount": core.list_namespaced_service_account(namespace),
        "ConfigMap": core.list_namespaced_config_map(namespace),
        "PodDisruptionBudget": policy.list_namespaced_pod_disruption_budget(namespace),
        "Deployment": apps.list_namespaced_deployment(namespace),
    }
    return {
        f"{kind}/{one.metadata.name}": one.metadata.resource_version
        for kind, found in lists.items()
        for one in found.items
    }


def late(what: str, seconds: float, allowed: float) -> list[str]:
    """The complaint about what took longer than allowed."""
    return [f"{what} took {seconds:.1f} s, {allowed:g} are allowed"] if seconds > allowed else []


if __name__ == "__main__":
    sys.exit(main())
