"""Fixtures that several areas share."""

import json
import os
import signal
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path

import hypothesis
import pytest

from servegen.values.model import Flavor, Model, Pin, TreeFile

# A shell starts what it puts into the background with interrupts ignored; a CI may run the suite that way.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# No example is a failure because the machine was busy.
hypothesis.settings.register_profile("servegen", deadline=None)
hypothesis.settings.load_profile("servegen")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """In CI everything that a test needs is there, so a skipped test is a failed one."""
    report = yield
    if report.skipped and os.environ.get("CI") == "true":
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped in CI: {report.longrepr}"
    return report


MLMODEL = """\
artifact_path: model
flavors:
  python_function:
    env: {conda: conda.yaml, virtualenv: python_env.yaml}
    loader_module: mlflow.sklearn
    python_version: 3.11.7
  sklearn:
    pickled_model: model.pkl
    sklearn_version: 1.9.1
mlflow_version: 3.17.2
model_id: m-1
run_id: r1
saved_input_example_info:
  serving_input_path: serving_input_example.json
signature:
  inputs: '[{"type": "double", "name": "x", "required": true}]'
  outputs: null
  params: null
"""


@pytest.fixture
def model_folder(tmp_path: Path) -> Path:
    """A model folder as MLflow writes one."""
    folder = tmp_path / "saved"
    folder.mkdir()
    (folder / "MLmodel").write_text(MLMODEL)
    (folder / "requirements.txt").write_text(
        "mlflow==3.17.2\nscikit-learn==1.9.1\n# a comment\n\npandas==3.1.1"
    )
    (folder / "python_env.yaml").write_text("python: 3.11.7\ndependencies:\n- -r requirements.txt\n")
    (folder / "serving_input_example.json").write_text('{"inputs": {"x": [1.0]}}')
    (folder / "model.pkl").write_bytes(b"not really a pickle")
    return folder


@pytest.fixture
def model(tmp_path: Path) -> Model:
    """A pinned model, without files on disk."""
    pin = Pin(
        uri="models:/iris@champion",
        resolved="models:/iris/3",
        name="iris",
        version="3",
        run_id="r1",
        model_id="m-1",
        digest="sha256:" + "a" * 64,
    )
    return Model(
        pin=pin,
        path=tmp_path,
        files=(TreeFile(path="MLmodel", size=1, sha256="b" * 64),),
        flavors=(Flavor(name="python_function", version=None), Flavor(name="sklearn", version="1.9.1")),
        signature=json.dumps({"inputs": "[]"}),
        serving_example='{"inputs": {"x": [1.0]}}',
        python="3.11.7",
        mlflow="3.17.2",
        requirements=("mlflow==3.17.2", "scikit-learn==1.9.1"),
    )


@pytest.fixture
def with_requirements(model: Model):
    """`model` with other requirement lines."""

    def make(*lines: str) -> Model:
        return replace(model, requirements=lines)

    return make
