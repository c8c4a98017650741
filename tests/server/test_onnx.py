"""A converted model is served as the original is, without pandas, MLflow and its own library."""

import asyncio
import json
import shutil
import subprocess
import sys
import warnings

import mlflow.sklearn
import numpy as np
import pandas as pd
import pytest
from mlflow.models import infer_signature
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from servegen.accelerate.child import accelerate
from servegen.accelerate.report import document
from servegen.server import modelfile
from servegen.server.app import App
from servegen.server.compare import expected, first_difference
from servegen.server.errors import RefusedError
from servegen.server.inline import Near, Pace, measured
from servegen.server.invocations import Invocations
from servegen.server.lifecycle import load, start
from servegen.server.predictors.onnx import OnnxPredictor
from servegen.server.predictors.pyfunc import PyfuncPredictor
from servegen.server.settings import Settings
from tests.server.asgi import ask

RANDOM = np.random.default_rng(0)
X = pd.DataFrame(
    {
        "n": RANDOM.integers(0, 9, 80),
        "x": RANDOM.normal(size=80),
        "c": RANDOM.choice(["a", "b"], 80),
        "f": RANDOM.integers(0, 2, 80).astype(bool),
    }
)
Y = np.where(X.x + X.n / 5 + X.f > 1, "yes", "no")
NAMES = list(X.columns)
ROW = [3, 0.5, "a", True]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """The folder that MLflow wrote, and the one of the converted model."""
    root = tmp_path_factory.mktemp("onnx")
    model = make_pipeline(
        make_column_transformer(
            (OneHotEncoder(handle_unknown="ignore"), ["c"]),
            (StandardScaler(), ["n", "x"]),
            remainder="passthrough",
        ),
        LogisticRegression(),
    ).fit(X, Y)
    return saved(root, model, X)


