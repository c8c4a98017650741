"""Converted models whose signature or folder is unusual: single precision, no example."""

import asyncio
import json

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from servegen.server import lifecycle, modelfile
from servegen.server.accelerated import Form
from servegen.server.app import App
from servegen.server.inline import Pace
from servegen.server.lifecycle import load, start
from servegen.server.settings import Settings
from tests.server.test_onnx import asked_both, saved

RANDOM = np.random.default_rng(2)
ROWS = 60
WORDS = np.array(["good", "bad", "film", "plot", "music"])


def test_a_category_of_32_bits_is_known_by_its_digits(tmp_path):
    numbers = RANDOM.choice(np.array([0.1, 0.2, 0.3], dtype=np.float32), ROWS)
    x = pd.DataFrame({"q": numbers, "n": RANDOM.integers(0, 3, ROWS)})
    model = make_pipeline(make_column_transformer((OneHotEncoder(), ["q", "n"])), LogisticRegression())
    ask = asked_both(*saved(tmp_path, model.fit(x, numbers > 0.15), x))
    for row in ([0.1, 1], [0.3, 2], [0.10000000149011612, 0], [0.15, 1], [0.1, 3]):
        body = {"dataframe_split": {"columns": ["q", "n"], "data": [row]}}
        original, converted = ask(b"application/json", json.dumps(body).encode())
        assert converted == original, row


def categories():
    x = pd.DataFrame(
        {"c": RANDOM.choice(["a", "b"], ROWS), "x": RANDOM.normal(size=ROWS), "f": [True] * ROWS}
    )
    encoded = make_column_transformer((OneHotEncoder(), ["c", "f"]), remainder="passthrough")
    return make_pipeline(encoded, LogisticRegression()).fit(x, x.x > 0), x, {"c": "a", "x": 0.0, "f": True}


def texts():
    x = pd.DataFrame({"t": [" ".join(RANDOM.choice(WORDS, 4)) for _ in range(ROWS)]})
    model = make_pipeline(make_column_transformer((TfidfVectorizer(), "t")), LogisticRegression())
    return model.fit(x, x.t.str.contains("good")), x, {"t": "bad film good music plot"}


def tensor():
    x = RANDOM.normal(size=(ROWS, 3))
    return LinearRegression().fit(x, x[:, 0]), x, None


def without_example(root, model, x):
    """A converted model as it is in an image when it was logged without an example."""
    _, folder = saved(root, model, x)
    (folder / "serving_input_example.json").unlink()
    return modelfile.read(folder, name="m", version="1")


def started(model, monkeypatch):
    """The server of `model`, and the calls by which it was measured."""
    calls = []

    def measured(predictor, call):
        calls.append(call)
        predictor.predict(call.input, call.params)
        return Pace(rows=8, merging_pays=True)

    monkeypatch.setattr(lifecycle, "measured", measured)
    settings = Settings(model=model.path)

    async def run():
        app = App(model, settings, version="1")
        await start(app, settings, lambda: load(app, settings))
        return app

    return asyncio.run(run()), calls


@pytest.mark.parametrize("made", [categories, texts, tensor])
def test_a_model_without_example_is_measured_by_a_row_of_its_signature(made, tmp_path, monkeypatch):
    model, x, row = made()
    app, (call,) = started(without_example(tmp_path, model, x), monkeypatch)
    assert app.dispatcher.near is not None
    if row is None:
        assert call.input.value.tolist() == [[0.0, 0.0, 0.0]]
    else:
        assert {n: cells[0] for n, cells in zip(call.input.names, call.input.cells, strict=True)} == row


def test_a_model_that_refuses_the_row_is_called_by_threads(tmp_path, monkeypatch):
    model, x, row = categories()
    monkeypatch.setattr(
        Form, "request", lambda *_: json.dumps({"dataframe_records": [row | {"c": "unseen"}]}).encode()
    )
    app, calls = started(without_example(tmp_path, model, x), monkeypatch)
    assert app.dispatcher.near is None
    assert len(calls) == 1
