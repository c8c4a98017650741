"""Conversion to ONNX and its proof: exact for models that can be, refused with a counterexample else."""

import json
from dataclasses import replace

import numpy as np
import onnxruntime
import pandas as pd
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier, RandomForestRegressor
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

from servegen.accelerate import trees
from servegen.accelerate.convert import convert
from servegen.accelerate.estimators import forests, scalers
from servegen.accelerate.graph import Graph, Unconvertible
from servegen.accelerate.proof import Pair, ProofOptions, prove
from servegen.accelerate.report import counterexample, document, facts
from servegen.accelerate.rows import blocks, columns
from servegen.accelerate.tables import Front
from servegen.server.accelerated import Form, UnfitError
from servegen.server.terms import Terms
from servegen.values.acceleration import Accelerated, Proof, Refused
from tests.randommodels import judged, loaded

FEW = ProofOptions(count=300, calls=0, alone=4)
RANDOM = np.random.default_rng(3)
X = pd.DataFrame(RANDOM.normal(2, 3, (200, 3)), columns=list("abc"))
Y = (X.a + X.b * X.c > 6).astype(int) + (X.a > 4)
FOREST = RandomForestClassifier(6, random_state=0).fit(X, Y)
GAPS = X.where(RANDOM.random(X.shape) > 0.1)
IMPUTED = make_pipeline(SimpleImputer(), StandardScaler(), LogisticRegression()).fit(GAPS, Y)


def proved(model, frame, function="predict"):
    given = loaded(model, frame, function)
    converted, revealed = convert(given)
    return prove(given, converted, revealed, FEW)


def difference(refused):
    """The counterexample's row, and what the two models say of it."""
    assert isinstance(refused, Refused)
    assert refused.step == "proof"
    assert refused.original != refused.accelerated
    body = json.loads(refused.counterexample)["dataframe_split"]
    assert "curl" in counterexample(refused)
    return dict(zip(body["columns"], body["data"][0], strict=True))


@pytest.mark.parametrize("function", ["predict", "predict_proba"])
def test_a_forest_is_equal_to_the_bit_at_every_threshold_and_beside_it(function):
    proof = proved(FOREST, X, function)
    splits = sum((tree.tree_.children_left >= 0).sum() for tree in FOREST.estimators_)
    assert isinstance(proof, Proof)
    assert proof.worst == 0
    assert proof.rows["thresholds"] >= 6 * splits
    assert proof.refused["edges"] > 0


def test_a_flipped_threshold_is_found(monkeypatch):
    grown = forests.grown

    def flipped(model, values):
        tree = grown(model, values)
        threshold = tree.threshold.copy()
        threshold[0] = np.nextafter(np.float32(threshold[0]), np.float32(np.inf))
        return replace(tree, threshold=threshold)

    given = loaded(FOREST, X, "predict_proba")
    _, revealed = convert(given)
    monkeypatch.setattr(forests, "grown", flipped)
    converted, _ = convert(given)
    row = difference(prove(given, converted, revealed, FEW))
    firsts = [(tree.tree_.feature[0], tree.tree_.threshold[0]) for tree in FOREST.estimators_]
    assert any(abs(row["abc"[feature]] - threshold) < 1e-5 for feature, threshold in firsts)


def test_thresholds_in_single_precision_are_found(monkeypatch):
    model = HistGradientBoostingClassifier(max_iter=4, random_state=0).fit(X, Y)
    assert isinstance(proved(model, X, "predict_proba"), Proof)
    whole = trees.sum_trees

    def single(graph, matrix, parts, **_):
        rounded = [replace(each, threshold=np.float32(each.threshold)) for each in parts]
        return whole(graph, matrix, rounded)

    monkeypatch.setattr(forests, "sum_trees", single)
    difference(proved(model, X, "predict_proba"))


def test_swapped_classes_are_found(monkeypatch):
    monkeypatch.setattr(forests, "argmax", lambda graph, value: graph.op("ArgMin", value, axis=1, keepdims=0))
    difference(proved(FOREST, X))


def test_a_dropped_imputer_is_found(monkeypatch):
    assert isinstance(proved(IMPUTED, GAPS), Proof)
    monkeypatch.setitem(scalers.TRANSFORMERS, "SimpleImputer", lambda front, step, model, value: value)
    monkeypatch.setattr("servegen.accelerate.sklearn._TRANSFORMERS", scalers.TRANSFORMERS)
    assert None in difference(proved(IMPUTED, GAPS)).values()


def test_mishandled_nan_is_found(monkeypatch):
    grown = forests.grown
    monkeypatch.setattr(
        forests,
        "grown",
        lambda m, v: replace(grown(m, v), missing_left=~grown(m, v).missing_left),
    )
    model = RandomForestRegressor(4, random_state=0).fit(GAPS, Y)
    assert None in difference(proved(model, GAPS)).values()


