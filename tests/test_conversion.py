"""`--accelerate`: what becomes of the model and the job before anything is locked."""

import json
from dataclasses import replace

import pytest

from servegen.accelerate import running
from servegen.config import Config, environment
from servegen.conversion import accelerated, advice
from servegen.errors import ConfigError
from servegen.job import Job, check, runtime
from servegen.lockers import Serving, merged_requirements, unneeded
from servegen.values.acceleration import Accelerated, Converted, Proof, Refused
from servegen.values.model import TreeFile
from servegen.values.serving import ServingSettings
from tests.recorder import Recorder

FORM = {"format": 1, "inputs": [], "answer": "array", "outputs": [], "refuses_empty": True, "guard": None}
GOOD = Accelerated(
    converted=Converted(model=b"graph", form=FORM, opset={"ai.onnx": 21}, libraries={"onnx": "1.23.2"}),
    proof=Proof(
        rows={"ranges": 7},
        worst=0.0,
        tolerance=1e-6,
        seed=0,
        libraries={"numpy": "2.4.6", "onnxruntime": "1.32.0", "scikit-learn": "1.9.1"},
    ),
    answer={"predictions": [1]},
)
BAD = Refused(step="step 'f'", reason="calls Python", counterexample='{"inputs": 1}', original="1")


@pytest.fixture
def job(tmp_path):
    env = replace(environment(), cache=tmp_path / "cache")
    return Job(config=Config(accelerate="onnx"), environment=env, lock_file=None)


@pytest.fixture
def results(monkeypatch):
    """What the conversion gives, in turn; the real one runs in a process of its own."""
    given = []
    monkeypatch.setattr(running, "accelerate", lambda *_: given.pop(0))
    return given


def test_a_converted_model_brings_only_what_serves_it(job, model, model_folder, results):
    results.append(GOOD)
    told, model = Recorder(), replace(model, path=model_folder)
    same, found = accelerated(job, model, told)
    again = accelerated(job, model, told)[1]
    assert (same, again) == (job, found)
    assert {file.path for file in found.files} >= {"MLmodel", "model.onnx", "acceleration.json"}
    assert "model.pkl" not in {file.path for file in found.files}
    assert found.pin == model.pin
    assert json.loads(found.accelerated)["rows"] == 7
    assert json.loads((found.path / "acceleration.json").read_text())["example_answer"] == GOOD.answer
    lines = merged_requirements(found, Serving(runtime=runtime(job.config)))
    assert {"numpy==2.4.6", "onnxruntime==1.32.0"} <= set(lines)
    assert not any(line.startswith(("mlflow", "pandas", "scikit-learn", "bentoml")) for line in lines)
    assert not told.warnings


def test_other_requirements_may_need_what_is_left_out(job, model, results):
    results.append(GOOD)
    _, found = accelerated(job, model, Recorder())
    assert "protobuf" in unneeded(found, Serving(runtime="uvicorn"))
    assert "protobuf" not in unneeded(found, Serving(runtime="uvicorn", grpc=True))
    assert not unneeded(found, Serving(runtime="bentoml"))
    assert not unneeded(found, Serving(runtime="uvicorn", extra=("boto3",)))
    assert not unneeded(model, Serving(runtime="uvicorn"))


def test_a_refused_model_goes_on_as_it_was_logged_and_says_why(job, model, results):
    results.append(BAD)
    told = Recorder()
    other, found = accelerated(job, model, told)
    assert found == model
    assert (runtime(job.config), runtime(other.config)) == ("uvicorn", "bentoml")
    assert "step 'f': calls Python" in told.warnings[0]
    assert "curl" in told.warnings[0]


def test_only_mlflow_can_be_lenient(job, model, results):
    lenient = replace(job, config=replace(job.config, serving=ServingSettings(lenient=True)))
    told = Recorder()
    assert accelerated(lenient, model, told)[1] == model
    assert "lenient" in told.warnings[0]


def test_a_runtime_that_is_asked_for_stays(job):
    assert runtime(replace(job.config, runtime="bentoml")) == "bentoml"


def test_who_did_not_ask_is_told_where_it_may_work(model):
    assert "--accelerate onnx" in advice(model)
    assert advice(replace(model, flavors=model.flavors[:1])) is None
    assert advice(replace(model, signature=None)) is None
    assert advice(replace(model, accelerated="{}")) is None
    code = TreeFile(path="code/steps.py", size=1, sha256="0" * 64)
    assert advice(replace(model, files=(*model.files, code))) is None


def test_an_acceleration_that_nobody_knows_is_refused(job):
    with pytest.raises(ConfigError, match="no acceleration 'tensorrt'"):
        check(replace(job, config=replace(job.config, accelerate="tensorrt")))
