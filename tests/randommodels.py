"""Random models of scikit-learn, converted and compared with themselves.

`python tests/randommodels.py --models 200 --rows 1000000` is the nightly size; the tests take a few of them.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

ROOT = Path(__file__).parent.parent
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))


class Direct:
    """Stands for MLflow's wrapper around an estimator, which only hands a frame on."""

    def __init__(self, model: Any, function: str) -> None:
        self.predict = getattr(model, function)


def loaded(model: Any, frame: Any, function: str = "predict", flavor: str = "sklearn") -> Any:
    from mlflow.models import infer_signature

    from servegen.accelerate.convert import Loaded
    from servegen.server.signature import Signature

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        block = infer_signature(frame).to_dict()
    return Loaded(
        flavor=flavor,
        pyfunc=Direct(model, function),
        native=model,
        signature=Signature.parse(block, type_hints=False),
        function=function,
        settings={},
        path=Path("no example"),
    )


def frame(random: np.random.Generator, rows: int = 300) -> pd.DataFrame:
    """Numbers of several sizes, some missing, whole numbers, truth values, and categories as text."""
    columns: dict[str, Any] = {}
    for number in range(random.integers(2, 5)):
        values = random.normal(random.normal(0, 5), 10.0 ** random.integers(-3, 4), rows)
        if random.random() < 0.4:
            values[random.random(rows) < 0.1] = np.nan
        columns[f"x{number}"] = values
    for number in range(random.integers(0, 3)):
        columns[f"n{number}"] = random.integers(-5, 10 ** random.integers(1, 6), rows)
    if random.random() < 0.3:
        columns["flag"] = random.random(rows) < 0.5
    for number in range(random.integers(0, 3)):
        columns[f"c{number}"] = random.choice(["red", "green", "blue", "Ünï", ""], rows)
    return pd.DataFrame(columns)


def model(random: np.random.Generator, data: pd.DataFrame) -> tuple[Any, Any, str]:
    """A pipeline to fit to `data`, its target, and the method that answers."""
    from sklearn import compose, impute, pipeline, preprocessing

    numbers = [c for c in data if data[c].dtype.kind in "fiu"]
    texts = [c for c in data if c.startswith("c")]
    scalers = (
        preprocessing.StandardScaler,
        preprocessing.MinMaxScaler,
        preprocessing.RobustScaler,
        preprocessing.MaxAbsScaler,
    )
    parts = []
    for number, column in enumerate(numbers):
        chain: list[Any] = [impute.SimpleImputer(strategy=str(random.choice(["mean", "median"])))]
        chain += [scalers[random.integers(4)]() for _ in range(random.integers(0, 3))]
        if random.random() < 0.2:
            chain.append(preprocessing.KBinsDiscretizer(4, encode="ordinal"))
        if random.random() < 0.2:
            chain.append(preprocessing.PolynomialFeatures(2))
        parts.append((f"number{number}", pipeline.make_pipeline(*chain), [column]))
    if "flag" in data:
        parts.append(("flag", "passthrough", ["flag"]))
    for column in texts:
        encoders = (
            preprocessing.OneHotEncoder(handle_unknown="ignore"),
            preprocessing.OneHotEncoder(drop="first", handle_unknown="error"),
            preprocessing.OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1),
            preprocessing.OneHotEncoder(min_frequency=0.2, handle_unknown="infrequent_if_exist"),
        )
        parts.append((column, encoders[random.integers(4)], [column]))
    steps: list[Any] = [compose.ColumnTransformer(parts, sparse_threshold=0)]
    steps += [_shared(random) for _ in range(random.integers(0, 3))]
    whole = data[numbers].fillna(0).to_numpy()
    score = ((whole - whole.mean(0)) / (whole.std(0) + 1e-9)).sum(axis=1) + random.normal(size=len(data))
    last, classifies = _last(random)
    if not classifies:
        return pipeline.make_pipeline(*steps, last), score, "predict"
    ranks = np.digitize(score, np.quantile(score, [0.4, 0.8] if random.random() < 0.5 else [0.5]))
    labels: tuple[Any, ...] = (np.array(["a", "b", "c"]), np.array([0, 1, 2]), np.array([7, -3, 40]))
    target = labels[random.integers(3)][ranks]
    proba = hasattr(last, "predict_proba") and random.random() < 0.5
    return pipeline.make_pipeline(*steps, last), target, "predict_proba" if proba else "predict"


def _shared(random: np.random.Generator) -> Any:
    from sklearn import decomposition, feature_selection, preprocessing

    steps = (
        preprocessing.StandardScaler(),
        preprocessing.Normalizer(),
        feature_selection.VarianceThreshold(),
        decomposition.PCA(n_components=2, random_state=0),
        preprocessing.MinMaxScaler(clip=True),
    )
    return steps[random.integers(len(steps))]


