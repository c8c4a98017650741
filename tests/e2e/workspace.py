"""A user's folder: an MLflow store with the iris model, a servegen.yaml, and the commands typed in it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


@dataclass(kw_only=True)
class Workspace:
    """Where commands are typed."""

    folder: Path
    variables: dict[str, str] = field(default_factory=dict)

    def run(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """`servegen …` in this folder."""
        env = {**os.environ, **self.variables, **variables}
        argv = [sys.executable, "-m", "servegen", *arguments]
        return subprocess.run(argv, cwd=self.folder, env=env, capture_output=True, text=True, check=False)

    def ok(self, *arguments: str, **variables: str) -> str:
        """What a command that must succeed prints."""
        done = self.run(*arguments, **variables)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def fails(self, code: int, *arguments: str, **variables: str) -> tuple[str, str]:
        """Error and hint of a command that must end with `code`, print nothing and show no traceback."""
        done = self.run(*arguments, **variables)
        assert done.returncode == code, done.stderr
        assert done.stdout == ""
        # The log of an image or pod is quoted; a traceback in it is its own.
        assert not [line for line in done.stderr.splitlines() if line.startswith("Traceback")]
        error, hint = done.stderr.strip().splitlines()[-2:]
        assert error.startswith("servegen: "), done.stderr
        assert hint.startswith("hint: "), done.stderr
        return error, hint

    def configure(self, **values: Any) -> None:
        """Write servegen.yaml; JSON is YAML too."""
        (self.folder / "servegen.yaml").write_text(json.dumps(values))

    @property
    def model(self) -> Path:
        """The registered model's files."""
        return next((self.folder / "mlruns").glob("*/models/m-*/artifacts"))


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache for the session: layers are made once, as on a user's machine."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def engine_variables(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What gives buildah a container storage of this run's own."""
    folder = tmp_path_factory.mktemp("engines")
    (folder / "storage.conf").write_text(
        f'[storage]\ndriver = ""\ngraphroot = "{folder}/graph"\nrunroot = "{folder}/run"\n'
    )
    return {"CONTAINERS_STORAGE_CONF": str(folder / "storage.conf"), "BUILDAH_ISOLATION": "chroot"}


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which models/iris was trained and registered."""
    folder = tmp_path_factory.mktemp("work")
    uri = f"sqlite:///{folder}/mlflow.db"
    subprocess.run(
        [sys.executable, ROOT / "models/iris/train.py", uri], cwd=folder, check=True, capture_output=True
    )
    return folder


@pytest.fixture(scope="session")
def workspace(trained: Path, cache: Path, test_registry: str) -> Workspace:
    """The folder with a servegen.yaml that names a repository of its own in the test registry."""
    place = Workspace(folder=trained, variables={"SERVEGEN_CACHE_DIR": str(cache)})
    place.configure(model="models:/iris@champion", image=f"{test_registry}/iris-{uuid.uuid4().hex[:8]}")
    return place


def expected(folder: Path, body: dict[str, Any]) -> list[Any]:
    """What the model answers in process."""
    import mlflow
    import pandas as pd

    frame = pd.DataFrame(**body["dataframe_split"])
    return list(mlflow.pyfunc.load_model(str(folder)).predict(frame).tolist())