def test_what_the_original_refuses_is_refused(monkeypatch):
    model = make_pipeline(StandardScaler(), Ridge()).fit(X, Y)
    assert proved(model, X).refused["edges"] > 0
    monkeypatch.setattr(Front, "check", lambda *_, **__: None)
    refused = proved(model, X)
    assert refused.original.startswith("an error")
    assert not refused.accelerated.startswith("an error")


def test_mixed_columns_are_converted():
    frame = X.assign(
        n=RANDOM.integers(0, 9, len(X)), color=RANDOM.choice(["red", "blue", ""], len(X)), flag=X.a > 0
    )
    encoder = ColumnTransformer(
        [
            ("numbers", StandardScaler(), ["a", "n"]),
            ("known", OneHotEncoder(), ["color"]),
            ("unseen", OneHotEncoder(handle_unknown="ignore"), ["n", "color"]),
        ],
        remainder="passthrough",
    )
    model = make_pipeline(encoder, LogisticRegression(max_iter=500)).fit(frame, np.array(["x", "y", "z"])[Y])
    proof = proved(model, frame)
    assert isinstance(proof, Proof)
    # A colour that was never seen.
    assert proof.refused["edges"] > 0


@pytest.mark.parametrize(
    "vectorizer",
    [
        TfidfVectorizer(ngram_range=(1, 2), stop_words=["the"], sublinear_tf=True),
        TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 6), strip_accents="unicode"),
        CountVectorizer(analyzer="char", ngram_range=(1, 3), strip_accents="ascii", binary=True),
    ],
)
def test_texts_are_taken_apart_as_by_the_original(vectorizer, monkeypatch):
    words = np.array(["the", "good", "bad", "film", "was", "naïve", "not", "Ärger", "it's", "ok"])
    texts = [" ".join(RANDOM.choice(words, 6)) for _ in range(80)]
    frame = pd.DataFrame({"text": texts})
    model = make_pipeline(ColumnTransformer([("t", vectorizer, "text")]), LogisticRegression())
    model.fit(frame, ["good" in text for text in texts])
    assert isinstance(proved(model, frame, "predict_proba"), Proof)
    monkeypatch.setattr(Terms, "counts", lambda self, texts: np.ones((len(texts), len(self.vocabulary))))
    assert "text" in difference(proved(model, frame, "predict_proba"))


def test_a_step_in_python_is_named():
    model = make_pipeline(FunctionTransformer(lambda x: x), Ridge()).fit(X, Y)
    with pytest.raises(Unconvertible, match=r"step 'functiontransformer'.*calls Python"):
        convert(loaded(model, X))


def test_an_answer_for_a_batch_is_that_for_its_rows():
    given = loaded(FOREST, X, "predict_proba")
    converted, revealed = convert(given)
    pair = Pair(given, converted, 0.0)
    known = columns(given.signature, pair.form, revealed, [])
    block = next(blocks(known, pair.form, revealed, [], count=256, seed=5))
    assert pair.alone(block, 8) == 8
    assert (pair.accelerated(block) == FOREST.predict_proba(pair.value(block))).all()


def test_the_files_are_equal_for_equal_models_and_say_what_was_proved():
    given = loaded(IMPUTED, GAPS)
    results = []
    for _ in range(2):
        converted, revealed = convert(given)
        proof = prove(given, converted, revealed, FEW)
        results.append(Accelerated(converted=converted, proof=proof))
    assert results[0].converted.model == results[1].converted.model
    text = document(results[0])
    assert text == document(results[1])
    assert json.loads(text)["proof"]["total"] == proof.total == facts(results[0])["proof"]["total"]
    form = Form.parse(json.loads(text))
    session = onnxruntime.InferenceSession(results[0].converted.model)
    feeds = form.feeds({name: [1.0, float("nan")] for name in "abc"}, 2)
    expected = IMPUTED.predict(pd.DataFrame({name: [1.0, np.nan] for name in "abc"}))
    assert form.result(session.run(form.fetches, feeds)).tolist() == expected.tolist()
    for cells, rows in (
        ({name: [] for name in "abc"}, 0),
        ({"a": [1.0]}, 1),
        ({n: [np.inf] for n in "abc"}, 1),
    ):
        with pytest.raises(UnfitError):
            form.feeds(cells, rows)


def test_a_form_of_another_version_is_not_read():
    with pytest.raises(ValueError, match="format 99"):
        Form.parse({"format": 99})


def test_a_graph_holds_only_what_its_answer_needs():
    graph = Graph()
    value = graph.input("x", "float64", [None, 1])
    graph.input("unused", "float64", [None, 1])
    graph.op("Exp", value)
    graph.output(graph.op("Neg", value), "y", "float64")
    model, names = graph.written()
    assert names == ["x"]
    assert b"Exp" not in model


def test_random_models_are_converted_or_refused_and_never_wrong():
    verdicts = [judged(seed, rows=500, count=256, alone=2) for seed in range(20)]
    assert not [text for verdict, text in verdicts if verdict == "wrong"]
    assert sum(verdict == "converted" for verdict, _ in verdicts) >= 16
