"""Models of scikit-learn, served before MLflow is imported, which takes longer than all the rest."""

from __future__ import annotations

import contextlib
import pickle
import threading
from collections.abc import Iterator
from typing import Any

from servegen.server.inputs import Columns, Input, Params
from servegen.server.modelfile import ModelFile
from servegen.server.predictors import Predictor, estimators, imports
from servegen.server.settings import Settings, variables


class DeferredPredictor:
    """Answers columns of numbers by the estimator itself, everything else by MLflow, which comes later."""

    def __init__(
        self, estimator: Any, shortcut: estimators.ArrayEstimator, model: ModelFile, settings: Settings
    ) -> None:
        self._estimator = estimator
        self._shortcut = shortcut
        self._model = model
        self._settings = settings
        self._loading = threading.Lock()
        self._pyfunc: Predictor | None = None

    def predict(self, data: Input, params: Params) -> Any:
        """The model's answer; raises RefusedError when there is none."""
        if isinstance(data, Columns) and self._shortcut.takes(data):
            # What the estimator refuses, MLflow's way refuses as well and says so in MLflow's words.
            with contextlib.suppress(Exception):
                return self._shortcut.predict(data)
        return self._whole().predict(data, params)

    def stream(self, data: Input, params: Params) -> Iterator[Any]:
        """The chunks of a streamed answer."""
        yield from self._whole().stream(data, params)

    def complete(self) -> None:
        """Load MLflow, before a request needs it."""
        self._whole()

    def interrupt(self) -> bool:
        """A thread cannot be stopped."""
        return False

    def _whole(self) -> Predictor:
        if self._pyfunc is None:
            with self._loading:
                if self._pyfunc is None:
                    self._pyfunc = _pyfunc(self._model, self._settings, self._estimator)
        return self._pyfunc


def load(model: ModelFile, settings: Settings) -> Predictor:
    """The predictor for any model; slow."""
    with imports.hurried():
        estimator = _unpickled(model, settings)
        if estimator is not None and model.pickled is not None and model.signature.columns:
            shortcut = estimators.find(estimator, model.pickled.function)
            if shortcut is not None:
                return DeferredPredictor(estimator, shortcut, model, settings)
        return _pyfunc(model, settings, estimator)


def _unpickled(model: ModelFile, settings: Settings) -> Any:
    """The estimator that MLflow would unpickle; None when the model is more than that."""
    allowed = variables().get("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "true").lower() in ("true", "1")
    if model.pickled is None or settings.model_config or not allowed:
        return None
    with model.pickled.path.open("rb") as file:
        return pickle.load(file)  # noqa: S301  the model is code


def _pyfunc(model: ModelFile, settings: Settings, estimator: Any) -> Predictor:
    with imports.hurried():
        # Imports mlflow and pandas.
        from servegen.server.predictors.pyfunc import PyfuncPredictor

        return PyfuncPredictor(model, settings, estimator=estimator)
