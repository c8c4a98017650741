import subprocess
import sys
from pathlib import Path
from typing import Any

import mlflow.pyfunc
import mlflow.sklearn
import numpy as np
import pandas as pd
import pytest
from mlflow.models import infer_signature
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from servegen.server import modelfile
from servegen.server.errors import ModelFailedError
from servegen.server.inputs import Columns, Csv
from servegen.server.predictors.deferred import DeferredPredictor, load
from servegen.server.predictors.pyfunc import PyfuncPredictor
from servegen.server.settings import Settings

DATA = pd.DataFrame(np.random.default_rng(1).normal(size=(50, 2)), columns=["a", "b"])
TARGET = (DATA["a"] > 0).astype(int)
ROWS = Columns(names=("a", "b"), dtypes=("float64",) * 2, cells=([1.5, -2.0], [0.0, 1.0]), rows=2)


def saved(folder: Path, estimator: Any = None, **options: Any) -> Path:
    fitted = (estimator or LogisticRegression()).fit(DATA, TARGET)
    options = {"signature": infer_signature(DATA, TARGET), "serialization_format": "cloudpickle", **options}
    mlflow.sklearn.save_model(fitted, folder, **options)
    return folder


def loaded(folder: Path, **settings: Any) -> Any:
    return load(modelfile.read(folder, name=None, version=None), Settings(model=folder, **settings))


def test_an_estimator_answers_as_its_model_does_in_mlflow(tmp_path: Path):
    folder = saved(tmp_path / "m", pyfunc_predict_fn="predict_proba")
    predictor = loaded(folder)
    assert type(predictor) is DeferredPredictor
    expected = mlflow.pyfunc.load_model(str(folder)).predict(
        pd.DataFrame({"a": [1.5, -2.0], "b": [0.0, 1.0]})
    )
    np.testing.assert_array_equal(predictor.predict(ROWS, None), expected)


def test_mlflow_is_imported_only_when_something_needs_it(tmp_path: Path):
    folder = saved(tmp_path / "m")
    code = f"""
import sys
from pathlib import Path
from servegen.server import modelfile
from servegen.server.inputs import Columns, Csv
from servegen.server.predictors.deferred import load
from servegen.server.settings import Settings
folder = Path({str(folder)!r})
predictor = load(modelfile.read(folder, name=None, version=None), Settings(model=folder))
rows = Columns(names=("a", "b"), dtypes=("float64",) * 2, cells=([1.5, -2.0], [0.0, 1.0]), rows=2)
one = predictor.predict(rows, None).tolist()
assert "mlflow" not in sys.modules
assert predictor.predict(Csv(text="a,b\\n1.5,0.0\\n-2.0,1.0\\n"), None).tolist() == one
assert "mlflow" in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_pickle_is_read_once(tmp_path: Path):
    folder = saved(tmp_path / "m")
    predictor = loaded(folder)
    (folder / "model.pkl").unlink()
    predictor.complete()
    assert predictor.predict(Csv(text="a,b\n1.5,0.0\n"), None).tolist() == [1]


def test_what_the_estimator_refuses_is_refused_in_mlflows_way(tmp_path: Path):
    predictor = loaded(saved(tmp_path / "m"))
    with pytest.raises(ModelFailedError):
        predictor.predict(ROWS._replace(cells=([float("nan")] * 2, [0.0, 1.0])), None)
    np.testing.assert_array_equal(predictor.predict(ROWS, None), [1, 0])


@pytest.mark.parametrize(
    "options",
    [
        {"estimator": make_pipeline(make_column_transformer(("passthrough", ["a"])), LogisticRegression())},
        {"code_paths": ["module.py"]},
        {"metadata": {"dependencies_schemas": {}}},
        {"signature": None},
    ],
    ids=str,
)
def test_every_other_model_is_loaded_by_mlflow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]
):
    monkeypatch.chdir(tmp_path)
    Path("module.py").touch()
    predictor = loaded(saved(tmp_path / "m", **options))
    assert type(predictor) is PyfuncPredictor
    frame = "a,b\n1.5,0.0\n-2.0,1.0\n"
    assert predictor.predict(Csv(text=frame), None).tolist() == [1, 0]


def test_a_model_with_configuration_is_loaded_by_mlflow(tmp_path: Path):
    assert modelfile.read(saved(tmp_path / "m"), name=None, version=None).pickled is not None
    assert type(loaded(tmp_path / "m", model_config={"k": 1})) is PyfuncPredictor


def test_pickles_that_the_environment_forbids_are_left_to_mlflow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    folder = saved(tmp_path / "m")
    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    with pytest.raises(mlflow.MlflowException, match="disallowed"):
        loaded(folder)
