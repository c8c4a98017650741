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
    step = f"flavor {flavor}"
    reasons = {
        "it brings Python code of its own (code_paths)": pyfunc.get("code"),
        "it streams": file.streamable,
        "it checks its input by type hints": file.signature.type_hints or file.type_hint_from_example,
    }
    for reason, holds in reasons.items():
        if holds:
            raise Unconvertible(step, reason)
    import mlflow.pyfunc

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            loaded = mlflow.pyfunc.load_model(str(path), suppress_warnings=True)
        except Exception as exc:
            text = " ".join(f"{type(exc).__name__}: {exc}".split())[:200]
            raise Unconvertible(step, f"it cannot be loaded where models are converted: {text}") from exc
    return Loaded(
        flavor=flavor,
        pyfunc=loaded,
        native=getattr(loaded._model_impl, _ATTRIBUTES[flavor], None),
        signature=file.signature,
        function=pyfunc.get("predict_fn", "predict"),
        settings=flavors.get(flavor, {}),
        path=path,
    )
