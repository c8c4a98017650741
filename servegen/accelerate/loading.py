"""A model folder → the model in this process, with the library's own object in it."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

from servegen.accelerate.convert import Loaded, module_of
from servegen.accelerate.graph import Unconvertible
from servegen.server.modelfile import read

_ATTRIBUTES = {
    "sklearn": "sklearn_model",
    "xgboost": "xgb_model",
    "lightgbm": "lgb_model",
    "catboost": "cb_model",
    "statsmodels": "statsmodels_model",
    "onnx": "rt",
}
"""Where the wrapper of MLflow keeps what it wraps."""


def load(path: Path) -> Loaded:
    """The model in the folder `path`; raises Unconvertible for a flavor that is not converted."""
    import yaml

    mlmodel = yaml.safe_load((path / "MLmodel").read_text(encoding="utf-8"))
    file = read(path, name=None, version=None)
    flavors: dict[str, Any] = mlmodel["flavors"]
    pyfunc = flavors["python_function"]
    flavor = str(pyfunc.get("loader_module", "")).removeprefix("mlflow.")
    module_of(flavor)
    if pyfunc.get("code") or file.streamable or file.signature.type_hints or file.type_hint_from_example:
        step = f"flavor {flavor}"
        raise Unconvertible(step, "it brings Python code, streams, or checks its input by type hints")
    import mlflow.pyfunc

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        loaded = mlflow.pyfunc.load_model(str(path), suppress_warnings=True)
    return Loaded(
        flavor=flavor,
        pyfunc=loaded,
        native=getattr(loaded._model_impl, _ATTRIBUTES[flavor], None),
        signature=file.signature,
        function=pyfunc.get("predict_fn", "predict"),
        settings=flavors.get(flavor, {}),
        path=path,
    )
