"""What could be answered differently and seldom is: refused, with the step and the reason."""

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, clone
from sklearn.compose import ColumnTransformer, make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.feature_selection import SelectFromModel, SelectKBest, VarianceThreshold
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline, make_union
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler
from sklearn.svm import SVC, SVR
from sklearn.tree import DecisionTreeClassifier

from servegen.accelerate.convert import convert
from servegen.accelerate.estimators import scalers
from servegen.accelerate.graph import Unconvertible
from servegen.accelerate.proof import ProofOptions, prove
from servegen.values.acceleration import Proof, Refused
from tests.randommodels import loaded

FEW = ProofOptions(count=300, calls=0, alone=4)
RANDOM = np.random.default_rng(7)
X = pd.DataFrame(RANDOM.normal(0, 3, (120, 2)), columns=["a", "b"])
SINGLE = X.astype(np.float32)
Y = (X.a + X.b**2 > 5).astype(int).to_numpy()
COLOURS = RANDOM.choice(["red", "green", "blue"], 120)


def proved(model, frame, function="predict", flavor="sklearn"):
    given = loaded(model, frame, function, flavor)
    converted, revealed = convert(given)
    return prove(given, converted, revealed, FEW)


@pytest.mark.parametrize(
    ("model", "frame", "target", "why"),
    [
        (SVC(), X, Y, "SVC: .*single precision"),
        (make_pipeline(StandardScaler(), RandomForestClassifier(2)), SINGLE, Y, "'standardscaler'.*single"),
        (LinearRegression(), SINGLE, X.a.astype(np.float32), "LinearRegression: .*single precision"),
        (RandomForestClassifier(2), X, np.array([b"n", b"y"])[Y], r"labels: b'n'"),
    ],
)
def test_what_is_not_exact_is_not_converted(model, frame, target, why):
    with pytest.raises(Unconvertible, match=why):
        convert(loaded(model.fit(frame, target), frame))


def test_trees_of_single_columns_and_of_single_weights_behind_double_columns_are_exact():
    assert proved(RandomForestClassifier(3, random_state=0).fit(SINGLE, Y), SINGLE).worst == 0
    assert isinstance(proved(LogisticRegression().fit(SINGLE, Y), X), Proof)


def test_columns_that_another_step_has_named_are_not_guessed():
    frame = X.assign(colour=COLOURS)
    first = ColumnTransformer([("n", StandardScaler(), ["a"]), ("t", "passthrough", ["colour"])])
    second = ColumnTransformer(
        [("o", OneHotEncoder(sparse_output=False), ["t__colour"]), ("n", "passthrough", ["n__a"])]
    )
    model = make_pipeline(first.set_output(transform="pandas"), second, LogisticRegression()).fit(frame, Y)
    with pytest.raises(Unconvertible, match="names that a step before it has made"):
        convert(loaded(model, frame))


def test_what_onnxruntime_cannot_run_is_refused(monkeypatch):
    monkeypatch.setattr("servegen.accelerate.sklearn._is_double", lambda graph: True)
    with pytest.raises(Unconvertible, match="onnxruntime: it does not run the graph"):
        proved(make_pipeline(StandardScaler(), SVR()).fit(X, X.a), X)


def test_an_estimator_that_is_built_unusually_is_named(monkeypatch):
    def broken(*_):
        raise KeyError("scale_")

    monkeypatch.setitem(scalers.TRANSFORMERS, "StandardScaler", broken)
    monkeypatch.setattr("servegen.accelerate.sklearn._TRANSFORMERS", scalers.TRANSFORMERS)
    with pytest.raises(Unconvertible, match=r"step 'standardscaler'.*KeyError: 'scale_'"):
        convert(loaded(make_pipeline(StandardScaler(), LogisticRegression()).fit(X, Y), X))
    with pytest.raises(Unconvertible, match=r"flavor lightgbm: .*AttributeError"):
        convert(loaded(SimpleNamespace(predict=len), X, flavor="lightgbm"))


def test_a_lone_missing_text_is_asked_for():
    # pandas makes NaN of a None among texts, and keeps one that is alone: the encoder knows only None.
    frame = X.assign(colour=COLOURS.astype(object))[["colour", "a", "b"]]
    frame.loc[::7, "colour"] = None
    encoded = ColumnTransformer([("c", OneHotEncoder(handle_unknown="ignore"), ["colour"])])
    model = make_pipeline(encoded, LogisticRegression()).fit(frame, Y)
    lone, other = ({"colour": [colour], "a": [0.0], "b": [0.0]} for colour in (None, "red"))
    rows = pd.DataFrame({name: [*lone[name], *other[name]] for name in lone})
    alone = model.predict_proba(pd.DataFrame(lone))[0]
    among = model.predict_proba(rows)[0]
    proof = proved(model, frame, "predict_proba")
    assert isinstance(proof, Proof) == np.allclose(alone, among)


def test_no_row_at_all_is_compared():
    given = loaded(RandomForestClassifier(2).fit(X, Y), X)
    converted, revealed = convert(given)
    assert isinstance(prove(given, converted, revealed, FEW), Proof)
    careless = replace(converted, form={**converted.form, "refuses_empty": False})
    refused = prove(given, careless, revealed, FEW)
    assert isinstance(refused, Refused)
    assert "no row" in refused.reason


