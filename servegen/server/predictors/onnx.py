"""Models that were converted to ONNX: numpy and ONNX Runtime alone, without MLflow and pandas."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from typing import Any

import onnxruntime

from servegen.server.accelerated import Form, UnfitError
from servegen.server.errors import ModelFailedError, RefusedError, bad_request
from servegen.server.inputs import Arrays, Columns, Csv, Input, Params, Parquet
from servegen.server.inputs import Form as Untouched
from servegen.server.modelfile import FORM_FILE, ModelFile
from servegen.server.predictors import Predictor
from servegen.server.predictors.loose import LooseTable, LooseTensors
from servegen.server.settings import Settings
from servegen.server.tensors import TensorReader

GRAPH_FILE = "model.onnx"
_log = logging.getLogger("servegen")


class OnnxPredictor:
    """A graph with the form of its inputs and of its answer."""

    def __init__(self, model: ModelFile, settings: Settings) -> None:
        if settings.model_config:
            msg = "the model was converted with its configuration, so SERVING_MODEL_CONFIG cannot change it"
            raise ValueError(msg)
        if settings.lenient:
            msg = "a converted model is fed without MLflow, so SERVEGEN_LENIENT cannot be true"
            raise ValueError(msg)
        self._form = Form.load(model.path / FORM_FILE)
        self._session = session(model.path / GRAPH_FILE)
        self._fetches = self._form.fetches
        columns, tensors = model.signature.columns, model.signature.tensors
        self._table = LooseTable(columns) if columns else None
        self._tensors = LooseTensors(TensorReader(tensors)) if tensors else None
        self._debug = settings.debug_errors
        self._model = model

    def predict(self, data: Input, params: Params) -> Any:  # noqa: ARG002  a converted model has none
        """The model's answer; raises RefusedError where the original raises an error."""
        if not isinstance(data, (Columns, Arrays)):
            data = self._read(data)
        try:
            if isinstance(data, Columns):
                cells = dict(zip(data.names, data.cells, strict=True))
                feeds = self._form.feeds(cells, data.rows)
            else:
                feeds = self._form.tensors(data.value)
            return self._form.result(self._session.run(self._fetches, feeds))
        except RefusedError:
            raise
        except UnfitError as exc:
            raise self._explained(exc) from exc
        except Exception as exc:
            _log.warning("the model failed", exc_info=True)
            raise self._explained(exc) from exc

    def usual(self) -> bytes:
        """The body of a request by which to measure the model: its example, or a row that is made up."""
        return self._model.example or self._form.request(self._model.signature)

    def stream(self, data: Input, params: Params) -> Iterator[Any]:
        """A converted model does not stream: its answer is the only chunk."""
        yield self.predict(data, params)

    def complete(self) -> None:
        """Nothing is left to load."""

    def interrupt(self) -> bool:
        """A thread cannot be stopped."""
        return False

    def _read(self, data: Input) -> Columns | Arrays:
        """The columns or arrays of a request that is not written as usual."""
        if isinstance(data, Parquet):
            msg = "the body cannot be read as a Parquet file"
            raise bad_request(msg)
        if isinstance(data, Csv) and self._table is not None:
            return self._table.csv(data.text)
        if isinstance(data, Untouched):
            if self._table is not None:
                return self._table.form(data)
            if self._tensors is not None:
                return self._tensors.form(data)
        msg = "the model takes rows of columns or tensors"
        raise bad_request(msg)

    def _explained(self, exc: Exception) -> RefusedError:
        refusal = ModelFailedError()
        if self._debug:
            refusal.message = f"{refusal.message} {exc}"
        return refusal


def session(path: Any) -> Any:
    """The graph at `path`, run by the calling thread alone: one row gains nothing from a second one."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # An arena keeps what the largest request has needed.
    options.enable_cpu_mem_arena = False
    with contextlib.suppress(AttributeError):
        onnxruntime.disable_telemetry_events()
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


_CHECK: type[Predictor] = OnnxPredictor
