"""`package --accelerate onnx`: a smaller image of the same answers, with its proof."""

from __future__ import annotations

import json
import shutil
import uuid
from pathlib import Path

import pytest
import yaml

from tests.e2e.test_package import manifest
from tests.e2e.workspace import Workspace

pytest_plugins = ("tests.e2e.kubernetes", "tests.e2e.workspace")
pytestmark = pytest.mark.e2e

LARGEST = 65_000_000


def test_an_accelerated_image_is_small_proved_verified_and_the_same_again(
    workspace: Workspace, test_registry: str, tmp_path: Path
):
    shutil.copy(workspace.folder / "mlflow.db", tmp_path)
    own = Workspace(folder=tmp_path, variables=workspace.variables)
    own.configure(model="models:/iris@champion", image=f"{test_registry}/fast-{uuid.uuid4().hex[:8]}")
    done = own.run("package", "--accelerate", "onnx", "--push")
    assert done.returncode == 0, done.stderr
    reference = done.stdout.strip()
    assert "warning" not in done.stderr
    layers = json.loads(manifest(reference)[1])["layers"]
    assert sum(layer["size"] for layer in layers) <= LARGEST
    facts = json.loads(own.ok("inspect", reference, "--json"))
    assert facts["runtime"] == "uvicorn"
    assert facts["accelerated"]["rows"] > 1000
    assert facts["accelerated"]["worst"] <= facts["accelerated"]["tolerance"]
    lock = json.loads((tmp_path / "servegen.lock").read_text())
    assert not {p["name"] for p in lock["packages"]} & {"pandas", "mlflow-skinny", "scikit-learn", "protobuf"}
    assert any(each.startswith("protobuf==") for each in lock["environment"]["left_out"])
    # Converted anew, it is the same to the byte.
    shutil.rmtree(Path(workspace.variables["SERVEGEN_CACHE_DIR"]) / "accelerated")
    assert own.ok("package", "--accelerate", "onnx", "--frozen", "--no-verify").strip() == reference
    objects = {o["kind"]: o for o in yaml.safe_load_all(own.ok("render", reference)) if o}
    (server,) = objects["Deployment"]["spec"]["template"]["spec"]["containers"]
    assert server["resources"]["limits"]["memory"] == "256Mi"
    assert server["startupProbe"]["periodSeconds"] == 1