def test_whole_numbers_that_are_rounded_twice_are_found():
    # Behind a float column they are read as doubles: 2**60 + 2**36 + 1 becomes the smaller float of 32 bits.
    frame = X.assign(id=2**60 + RANDOM.integers(0, 64, 120) * 2**36)
    alone = ColumnTransformer([("id", "passthrough", ["id"])])
    model = make_pipeline(alone, DecisionTreeClassifier(random_state=0)).fit(frame, (frame.id // 2**36) % 2)
    refused = proved(model, frame)
    assert isinstance(refused, Refused)
    assert "thresholds" in refused.reason
    assert isinstance(proved(model[-1], frame[["id"]].set_axis(["0"], axis=1)), Proof)


def test_numbers_are_encoded_as_categories_and_infinity_is_refused():
    frame = X.round(0)
    proof = proved(
        make_pipeline(OneHotEncoder(handle_unknown="ignore"), LogisticRegression()).fit(frame, Y), frame
    )
    assert isinstance(proof, Proof)
    assert proof.refused["edges"] > 0


def test_categories_may_become_nan():
    frame = X.assign(colour=COLOURS)
    encoder = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=np.nan)
    encoded = ColumnTransformer([("c", encoder, ["colour"])], remainder="passthrough")
    model = make_pipeline(encoded, HistGradientBoostingClassifier(max_iter=4, random_state=0)).fit(frame, Y)
    assert isinstance(proved(model, frame), Proof)


def test_a_selector_that_takes_nan_takes_infinity_in_what_it_drops():
    frame = X.assign(c=RANDOM.normal(size=120))
    chosen = SelectFromModel(RandomForestClassifier(3, random_state=0), max_features=1)
    assert isinstance(proved(make_pipeline(chosen, LogisticRegression()).fit(frame, Y), frame), Proof)


TINY = float(np.float32(1e-35))


class Booster:
    """Stands for one of LightGBM with a tree of one split, and reads rows as LightGBM does."""

    def __init__(self, threshold, **dump):
        self._threshold = threshold
        self._dump = dump

    def dump_model(self):
        leaves = {"left_child": {"leaf_value": -1.5}, "right_child": {"leaf_value": 2.0}}
        split = {"split_feature": 0, "threshold": self._threshold, "decision_type": "<=", **leaves}
        root = {**split, "missing_type": "None", "default_left": True}
        trees = [{"tree_structure": root}]
        return {"num_tree_per_iteration": 1, "tree_info": trees, "average_output": False, **self._dump}

    def predict(self, frame):
        if frame.shape[1] != 2:
            raise ValueError(frame.shape)
        if not len(frame):
            raise ValueError(len(frame))
        first = frame.to_numpy(dtype=np.float64)[:, 0]
        first = np.where((abs(first) > TINY) & ~np.isnan(first), first, 0.0)
        raw = np.where(first <= self._threshold, -1.5, 2.0)
        return np.sign(raw) * raw**2 if "sqrt" in self._dump.get("objective", "") else raw


@pytest.mark.parametrize("threshold", [-1.0, -TINY, -1e-40, 0.0, 1e-40, TINY, math.nextafter(TINY, 1)])
def test_lightgbm_reads_the_smallest_numbers_as_zero(threshold):
    assert proved(Booster(threshold, objective="regression"), X, flavor="lightgbm").worst == 0


class Wrapped(Booster, BaseEstimator):
    """Stands for its estimator, as the last step of a pipeline."""

    __module__ = "lightgbm.sklearn"

    @property
    def booster_(self):
        return self

    def fit(self, *_):
        return self

    def __sklearn_is_fitted__(self):
        return True

    def predict(self, rows):
        return super().predict(pd.DataFrame(rows))


def test_lightgbm_may_end_a_pipeline():
    model = make_pipeline(StandardScaler(), Wrapped(-TINY, objective="regression")).fit(X, Y)
    assert proved(model, X).worst == 0
    model.steps[-1] = ("wrapped", Wrapped(0.0, objective="custom"))
    with pytest.raises(Unconvertible, match=r"pipeline step 'wrapped' .*objective custom"):
        convert(loaded(model, X))


def test_lightgbm_says_what_its_objective_makes_of_a_sum():
    assert isinstance(proved(Booster(0.5), X, flavor="lightgbm"), Proof)
    assert isinstance(proved(Booster(0.5, objective="regression sqrt"), X, flavor="lightgbm"), Proof)
    with pytest.raises(Unconvertible, match="objective cross_entropy_lambda"):
        convert(loaded(Booster(0.5, objective="cross_entropy_lambda"), X, flavor="lightgbm"))


FLOATS = pd.DataFrame(
    {
        "a": np.random.default_rng(5).normal(size=200).astype(np.float32),
        "b": np.random.default_rng(6).normal(size=200).astype(np.float32),
        "f": np.arange(200) % 2 == 0,
    }
)


@pytest.mark.parametrize(
    ("front", "columns"),
    [
        (make_column_transformer(("passthrough", ["a", "b"])), ["a", "b"]),
        (make_column_transformer(("passthrough", ["a"]), ("passthrough", ["b"])), ["a", "b"]),
        (make_union(VarianceThreshold(), SelectKBest(k=1)), ["a", "b"]),
        ("passthrough", ["a", "f"]),
        (OneHotEncoder(dtype=np.float32, handle_unknown="ignore"), ["f"]),
        (OrdinalEncoder(dtype=np.float32), ["f"]),
    ],
)
def test_arithmetic_in_single_precision_is_refused_and_trees_are_not(front, columns):
    frame, label = FLOATS[columns], FLOATS.a > 0
    linear = make_pipeline(clone(front) if front != "passthrough" else front, LogisticRegression())
    with pytest.raises(Unconvertible, match=r"single precision|floats of 32 bits"):
        convert(loaded(linear.fit(frame, label), frame))
    if "a" in columns:
        trees = make_pipeline(front, DecisionTreeClassifier(max_depth=3))
        assert proved(trees.fit(frame, label), frame).worst == 0
