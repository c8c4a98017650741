"""Any model of MLflow's python_function flavor; the only place that imports mlflow and pandas."""

from __future__ import annotations

import contextlib
import inspect
import logging
import traceback
from collections.abc import Callable, Iterator
from io import BytesIO, StringIO
from typing import Any

import mlflow.pyfunc
import mlflow.sklearn
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.models import Model, validate_schema
from mlflow.pyfunc.context import Context, set_prediction_context
from mlflow.utils.proto_json_utils import dataframe_from_parsed_json, parse_tf_serving_input

from servegen.server.body import plain
from servegen.server.errors import ModelFailedError, RefusedError, bad_request, invalid_params, invalid_schema
from servegen.server.inputs import Arrays, Columns, Csv, Form, Input, Params, Parquet
from servegen.server.modelfile import ModelFile
from servegen.server.predictors import Predictor, estimators
from servegen.server.predictors.frames import frame
from servegen.server.settings import Settings

_log = logging.getLogger("servegen")


class PyfuncPredictor:
    """A model loaded by `mlflow.pyfunc.load_model`."""

    def __init__(self, model: ModelFile, settings: Settings, *, estimator: Any = None) -> None:
        """`estimator` is the one of scikit-learn that was unpickled already."""
        if estimator is None:
            config = dict(settings.model_config) if settings.model_config else None
            # The lock pins what the model was logged with; its own check would only warn about the platform.
            self._model = mlflow.pyfunc.load_model(
                str(model.path), suppress_warnings=True, model_config=config
            )
        else:
            self._model = _around(estimator, model)
        self._schema = self._model.metadata.get_input_schema()
        self._type_hints = model.signature.type_hints
        self._debug = settings.debug_errors
        self._below = self._call_below(model)
        self._estimator = self._find_estimator(model)

    def predict(self, data: Input, params: Params) -> Any:
        """The model's answer; enforcement of MLflow runs only where ours has not."""
        if isinstance(data, (Columns, Arrays)):
            estimator = self._estimator
            if estimator is not None and isinstance(data, Columns) and estimator.takes(data):
                with self._errors():
                    return estimator.predict(data)
            value = frame(data) if isinstance(data, Columns) else data.value
            with self._errors():
                return self._below(value, params)
        value = self._parsed(data)
        if isinstance(data, Form) and data.refusal is not None:
            if self._schema is not None:
                with self._errors():
                    self._enforce(value)
            raise data.refusal
        with self._errors():
            return self._model.predict(value, params=params)

    def stream(self, data: Input, params: Params) -> Iterator[Any]:
        """The chunks that the model's `predict_stream` yields."""
        value = self._parsed(data)
        try:
            with self._errors():
                yield from self._model.predict_stream(value, params=params)
        except RefusedError as refusal:
            cause = refusal.__cause__
            if refusal.status != 500 or cause is None or not _raised_in_mlflow(cause):
                raise
            # MLflow has no better code for a request of no row or several.
            msg = "the model streams the answer to exactly one row"
            raise self._explained(invalid_params(msg), cause) from cause

    def complete(self) -> None:
        """Nothing is left to load."""

    def interrupt(self) -> bool:
        """A thread cannot be stopped."""
        return False

    def _find_estimator(self, model: ModelFile) -> estimators.ArrayEstimator | None:
        metadata = self._model.metadata.metadata or {}
        if model.type_hint_from_example or "dependencies_schemas" in metadata:
            return None
        function = self._model.metadata.flavors["python_function"].get("predict_fn", "predict")
        implementation = getattr(self._model, "_model_impl", None)
        estimator = getattr(implementation, "sklearn_model", None)
        if estimator is None or type(implementation).__module__ != "mlflow.sklearn":
            return None
        return estimators.find(estimator, function)

    def _call_below(self, model: ModelFile) -> Callable[[Any, Params], Any]:
        """What `PyFuncModel.predict` does once the schema is enforced."""
        loaded = self._model
        metadata = loaded.metadata.metadata or {}
        function = getattr(loaded, "_predict_fn", None)
        if function is None or model.type_hint_from_example or "dependencies_schemas" in metadata:
            return lambda value, params: loaded.predict(value, params=params)
        parameter = inspect.signature(function).parameters.get("params")
        takes_params = parameter is not None and parameter.kind is not inspect.Parameter.VAR_KEYWORD
        model_id = loaded.model_id

        def call(value: Any, params: Params) -> Any:
            context = Context()
            if model_id:
                context.update(model_id=model_id)
            with set_prediction_context(context):
                return function(value, params=params) if takes_params else function(value)

        return call

    def _parsed(self, data: Input) -> Any:
        """What MLflow's scoring server would hand to the model's `predict`."""
        try:
            if isinstance(data, Form):
                return self._form(data)
            if isinstance(data, Csv):
                return self._csv(data.text)
            if isinstance(data, Parquet):
                return pd.read_parquet(BytesIO(data.content))
        except Exception as exc:
            raise self._explained(bad_request(_UNREADABLE[type(data)]), exc) from exc
        if isinstance(data, (Columns, Arrays)):
            return frame(data) if isinstance(data, Columns) else data.value
        return plain(data.value)

    def _form(self, form: Form) -> Any:
        value = plain(form.value)
        if form.key.startswith("dataframe_"):
            orient = form.key.removeprefix("dataframe_")
            return dataframe_from_parsed_json(value, pandas_orient=orient, schema=self._schema)
        return parse_tf_serving_input({form.key: value}, schema=self._schema)

    def _enforce(self, value: Any) -> None:
        try:
            validate_schema(value, self._schema)
        except Exception as exc:
            msg = "the input does not fit the model's signature"
            raise invalid_schema(msg) from exc

    def _csv(self, text: str) -> Any:
        if self._schema is None:
            return pd.read_csv(StringIO(text))
        dtypes = dict(zip(self._schema.input_names(), self._schema.pandas_types(), strict=False))
        return pd.read_csv(StringIO(text), dtype=dtypes)

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except RefusedError:
            raise
        except MlflowException as exc:
            raise self._explained(self._refusal(exc), exc) from exc
        except GeneratorExit:
            # Of a stream that is closed.
            raise
        except BaseException as exc:
            # A model may raise anything, KeyboardInterrupt and CancelledError too.
            _log.warning("the model failed", exc_info=True)
            raise self._explained(ModelFailedError(), exc) from exc

    def _refusal(self, exc: MlflowException) -> RefusedError:
        status, code = exc.get_http_status_code(), exc.error_code
        if not _raised_in_mlflow(exc):
            return RefusedError(status, code, exc.message)
        # Its message quotes the input.
        if getattr(exc, "error_class", None) == "SCHEMA_ENFORCEMENT_FAILED":
            ours = invalid_schema("the input does not fit the model's signature")
        elif self._type_hints:
            ours = invalid_params("the input does not fit the type hints of the model")
        else:
            ours = invalid_params("MLflow refused the input of the model")
        return RefusedError(status, code, ours.message, error_class=ours.error_class)

    def _explained(self, refusal: RefusedError, exc: BaseException) -> RefusedError:
        if self._debug:
            refusal.message = getattr(exc, "message", None) or f"{refusal.message} {exc}"
            refusal.stack_trace = "".join(traceback.format_exception(exc))
        return refusal


def _around(estimator: Any, model: ModelFile) -> mlflow.pyfunc.PyFuncModel:
    """What `mlflow.pyfunc.load_model` returns, without reading the pickle once more."""
    meta = Model.load(str(model.path / "MLmodel"))
    return mlflow.pyfunc.PyFuncModel(
        model_meta=meta,
        model_impl=mlflow.sklearn._SklearnModelWrapper(estimator),
        predict_fn=meta.flavors["python_function"].get("predict_fn", "predict"),
        model_id=meta.model_id,
    )


_UNREADABLE = {
    Form: "the input cannot be read with the model's signature",
    Csv: "the body cannot be read as CSV with the types of the model's signature",
    Parquet: "the body cannot be read as a Parquet file",
}


def _raised_in_mlflow(exc: BaseException) -> bool:
    trace = exc.__traceback__
    if trace is None:
        return False
    while trace.tb_next is not None:
        trace = trace.tb_next
    module: str = trace.tb_frame.f_globals.get("__name__", "")
    return module == "mlflow" or module.startswith("mlflow.")


_CHECK: type[Predictor] = PyfuncPredictor
