"""A model whose mood is an environment variable: `save(folder)` writes it in MLflow's format."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import mlflow
import mlflow.pyfunc
import pandas as pd
from mlflow.models import infer_signature

_WARM_UP = 10


class Moody(mlflow.pyfunc.PythonModel):  # type: ignore[misc]  # mlflow has no types
    """Doubles numbers; with MOOD=fail every second call fails, with MOOD=slow each takes 200 ms longer.

    Not the first ones, as a server that cannot answer its warm-up never gets ready.
    """

    calls = 0

    def predict(self, context: Any, model_input: pd.DataFrame, params: Any = None) -> pd.Series:
        mood = os.environ.get("MOOD", "good")
        self.calls += 1
        if self.calls <= _WARM_UP:
            mood = "good"
        if mood == "fail" and self.calls % 2:
            msg = "this model is in a bad mood"
            raise RuntimeError(msg)
        if mood == "slow":
            time.sleep(0.2)
        return 2 * model_input["x"]


def save(folder: Path) -> Path:
    """The model's folder, below `folder`."""
    example = pd.DataFrame({"x": [1.0, 2.0]})
    path = folder / "moody"
    mlflow.pyfunc.save_model(
        str(path),
        python_model=Moody(),
        signature=infer_signature(example, 2 * example["x"]),
        input_example=example,
        pip_requirements=["mlflow", "pandas"],
    )
    return path
