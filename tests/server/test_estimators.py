import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import make_column_transformer
from sklearn.ensemble import GradientBoostingRegressor, HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression, RANSACRegressor
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from sklearn.svm import SVC

from servegen.server.inputs import Columns
from servegen.server.predictors import estimators
from servegen.server.predictors.frames import frame

RANDOM = np.random.default_rng(1)
NAMES = ("a", "b", "c")
DATA = pd.DataFrame(RANDOM.normal(size=(200, 3)), columns=list(NAMES))
TARGET = (DATA["a"] + DATA["b"] ** 2 > 0.5).astype(int)


def sample(dtype: str = "float64", rows: int = 50) -> Columns:
    values = RANDOM.normal(size=(3, rows)) * 5
    cells = [[int(v) if "int" in dtype else float(v) for v in column] for column in values]
    return Columns(names=NAMES, dtypes=(dtype,) * 3, cells=tuple(cells), rows=rows)


TAKEN = [
    LogisticRegression(),
    RandomForestClassifier(10, random_state=1),
    GradientBoostingRegressor(n_estimators=10),
    HistGradientBoostingClassifier(max_iter=10),
    KNeighborsRegressor(),
    SVC(),
    RANSACRegressor(random_state=1),
    make_pipeline(StandardScaler(), MinMaxScaler(), LinearRegression()),
]


@pytest.mark.parametrize("estimator", TAKEN, ids=lambda e: type(e).__name__)
@pytest.mark.parametrize("dtype", ["float64", "float32", "int64", "int32"])
def test_an_array_gives_the_answer_of_a_frame_to_the_bit_and_no_warning(estimator: Any, dtype: str):
    estimator.fit(DATA, TARGET)
    before = estimator.feature_names_in_.tolist()
    found = estimators.find(estimator, "predict")
    assert found is not None
    columns = sample(dtype)
    assert found.takes(columns)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        answer = found.predict(columns)
    expected = estimator.predict(frame(columns))
    assert type(answer) is type(expected)
    assert answer.dtype == expected.dtype
    np.testing.assert_array_equal(answer, expected)
    assert estimator.feature_names_in_.tolist() == before


def test_the_array_is_the_one_that_scikit_learn_would_make():
    mixed = Columns(
        names=NAMES, dtypes=("int64", "float64", "int32"), cells=([2**60 + 1, 2], [0.1, 3.0], [1, 2]), rows=2
    )
    for columns in (sample(), sample("float32"), sample("int32"), mixed):
        ours, theirs = estimators.array(columns), frame(columns).to_numpy()
        assert ours.dtype == theirs.dtype
        assert ours.flags.f_contiguous == theirs.flags.f_contiguous
        np.testing.assert_array_equal(ours, theirs)


def test_another_function_is_called_where_the_model_says_so():
    estimator = LogisticRegression().fit(DATA, TARGET)
    found = estimators.find(estimator, "predict_proba")
    assert found is not None
    columns = sample()
    np.testing.assert_array_equal(found.predict(columns), estimator.predict_proba(frame(columns)))
    assert estimators.find(estimator, "score") is None


def test_estimators_without_names_are_called_too():
    estimator = LinearRegression().fit(DATA.to_numpy(), TARGET)
    found = estimators.find(estimator, "predict")
    assert found is not None
    assert found.takes(sample())


class Own(LinearRegression):
    """Might look at the names."""


LEFT = [
    Own(),
    CalibratedClassifierCV(LogisticRegression()),
    make_pipeline(make_column_transformer((StandardScaler(), ["a"]), remainder="passthrough"), SVC()),
    make_pipeline(StandardScaler().set_output(transform="pandas"), SVC()),
    make_pipeline("passthrough", SVC()),
]


@pytest.mark.parametrize("estimator", LEFT, ids=lambda e: str(e)[:40])
def test_estimators_that_may_need_the_names_get_a_frame(estimator: Any):
    estimator.fit(DATA, TARGET)
    assert estimators.find(estimator, "predict") is None


def test_other_columns_than_those_of_the_training_get_a_frame_and_so_its_error():
    found = estimators.find(SVC().fit(DATA, TARGET), "predict")
    assert found is not None
    good = sample()
    assert not found.takes(good._replace(names=("b", "a", "c")))
    assert not found.takes(good._replace(dtypes=("text", "float64", "float64")))
    assert not found.takes(good._replace(dtypes=("bool",) * 3))
    assert not found.takes(good._replace(dtypes=("float32", "float64", "float64")))
