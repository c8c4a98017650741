"""Strategic-merge patches give what kubectl makes of them; no cluster is needed for that."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from servegen.kube.patch import patched
from tests.kube.test_patch import PATCHES, POD
from tests.tools.fetch_kube_tools import fetch

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def kubectl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    cache = Path(os.environ.get("SERVEGEN_KUBE_TOOLS") or tmp_path_factory.mktemp("kube-tools"))
    cache.mkdir(parents=True, exist_ok=True)
    return fetch(cache) / "kubectl"


@pytest.mark.parametrize("name", PATCHES)
def test_a_patch_gives_what_kubectl_makes_of_it(kubectl: Path, tmp_path: Path, name: str) -> None:
    one = {"apiVersion": "apps/v1", "metadata": {"name": "x"}} | POD
    (tmp_path / "object.json").write_text(json.dumps(one))
    patch = json.dumps(PATCHES[name])
    argv = [kubectl, "patch", "--local", "--type=strategic", "-f", "object.json", "-p", patch, "-o", "json"]
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert by_name(json.loads(done.stdout)) == by_name(patched(one, PATCHES[name]))


def by_name(node: Any) -> Any:
    """`node` with lists of named items sorted: kubectl puts new ones first, we put them last."""
    if isinstance(node, dict):
        return {key: by_name(value) for key, value in node.items()}
    if isinstance(node, list) and all(isinstance(item, dict) and "name" in item for item in node):
        return sorted(map(by_name, node), key=lambda item: str(item["name"]))
    return node
