"""Train the models of bench/accelerate.py and convert each, with proof.

    python accelerated.py FOLDER        FOLDER/<name>/{model,accelerated,cases.json}

Runs in the benchmark's own environment. A model whose proof fails ends it.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sidebyside.models import _cases, _frame, forest, text

COUNT = 2000
"""Rows drawn at random for the proof, beside those that the model asks for."""


def main(folder: Path) -> None:
    """Write every model."""
    for name, train in MODELS.items():
        place = folder / name
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        cases = train(place / "model")
        (place / "cases.json").write_text(json.dumps(cases))
        convert(place)


def convert(place: Path) -> None:
    """Write `accelerated` beside `model`."""
    from servegen.accelerate.child import accelerate
    from servegen.accelerate.report import document
    from servegen.values.acceleration import FORM_FILE, MODEL_FILE, Refused

    made = accelerate(place / "model", count=COUNT, seed=0, tolerance=1e-6, calls=0)
    if isinstance(made, Refused):
        sys.exit(f"{place.name} cannot be accelerated: {made.step}: {made.reason}")
    folder = place / "accelerated"
    folder.mkdir()
    for name in ("MLmodel", "serving_input_example.json"):
        shutil.copy(place / "model" / name, folder)
    (folder / MODEL_FILE).write_bytes(made.converted.model)
    (folder / FORM_FILE).write_text(document(made))


def boosting(place: Path) -> dict[str, Any]:
    """Gradient boosting of scikit-learn on thirty columns."""
    from sklearn.datasets import load_breast_cancer
    from sklearn.ensemble import GradientBoostingClassifier

    return _frame(GradientBoostingClassifier(random_state=0), load_breast_cancer(as_frame=True), place)


def scaled(place: Path) -> dict[str, Any]:
    """Logistic regression behind a scaler, on thirty columns."""
    from sklearn.datasets import load_breast_cancer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    return _frame(model, load_breast_cancer(as_frame=True), place)


def digits(place: Path) -> dict[str, Any]:
    """A forest on the 64 pixels of a digit."""
    from sklearn.datasets import load_digits
    from sklearn.ensemble import RandomForestClassifier

    return _frame(RandomForestClassifier(100, random_state=0), load_digits(as_frame=True), place)


def xgboost(place: Path) -> dict[str, Any]:
    """Boosted trees of XGBoost on thirty columns."""
    import mlflow.xgboost
    from mlflow.models import infer_signature
    from sklearn.datasets import load_breast_cancer
    from xgboost import XGBClassifier

    data = load_breast_cancer(as_frame=True)
    model = XGBClassifier(n_estimators=100, n_jobs=1).fit(data.data, data.target)
    signature = infer_signature(data.data, model.predict(data.data))
    mlflow.xgboost.save_model(model, place, signature=signature, input_example=data.data[:1])
    return _sampled(place, data)


def lightgbm(place: Path) -> dict[str, Any]:
    """Boosted trees of LightGBM on thirty columns."""
    import mlflow.lightgbm
    from lightgbm import LGBMClassifier
    from mlflow.models import infer_signature
    from sklearn.datasets import load_breast_cancer

    data = load_breast_cancer(as_frame=True)
    frame = data.data.rename(columns=lambda name: name.replace(" ", "_"))
    model = LGBMClassifier(n_jobs=1, verbose=-1).fit(frame, data.target)
    signature = infer_signature(frame, model.predict(frame))
    mlflow.lightgbm.save_model(model, place, signature=signature, input_example=frame[:1])
    data.data = frame
    return _sampled(place, data)


def _sampled(place: Path, data: Any) -> dict[str, Any]:
    return _cases(place, data.data.sample(32, random_state=0), list(data.data.columns))


MODELS: dict[str, Callable[[Path], dict[str, Any]]] = {
    "forest": forest,
    "boosting": boosting,
    "scaled": scaled,
    "text": text,
    "digits": digits,
    "xgboost": xgboost,
    "lightgbm": lightgbm,
}


if __name__ == "__main__":
    main(Path(sys.argv[1]))