def _last(random: np.random.Generator) -> tuple[Any, bool]:
    from sklearn import ensemble, linear_model, naive_bayes, neural_network, tree

    size, depth = int(random.integers(2, 25)), int(random.integers(2, 9))
    boosted = {"max_depth": min(depth, 4), "random_state": 0}
    classifiers = (
        ensemble.RandomForestClassifier(size, max_depth=depth, random_state=0),
        ensemble.ExtraTreesClassifier(size, max_depth=depth, random_state=0),
        ensemble.GradientBoostingClassifier(n_estimators=size, **boosted),
        ensemble.HistGradientBoostingClassifier(max_iter=size, **boosted),
        tree.DecisionTreeClassifier(max_depth=depth, random_state=0),
        linear_model.LogisticRegression(max_iter=100),
        linear_model.RidgeClassifier(),
        naive_bayes.GaussianNB(),
        neural_network.MLPClassifier((6,), max_iter=20, random_state=0),
        ensemble.AdaBoostClassifier(n_estimators=size, random_state=0),
        ensemble.BaggingClassifier(n_estimators=size, max_features=0.7, random_state=0),
    )
    regressors = (
        ensemble.RandomForestRegressor(size, max_depth=depth, random_state=0),
        ensemble.GradientBoostingRegressor(n_estimators=size, **boosted),
        ensemble.HistGradientBoostingRegressor(max_iter=size, **boosted),
        linear_model.Ridge(),
        linear_model.Lasso(alpha=0.01),
        ensemble.AdaBoostRegressor(n_estimators=size, random_state=0),
        ensemble.BaggingRegressor(n_estimators=size, max_features=0.7, random_state=0),
    )
    number = int(random.integers(len(classifiers) + len(regressors)))
    if number < len(classifiers):
        return classifiers[number], True
    return regressors[number - len(classifiers)], False


def judged(seed: int, *, rows: int, count: int, alone: int = 24) -> tuple[str, str]:
    """What becomes of the random model `seed`: converted, refused or wrong; and which it is.

    It is proved with `count` random rows, and then compared on `rows` that the proof has not seen.
    """
    random = np.random.default_rng(seed)
    data = frame(random)
    pipeline, target, function = model(random, data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pipeline.fit(data, target)
    name = f"{seed} {type(pipeline[-1]).__name__}.{function}"
    return compared(name, loaded(pipeline, data, function), rows=rows, count=count, alone=alone, seed=seed)


def compared(
    name: str, given: Any, *, rows: int, count: int, alone: int = 24, seed: int = 0
) -> tuple[str, str]:
    """What becomes of a loaded model: the verdict, and the particulars."""
    from servegen.accelerate.convert import convert
    from servegen.accelerate.graph import Unconvertible
    from servegen.accelerate.proof import CounterexampleError, Pair, ProofOptions, prove
    from servegen.accelerate.rows import Block, columns
    from servegen.values.acceleration import Refused

    try:
        converted, revealed = convert(given)
        proof = prove(given, converted, revealed, ProofOptions(count=count, calls=0, alone=alone))
    except Unconvertible as exc:
        return "refused", f"{name}: {exc}"
    if isinstance(proof, Refused):
        return "refused", f"{name}: {proof.reason}: {proof.counterexample}"
    pair = Pair(given, converted, proof.tolerance)
    known = columns(given.signature, pair.form, revealed, [])
    fresh = np.random.default_rng(seed + 1_000_003)
    try:
        for start in range(0, rows, 50_000):
            size = min(50_000, rows - start)
            pair.compare(Block(kind="fresh", cells=tuple(c.draw(fresh, size) for c in known), rows=size))
    except CounterexampleError as exc:
        return "wrong", f"{name}: {exc}: {pair.body(exc.block)} {exc.original} {exc.accelerated}"
    return "converted", f"{name}: worst {max(pair.worst, proof.worst):.2g}"


def boosters(rows: int) -> Counter[str]:
    """Models of the boosting libraries that are installed, compared on `rows` each."""
    import importlib.util

    from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris

    two, one = (
        load_breast_cancer(return_X_y=True, as_frame=True),
        load_diabetes(return_X_y=True, as_frame=True),
    )
    two[0].iloc[::9, 0] = np.nan
    three = load_iris(return_X_y=True, as_frame=True)
    made: list[tuple[str, Any, Any]] = []
    if importlib.util.find_spec("xgboost"):
        import xgboost

        made += [("xgboost", xgboost.XGBClassifier(n_estimators=40), each) for each in (two, three)]
        made.append(("xgboost", xgboost.XGBRegressor(n_estimators=40), one))
    if importlib.util.find_spec("lightgbm"):
        import lightgbm

        made += [("lightgbm", lightgbm.LGBMClassifier(n_estimators=40, verbose=-1), s) for s in (two, three)]
        made.append(("lightgbm", lightgbm.LGBMRegressor(n_estimators=40, verbose=-1), one))
    if importlib.util.find_spec("catboost"):
        import catboost

        quiet = {"iterations": 40, "verbose": 0, "allow_writing_files": False}
        made += [("catboost", catboost.CatBoostClassifier(**quiet), each) for each in (two, three)]
        made.append(("catboost", catboost.CatBoostRegressor(**quiet), one))
    found: Counter[str] = Counter()
    for flavor, estimator, (data, target) in made:
        verdict, text = compared(
            type(estimator).__name__,
            loaded(estimator.fit(data, target), data, flavor=flavor),
            rows=rows,
            count=5_000,
        )
        found[verdict] += 1
        print(f"{verdict:9}  {text}", flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=int, default=200)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--first", type=int, default=0, help="seed of the first model")
    parser.add_argument("--boosters", action="store_true", help="instead: XGBoost, LightGBM, CatBoost")
    given = parser.parse_args()
    found: Counter[str] = boosters(given.rows) if given.boosters else Counter()
    began = time.monotonic()
    for seed in () if given.boosters else range(given.first, given.first + given.models):
        verdict, text = judged(seed, rows=given.rows, count=5_000)
        found[verdict] += 1
        print(f"{time.monotonic() - began:7.1f} s  {verdict:9}  {text}", flush=True)
    print(dict(found))
    sys.exit(1 if found["wrong"] else 0)


if __name__ == "__main__":
    main()
