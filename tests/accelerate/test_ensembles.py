"""Estimators that ask others, converted: equal on every row, also at the thresholds of the trees within."""

import numpy as np
import pandas as pd
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import TransformedTargetRegressor
from sklearn.ensemble import (
    AdaBoostClassifier,
    AdaBoostRegressor,
    BaggingClassifier,
    BaggingRegressor,
    IsolationForest,
    RandomForestClassifier,
    RandomForestRegressor,
    StackingClassifier,
    StackingRegressor,
    VotingClassifier,
)
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.multioutput import MultiOutputRegressor
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier

from servegen.accelerate.convert import convert
from servegen.accelerate.graph import Unconvertible
from servegen.accelerate.proof import Pair, ProofOptions, prove
from servegen.accelerate.rows import Block
from servegen.values.acceleration import Proof
from tests.randommodels import loaded

FEW = ProofOptions(count=300, calls=0, alone=4)
RANDOM = np.random.default_rng(5)
X = pd.DataFrame(RANDOM.normal(1, 3, (160, 3)), columns=list("abc"))
GAPS = X.where(RANDOM.random(X.shape) > 0.1)
SCORE = (X.a + X.b * X.c).to_numpy()
TWO = np.array(["no", "yes"])[(SCORE > 3).astype(int)]
THREE = np.digitize(SCORE, [-2, 5])
RARE = np.where(np.arange(160) < 2, 9, THREE)
FOREST = {"n_estimators": 4, "random_state": 0}
PAIR = [("forest", RandomForestClassifier(**FOREST)), ("line", LogisticRegression())]
NUMBERS = [("forest", RandomForestRegressor(**FOREST)), ("line", Ridge())]

EQUAL_TO_THE_BIT = [
    (AdaBoostClassifier(n_estimators=6, random_state=0), X, THREE, "decision_function"),
    (AdaBoostClassifier(DecisionTreeClassifier(max_depth=2), random_state=0), X, TWO, "predict"),
    (AdaBoostClassifier(LogisticRegression(), n_estimators=3, random_state=0), X, THREE, "predict"),
    (AdaBoostRegressor(n_estimators=7, random_state=0), X, SCORE, "predict"),
    (BaggingClassifier(n_estimators=5, max_features=0.6, random_state=0), GAPS, THREE, "predict_proba"),
    (BaggingClassifier(n_estimators=5, max_samples=0.2, random_state=0), X, RARE, "predict_proba"),
    (BaggingClassifier(LinearSVC(), n_estimators=3, random_state=0), X, THREE, "predict_proba"),
    (BaggingRegressor(n_estimators=5, max_features=2, random_state=0), X, SCORE, "predict"),
    (VotingClassifier([*PAIR, ("bayes", GaussianNB())], weights=[1, 2, 2]), X, THREE, "predict"),
    (GridSearchCV(RandomForestClassifier(**FOREST), {"max_depth": [2, 3]}, cv=2), X, TWO, "predict_proba"),
    (
        IsolationForest(n_estimators=9, max_features=2, contamination=0.1, random_state=0),
        GAPS,
        None,
        "predict",
    ),
]
NEARLY_EQUAL = [
    (AdaBoostClassifier(n_estimators=6, random_state=0), X, TWO, "predict_proba"),
    (AdaBoostRegressor(Ridge(), n_estimators=4, random_state=0), X, SCORE, "predict"),
    (
        BaggingClassifier(LogisticRegression(), n_estimators=3, bootstrap_features=True, random_state=0),
        X,
        THREE,
        "predict_proba",
    ),
    (BaggingRegressor(make_pipeline(StandardScaler(), Ridge()), n_estimators=3), X, SCORE, "predict"),
    (IsolationForest(n_estimators=9, random_state=0), X, None, "decision_function"),
    (IsolationForest(n_estimators=9, random_state=0), X, None, "score_samples"),
    (CalibratedClassifierCV(LinearSVC(), cv=2), X, THREE, "predict_proba"),
    (CalibratedClassifierCV(RandomForestClassifier(**FOREST), cv=2), X, TWO, "predict_proba"),
    (StackingClassifier(PAIR, cv=2), X, TWO, "predict_proba"),
    (StackingClassifier(PAIR, cv=2, passthrough=True), X, np.array(["p", "q", "r"])[THREE], "predict"),
    (StackingClassifier(PAIR, cv=2, stack_method="predict"), X, THREE, "predict"),
    (StackingRegressor(NUMBERS, cv=2, passthrough=True), X, SCORE, "predict"),
    (TransformedTargetRegressor(Ridge(), func=np.log1p, inverse_func=np.expm1), X, abs(SCORE), "predict"),
    (TransformedTargetRegressor(Ridge(), transformer=StandardScaler()), X, SCORE, "predict"),
    (TransformedTargetRegressor(Ridge(), transformer=MinMaxScaler()), X, SCORE, "predict"),
    (MultiOutputRegressor(Ridge()), X, np.c_[SCORE, -SCORE], "predict"),
]


def proved(model, frame, function):
    given = loaded(model, frame, function)
    converted, revealed = convert(given)
    return prove(given, converted, revealed, FEW)


def named(value):
    return type(value).__name__ if hasattr(value, "fit") else None


@pytest.mark.parametrize(("model", "frame", "target", "function"), EQUAL_TO_THE_BIT, ids=named)
def test_an_ensemble_is_equal_to_the_bit(model, frame, target, function):
    proof = proved(model.fit(frame, target), frame, function)
    assert isinstance(proof, Proof), proof
    assert proof.worst == 0


@pytest.mark.parametrize(("model", "frame", "target", "function"), NEARLY_EQUAL, ids=named)
def test_an_ensemble_is_equal_but_for_the_order_of_sums(model, frame, target, function):
    proof = proved(model.fit(frame, target), frame, function)
    assert isinstance(proof, Proof), proof
    assert proof.worst < 1e-9


def test_a_row_on_the_border_of_an_isolation_forest_is_an_inlier_in_both():
    # A tenth of 150 rows are below the border, and one is on it.
    frame = X[:151]
    model = IsolationForest(n_estimators=5, contamination=0.1, random_state=0).fit(frame)
    assert abs(model.decision_function(frame)).min() < 1e-15
    given = loaded(model, frame)
    pair = Pair(given, convert(given)[0], 0.0)
    pair.compare(Block(kind="trained", cells=tuple(frame[name].to_numpy() for name in frame), rows=151))
    assert pair.answered == 151


@pytest.mark.parametrize(
    ("model", "why"),
    [
        (TransformedTargetRegressor(Ridge(), func=lambda y: y, inverse_func=lambda y: y), "calls Python"),
        (CalibratedClassifierCV(LogisticRegression(), method="isotonic", cv=2), "method='isotonic'"),
        (StackingRegressor([("line", Ridge()), ("forest", type("Own", (Ridge,), {})())], cv=2), "Own"),
    ],
)
def test_what_is_within_and_cannot_be_converted_is_named(model, why):
    with pytest.raises(Unconvertible, match=why):
        convert(loaded(model.fit(X, THREE), X))