def saved(root, model, x):
    """The two folders of a model."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mlflow.sklearn.save_model(
            model,
            root / "original",
            signature=infer_signature(x, model.predict(x)),
            input_example=x[:2],
            serialization_format="cloudpickle",
        )
        result = accelerate(root / "original", count=256, seed=0, tolerance=1e-6, calls=0)
    (root / "onnx").mkdir()
    for name in ("MLmodel", "serving_input_example.json"):
        shutil.copy(root / "original" / name, root / "onnx")
    (root / "onnx" / "model.onnx").write_bytes(result.converted.model)
    (root / "onnx" / "acceleration.json").write_text(document(result))
    return root / "original", root / "onnx"


@pytest.fixture(scope="module")
def both(folders):
    """A function that asks the original and the converted model."""
    return asked_both(*folders)


def asked_both(*folders):
    original, converted = (modelfile.read(path, name="m", version="1") for path in folders)
    predictors = (
        PyfuncPredictor(original, Settings(model=original.path)),
        OnnxPredictor(converted, Settings(model=converted.path)),
    )
    reader = Invocations(original, lenient=False)

    def answers(kind, body):
        found = []
        for predictor in predictors:
            try:
                call, _ = reader.read(kind, body)
                found.append(call.encode(predictor.predict(call.input, call.params)))
            except RefusedError as refusal:
                found.append((refusal.status, refusal.code, refusal.error_class))
        return found

    return answers


def split(*rows, columns=NAMES, **more):
    return {"dataframe_split": {"columns": columns, "data": list(rows), **more}}


RECORD = dict(zip(NAMES, ROW, strict=True))
BODIES = [
    split(ROW, [1, 2, "b", False]),
    split(ROW, columns=NAMES[::-1]),
    split([3, 0.5, "unseen", True]),
    split([3, 0.5, "a"]),
    split([3, 0.5]),
    split([3, 0.5], [1, 2]),
    split([3, None, "a", True]),
    split([3, 0.5, None, True]),
    split([3.5, 0.5, "a", True]),
    split([3, 0.5, "a", 2]),
    split([3, "0.5", "a", True]),
    split([3, [0.5], "a", True]),
    split(ROW, index=["r1"]),
    split(ROW, index=["r1", "r2"]),
    split([*ROW, 1], columns=[*NAMES, "more"]),
    split([*ROW, 1]),
    split(ROW, extra=1),
    split(),
    split(RECORD),
    split(1, 2),
    {"dataframe_split": {"data": [ROW]}},
    {"dataframe_split": [ROW]},
    {"dataframe_records": [RECORD, {"n": 1}]},
    {"dataframe_records": [RECORD, {**RECORD, "more": [1]}]},
    {"dataframe_records": [ROW]},
    {"dataframe_records": []},
    {"dataframe_records": RECORD},
    {"dataframe_records": [RECORD, ROW]},
    {"inputs": RECORD},
    {"inputs": [RECORD]},
    {"inputs": {name: [cell] for name, cell in RECORD.items()}},
    {"inputs": {name: [cell] * (1 + (name == "x")) for name, cell in RECORD.items()}},
    {"inputs": {name: [[cell]] for name, cell in RECORD.items()}},
    {"inputs": [ROW]},
    {"inputs": []},
    {"inputs": 3},
    {"inputs": "a"},
    {"instances": [RECORD, RECORD]},
    {"instances": {name: [cell] * (1 + (name == "x")) for name, cell in RECORD.items()}},
    {"instances": None},
]
DOCUMENTS = [
    "n,x,c,f\n3,0.5,a,True\n1,2,b,False\n",
    "f,c,x,n\nTRUE,a,1e-1,3",
    "n,x,c,f\r\n3,.5,a,true\r\n\r\n1,2,b,false\r\n",
    '\ufeffn,x,c,f\n3,"0.5","a",True\n',
    "n,x,c,f\n3,,a,True\n",
    "n,x,c,f\n,1,a,True\n",
    "n,x,c,f\n3.5,1,a,True\n",
    "n,x,c,f\n3,1_0,a,True\n",
    "n,x,c,f\n3,one,a,True\n",
    "n,x,c,f\n3,1e999,a,True\n",
    "n,x,c,f\n3,inf,a,True\n",
    "n,x,c,f\n3,1,a,maybe\n",
    "n,x,c,f\n9,3,1,a,True\n",
    "n,x,c,f\n3,1,a,True\n3,1,a,True,5\n",
    "n,x,c\n3,1,a\n",
    "n,x,c,f,\n3,1,a,True,\n",
    "n,x,c,f\n",
    "",
]


@pytest.mark.parametrize("body", BODIES, ids=json.dumps)
def test_json_is_answered_or_refused_as_the_original_does(both, body):
    original, converted = both(b"application/json", json.dumps(body).encode())
    assert converted == original


@pytest.mark.parametrize("text", DOCUMENTS, ids=repr)
def test_csv_is_answered_or_refused_as_the_original_does(both, text):
    original, converted = both(b"text/csv", text.encode())
    assert converted == original


def test_no_other_library_is_imported(folders):
    code = (
        "import sys\n"
        "for name in ('pandas', 'mlflow', 'sklearn', 'scipy', 'onnx', 'google.protobuf', 'packaging'):\n"
        "    sys.modules[name] = None\n"
        "from pathlib import Path\n"
        "from servegen.server import modelfile\n"
        "from servegen.server.app import App\n"
        "from servegen.server.lifecycle import load\n"
        "from servegen.server.settings import Settings\n"
        "import servegen.server.hosting, servegen.server.check\n"
        "settings = Settings(model=Path(sys.argv[1]), runtime='uvicorn')\n"
        "app = App(modelfile.read(settings.model, name='m', version='1'), settings, version='1')\n"
        "(predictor,) = load(app, settings)\n"
        "for lane, body in ((b'/invocations', app.model.example),):\n"
        "    call = app.lanes[lane].read(body)\n"
        "    print(call.encode(predictor.predict(call.input, call.params)).decode())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(folders[1])], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    model = modelfile.read(folders[0], name="m", version="1")
    answer = expected(model, Settings(model=model.path))
    assert json.loads(done.stdout) == answer


def test_an_image_knows_what_the_original_answered(folders):
    model = modelfile.read(folders[1], name="m", version="1")
    assert model.accelerated
    wanted = expected(model, Settings(model=model.path))
    served = json.dumps({"predictions": ["neither", "yes"]}).encode()
    assert first_difference(model, served=json.dumps(wanted).encode(), expected=wanted) is None
    assert first_difference(model, served=served, expected=wanted).path == "$.predictions[0]"


@pytest.mark.parametrize(
    ("changed", "words"),
    [({"lenient": True}, "SERVEGEN_LENIENT"), ({"model_config": {"a": 1}}, "MODEL_CONFIG")],
)
def test_a_setting_that_only_the_original_can_follow_is_refused(folders, changed, words):
    model = modelfile.read(folders[1], name="m", version="1")
    with pytest.raises(ValueError, match=words):
        OnnxPredictor(model, Settings(model=model.path, **changed))


def test_requests_of_one_moment_are_answered_together_and_a_large_one_by_a_thread(folders):
    model = modelfile.read(folders[1], name="m", version="1")
    settings = Settings(model=model.path)

    async def run():
        app = App(model, settings, version="1")
        predictors = await start(app, settings, lambda: load(app, settings))
        app.dispatcher.near = Near(predictors[0], Pace(rows=8, merging_pays=True), app.metrics)
        small = [json.dumps(split([n, 0.5, "a", True])) for n in range(5)]
        odd = json.dumps(split([1, None, "a", True]))
        large = json.dumps(split(*[ROW] * 9))
        bodies = [*small, odd, large, json.dumps({"inputs": 3})]
        found = await asyncio.gather(*(ask(app, "POST", "/invocations", body) for body in bodies))
        app.dispatcher.near = None
        alone = [await ask(app, "POST", "/invocations", body) for body in bodies]
        return found, alone, app.metrics.render().decode()

    found, alone, metrics = asyncio.run(run())
    assert [(each.status, each.body) for each in found] == [(each.status, each.body) for each in alone]
    assert [each.status for each in found] == [200] * 5 + [400, 200, 400]
    assert 'servegen_batch_requests_bucket{le="4.0"}' in metrics


class Fake:
    """Takes a fixed time for each call and each row."""

    def __init__(self, call, row):
        self._call, self._row = call, row

    def predict(self, data, params):
        end = self._now() + self._call + self._row * data.rows
        while self._now() < end:
            pass
        return np.zeros(data.rows)

    @staticmethod
    def _now():
        from time import thread_time

        return thread_time()


def test_a_slow_model_is_left_to_threads_and_one_without_fixed_cost_is_not_merged(folders):
    model = modelfile.read(folders[1], name="m", version="1")
    app = App(model, Settings(model=model.path), version="1")
    call = app.lanes[b"/invocations"].read(json.dumps(split(ROW)).encode())
    assert measured(Fake(400e-6, 0.0), call) == Pace(rows=0, merging_pays=True)
    by_row = measured(Fake(0.0, 300e-6), call)
    assert (by_row.rows, by_row.merging_pays) == (0, False)
    assert measured(Fake(5e-6, 10e-6), call).rows > 8


TENSORS = [
    {"inputs": [[1, 2], [3, 4]]},
    {"inputs": [[1, 2, 3]]},
    {"inputs": [[1, "a"]]},
    {"inputs": [{"a": 1, "b": 2}]},
    {"inputs": []},
    {"instances": [[1.5, 2]]},
    {"instances": {"a": 1}},
    {"instances": None},
    split([1, 2], [3, 4], columns=["a", "b"]),
    split([1, None], columns=["a", "b"]),
    split([1, [2]], columns=["a", "b"]),
    split(columns=["a", "b"]),
    split([1, 2, 3], columns=["a", "b"]),
    {"dataframe_records": [{"a": 1, "b": 2}, {"a": 3}]},
    {"dataframe_records": []},
    {"dataframe_split": {"data": [[1, 2]]}},
]


def test_a_tensor_is_read_as_the_original_reads_it(tmp_path):
    x = RANDOM.normal(size=(20, 2))
    model = LinearRegression().fit(x, x[:, 0] + 2 * x[:, 1])
    both = asked_both(*saved(tmp_path, model, x))
    for body in TENSORS:
        original, converted = both(b"application/json", json.dumps(body).encode())
        assert converted == original, body
    assert both(b"text/csv", b"a,b\n1,2\n")[1][0] == 400
