"""`servegen accelerate`, with the process that converts run in this one."""

import importlib
import json
import sys
from dataclasses import replace

import mlflow
import numpy as np
import onnxruntime
import pandas as pd
import pytest
from click.testing import CliRunner
from mlflow.models import infer_signature
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from servegen.accelerate import child, running
from servegen.cli import servegen
from servegen.errors import ConversionRefusedError
from servegen.process import Completed
from servegen.server.accelerated import Form
from servegen.values.model import Flavor

X = pd.DataFrame(np.random.default_rng(1).normal(size=(60, 2)), columns=["a", "b"])
Y = np.where(X.a > X.b, "yes", "no")


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder in which the command works; the child's argument list runs in this process."""

    def in_process(argv, **_):
        monkeypatch.setattr(sys, "argv", [argv[1], *argv[3:]])
        child.main()
        return Completed(status=0, stdout="", stderr="")

    monkeypatch.setattr(running, "run", in_process)
    monkeypatch.setenv("SERVEGEN_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def save(model, folder, **more):
    signature = infer_signature(X, model.predict(X))
    mlflow.sklearn.save_model(
        model,
        folder,
        signature=signature,
        input_example=X[:2],
        serialization_format="cloudpickle",
        pip_requirements=["scikit-learn"],
        **more,
    )


def test_a_model_is_proved_and_written(here):
    model = LogisticRegression().fit(X, Y)
    save(model, here / "model", pyfunc_predict_fn="predict_proba")
    done = CliRunner().invoke(servegen, ["accelerate", "model", "-o", "out", "--rows", "300", "--json"])
    report = json.loads(done.stdout)
    assert report["accelerated"]
    assert report["proof"]["rows"]["example"] == 2
    assert report["proof"]["accelerated_seconds"] > 0
    form = Form.load(here / "out" / "acceleration.json")
    session = onnxruntime.InferenceSession(here / "out" / "model.onnx")
    answer = form.result(session.run(form.fetches, form.feeds({"a": [1.0], "b": [0.5]}, 1)))
    expected = model.predict_proba(pd.DataFrame({"a": [1.0], "b": [0.5]}))
    assert np.allclose(answer, expected, rtol=1e-6)
    text = CliRunner().invoke(servegen, ["accelerate", "model", "--rows", "300"]).stdout
    assert "answers alike on" in text
    assert not list((here / "cache" / "accelerate").iterdir())


def test_a_refusal_has_a_reason_and_a_code_of_its_own(here):
    save(make_pipeline(FunctionTransformer(lambda x: x), LogisticRegression()).fit(X, Y), here / "python")
    done = CliRunner().invoke(servegen, ["accelerate", "python", "--json"])
    assert isinstance(done.exception, ConversionRefusedError)
    assert done.exception.exit_code == 35
    report = json.loads(done.stdout)
    assert not report["accelerated"]
    assert "calls Python" in report["reason"]
    assert "functiontransformer" in report["step"]


def test_another_version_of_the_library_needs_an_environment(here, monkeypatch):
    save(LogisticRegression().fit(X, Y), here / "model")
    seen = []

    def no_python(arguments, *_, **__):
        seen.append(arguments[0])
        return Completed(status=2, stdout="", stderr="no interpreter found")

    resolved = []
    monkeypatch.setattr(running, "run_uv", no_python)
    ours = running.candidate
    monkeypatch.setattr(running, "candidate", lambda model: resolved.append(model) or ours(model))
    CliRunner().invoke(servegen, ["accelerate", "model", "--rows", "300"])
    assert not seen
    (model,) = resolved
    older = replace(model, flavors=(Flavor(name="sklearn", version="0.1"),))
    assert "scikit-learn 0.1" in running._differences(older, "sklearn")
    assert "Python 3.1" in running._differences(replace(model, python="3.1.0"), "sklearn")
    for line in ("lightgbm", "lightgbm==4.0.0"):
        within = replace(model, requirements=("scikit-learn", line))
        assert running._differences(within, "sklearn") == f"the model needs {line}"
    monkeypatch.setattr(running, "_installed", lambda name: "4.0.0" if name == "lightgbm" else "1.9.1")
    assert (
        running._differences(replace(within, flavors=(Flavor(name="sklearn", version="1.9.1"),)), "sklearn")
        is None
    )
    monkeypatch.setattr(running, "_differences", lambda *_: "the model is of scikit-learn 0.1")
    done = CliRunner().invoke(servegen, ["accelerate", "model"])
    assert seen == ["venv"]
    assert "there is no Python" in str(done.exception)


def test_requirements_that_do_not_fit_the_tools_refuse_the_conversion(here, monkeypatch):
    save(LogisticRegression().fit(X, Y), here / "model")
    words = "  x No solution found: old==1 needs numpy<2, onnxruntime needs numpy>=2"
    answers = {"venv": Completed(status=0, stdout="", stderr="")}
    failed = Completed(status=1, stdout="", stderr=words)
    monkeypatch.setattr(running, "run_uv", lambda arguments, *_, **__: answers.get(arguments[0], failed))
    monkeypatch.setattr(running, "_differences", lambda *_: "the model is of scikit-learn 0.1")
    done = CliRunner().invoke(servegen, ["accelerate", "model"])
    assert isinstance(done.exception, ConversionRefusedError)
    assert "environment: " in str(done.exception)
    assert "old==1 needs numpy<2" in str(done.exception)
    assert not list((here / "cache" / "accelerate").iterdir())


def test_a_model_whose_code_is_not_here_is_refused(here, monkeypatch):
    (here / "steps.py").write_text("from sklearn.preprocessing import StandardScaler as Own\n")
    monkeypatch.syspath_prepend(here)
    steps = importlib.import_module("steps")
    own = type("Own", (steps.Own,), {"__module__": "steps"})
    monkeypatch.setattr(steps, "Own", own)
    model = make_pipeline(own(), LogisticRegression()).fit(X, Y)
    save(model, here / "own", code_paths=[str(here / "steps.py")])
    save(model, here / "lost")
    assert "code_paths" in str(CliRunner().invoke(servegen, ["accelerate", "own"]).exception)
    monkeypatch.delitem(sys.modules, "steps")
    (here / "steps.py").unlink()
    importlib.invalidate_caches()
    refused = CliRunner().invoke(servegen, ["accelerate", "lost"]).exception
    assert isinstance(refused, ConversionRefusedError)
    assert "cannot be loaded where models are converted: ModuleNotFoundError" in str(refused)


def test_flavors_that_cannot_be_converted_are_told_from_others(here):
    class Echo(mlflow.pyfunc.PythonModel):
        def predict(self, context, model_input):
            return model_input

    mlflow.pyfunc.save_model(
        here / "echo", python_model=Echo(), signature=infer_signature(X, X), pip_requirements=[]
    )
    done = CliRunner().invoke(servegen, ["accelerate", "echo"])
    assert "converted are sklearn" in str(done.exception)
