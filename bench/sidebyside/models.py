"""Train the models of the benchmark and write the requests that every server gets.

    python models.py FOLDER        runs in the benchmark's own environment; FOLDER/<name>/{model,cases.json}

`cases.json` has the columns, rows that differ, and what the model itself answers to each.
"""

from __future__ import annotations

import json
import random
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROWS = 32


def main(folder: Path) -> None:
    """Write every model."""
    for name, train in MODELS.items():
        place = folder / name
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        cases = train(place / "model")
        (place / "cases.json").write_text(json.dumps(cases))


def linear(place: Path) -> dict[str, Any]:
    """Logistic regression on iris: hardly any work, so what is left is the server."""
    from sklearn.datasets import load_iris
    from sklearn.linear_model import LogisticRegression

    return _frame(LogisticRegression(max_iter=1000), load_iris(as_frame=True), place)


def forest(place: Path) -> dict[str, Any]:
    """Fifty trees on iris: a fixed cost for each call, whatever the number of rows."""
    from sklearn.datasets import load_iris
    from sklearn.ensemble import RandomForestClassifier

    return _frame(RandomForestClassifier(n_estimators=50, random_state=0), load_iris(as_frame=True), place)


def boosting(place: Path) -> dict[str, Any]:
    """Gradient boosting on thirty columns: a body that takes time to parse."""
    from sklearn.datasets import load_breast_cancer
    from sklearn.ensemble import HistGradientBoostingClassifier

    return _frame(HistGradientBoostingClassifier(random_state=0), load_breast_cancer(as_frame=True), place)


def text(place: Path) -> dict[str, Any]:
    """A pipeline on one column of text."""
    import mlflow.sklearn
    import pandas as pd
    from mlflow.models import infer_signature
    from sklearn.compose import ColumnTransformer
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    words = ("fast", "warm", "kind", "bright"), ("slow", "cold", "rude", "dull")
    common = ("the", "room", "was", "and", "staff", "seemed", "very", "bed", "food", "view")
    draw = random.Random(0)
    rows = [
        " ".join(draw.choice(words[i % 2] if draw.random() < 0.3 else common) for _ in range(20))
        for i in range(400)
    ]
    frame = pd.DataFrame({"text": rows})
    model = make_pipeline(ColumnTransformer([("words", TfidfVectorizer(), "text")]), LogisticRegression())
    model.fit(frame, [i % 2 for i in range(len(rows))])
    signature = infer_signature(frame, model.predict(frame))
    mlflow.sklearn.save_model(model, place, signature=signature, input_example=frame[:1], **_PICKLED)
    return _cases(place, frame[:ROWS], ["text"])


def onnx(place: Path) -> dict[str, Any]:
    """The boosted trees of thirty columns as one ONNX graph on a tensor."""
    import mlflow.onnx
    from mlflow.models import infer_signature
    from skl2onnx import to_onnx
    from sklearn.datasets import load_breast_cancer
    from sklearn.ensemble import GradientBoostingClassifier

    data = load_breast_cancer()
    rows = data.data.astype("float32")
    model = GradientBoostingClassifier(random_state=0).fit(rows, data.target)
    graph = to_onnx(model, rows[:1], options={"zipmap": False})
    answer = {"label": model.predict(rows[:2]), "probabilities": model.predict_proba(rows[:2])}
    signature = infer_signature(rows[:2], answer)
    mlflow.onnx.save_model(graph, place, signature=signature, input_example=rows[:1])
    return _cases(place, rows[:ROWS], None)


MODELS: dict[str, Callable[[Path], dict[str, Any]]] = {
    "linear": linear,
    "forest": forest,
    "boosting": boosting,
    "text": text,
    "onnx": onnx,
}

_PICKLED = {"serialization_format": "cloudpickle"}
"""MLflow's default refuses to read trees back."""


def _frame(model: Any, data: Any, place: Path) -> dict[str, Any]:
    """Fit, save and ask a model whose input is a frame of numbers."""
    import mlflow.sklearn
    from mlflow.models import infer_signature

    model.fit(data.data, data.target)
    signature = infer_signature(data.data, model.predict(data.data))
    mlflow.sklearn.save_model(model, place, signature=signature, input_example=data.data[:1], **_PICKLED)
    # Rows of all classes; the data sets are sorted by class.
    return _cases(place, data.data.sample(ROWS, random_state=0), list(data.data.columns))


def _cases(place: Path, rows: Any, columns: list[str] | None) -> dict[str, Any]:
    import mlflow.pyfunc

    model = mlflow.pyfunc.load_model(str(place))
    answers = []
    for i in range(len(rows)):
        answer = model.predict(rows[i : i + 1])
        answers.append(float((answer["label"] if isinstance(answer, dict) else answer)[0]))
    values = rows.to_numpy() if columns else rows
    return {"columns": columns, "rows": values.tolist(), "answers": answers}


if __name__ == "__main__":
    main(Path(sys.argv[1]))
