"""The Service that BentoML's documentation shows for an MLflow model, with batching and without.

bentoml serve bento_service:Plain        or bento_service:Batched; BENCH_MODEL is the model's folder
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import bentoml
import mlflow.pyfunc
import numpy as np
import pandas as pd

MODEL = Path(os.environ["BENCH_MODEL"])
COLUMNS = json.loads((MODEL.parent / "cases.json").read_text())["columns"]


def predict(model: Any, rows: np.ndarray) -> np.ndarray:
    """The labels of `rows`."""
    answer = model.predict(pd.DataFrame(rows, columns=COLUMNS) if COLUMNS else rows.astype(np.float32))
    return answer["label"] if isinstance(answer, dict) else answer


@bentoml.service
class Plain:
    """One call of the model for each request."""

    def __init__(self) -> None:
        self.model = mlflow.pyfunc.load_model(str(MODEL))

    @bentoml.api
    def predict(self, rows: np.ndarray) -> np.ndarray:
        """Answer one request."""
        return predict(self.model, rows)


@bentoml.service
class Batched:
    """BentoML's adaptive batching."""

    def __init__(self) -> None:
        self.model = mlflow.pyfunc.load_model(str(MODEL))

    @bentoml.api(batchable=True)
    def predict(self, rows: np.ndarray) -> np.ndarray:
        """Answer a batch of requests."""
        return predict(self.model, rows)
