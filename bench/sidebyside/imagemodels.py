"""Save the models of the packaging benchmark.

python imagemodels.py FOLDER NAME...      runs in the benchmark's own environment; FOLDER/NAME
"""

from __future__ import annotations

import random
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

BIG = 500_000_000
_BIG_CODE = """
import mlflow
class Model(mlflow.pyfunc.PythonModel):
    def load_context(self, context):
        with open(context.artifacts["weights"], "rb") as file:
            self.bias = file.read(1)[0]
    def predict(self, context, model_input, params=None):
        return [float(self.bias)] * len(model_input)
mlflow.models.set_model(Model())
"""


def main(folder: Path, names: list[str]) -> None:
    """Write every model."""
    for name in names:
        place = folder / name
        shutil.rmtree(place, ignore_errors=True)
        folder.mkdir(parents=True, exist_ok=True)
        MODELS[name](place)


def iris(place: Path) -> None:
    """A logistic regression."""
    import mlflow.sklearn
    from sklearn.linear_model import LogisticRegression

    frame, target = _flowers()
    model = LogisticRegression(max_iter=1000).fit(frame, target)
    mlflow.sklearn.save_model(model, place, **_facts(frame, model.predict(frame)))


def lightgbm(place: Path) -> None:
    """Boosted trees of LightGBM, which needs a system library."""
    import mlflow.lightgbm
    from lightgbm import LGBMClassifier

    frame, target = _flowers()
    model = LGBMClassifier(n_estimators=20, verbose=-1).fit(frame, target)
    mlflow.lightgbm.save_model(model, place, **_facts(frame, model.predict(frame)))


def big(place: Path) -> None:
    """A pyfunc with a file of 500 MB that does not compress, as weights do not."""
    import mlflow.pyfunc
    import pandas as pd

    weights, code = place.parent / "weights.bin", place.parent / "code.py"
    bits = random.Random(1)
    with weights.open("wb") as file:
        for _ in range(BIG // 1_000_000):
            file.write(bits.randbytes(1_000_000))
    code.write_text(_BIG_CODE)
    frame = pd.DataFrame({"x": [1.0]})
    facts = _facts(frame, [1.0]) | {"pip_requirements": ["mlflow", "pandas", "numpy"]}
    mlflow.pyfunc.save_model(place, python_model=str(code), artifacts={"weights": str(weights)}, **facts)
    weights.unlink()


def _flowers() -> tuple[Any, Any]:
    from sklearn.datasets import load_iris

    data = load_iris(as_frame=True)
    return data.data, data.target


def _facts(frame: Any, answers: Any) -> dict[str, Any]:
    from mlflow.models import infer_signature

    return {"signature": infer_signature(frame, answers), "input_example": frame.head(2)}


MODELS: dict[str, Callable[[Path], None]] = {"iris": iris, "lightgbm": lightgbm, "big": big}

if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
