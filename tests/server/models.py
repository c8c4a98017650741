"""Small MLflow models of known behaviour; also the code of the saved ones ("models from code")."""

import asyncio
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature
from mlflow.protos import databricks_pb2 as codes
from mlflow.pyfunc import PythonModel
from mlflow.types.schema import Array, ColSpec, Map, ParamSchema, ParamSpec, Schema, TensorSpec


def shown(value: Any) -> Any:
    """The type and value of what a model was given."""
    if isinstance(value, pd.DataFrame):
        cells = [[str(name), [shown(v) for v in value[name].tolist()]] for name in value.columns]
        return ["frame", [str(label) for label in value.index], cells]
    if isinstance(value, np.ndarray):
        return ["array", value.dtype.kind, list(value.shape), [shown(v) for v in value.ravel().tolist()]]
    if isinstance(value, dict):
        return ["dict", {str(k): shown(v) for k, v in value.items()}]
    if isinstance(value, (list, tuple)):
        return ["list", [shown(v) for v in value]]
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or value is pd.NaT or value != value:
        return None
    return [type(value).__name__, str(value)]


class Echo(PythonModel):
    """Answers with a picture of its input, or does what the text in it says."""

    # Without type hints: MLflow would derive a signature from them.
    def predict(self, context, model_input, params=None):
        if isinstance(model_input, pd.DataFrame) and "do" in model_input:
            self.act(str(model_input["do"].iloc[0]))
        return {"input": shown(model_input), "params": shown(params)}

    def act(self, what: str) -> None:
        if what == "fail":
            raise ValueError("secret of the model")
        if what == "exit":
            raise SystemExit(3)
        if what == "interrupt":
            raise KeyboardInterrupt
        if what == "cancel":
            raise asyncio.CancelledError
        if what.isupper():
            raise MlflowException(f"refused: {what}", error_code=getattr(codes, what))

    def predict_stream(self, context, model_input, params=None):
        yield {"word": "one"}
        raise ValueError("secret of the model")


SIGNATURES: dict[str, ModelSignature | None] = {
    "mixed": ModelSignature(
        inputs=Schema(
            [
                ColSpec("double", "a"),
                ColSpec("long", "b"),
                ColSpec("string", "c"),
                ColSpec("boolean", "d"),
                ColSpec("integer", "i", required=False),
                ColSpec("float", "f", required=False),
            ]
        )
    ),
    "nested": ModelSignature(
        inputs=Schema(
            [
                ColSpec("datetime", "t"),
                ColSpec("binary", "raw"),
                ColSpec(Array("long"), "ids", required=False),
                ColSpec(Map("double"), "map", required=False),
            ]
        )
    ),
    "do": ModelSignature(inputs=Schema([ColSpec("string", "do")])),
    "tensor": ModelSignature(inputs=Schema([TensorSpec(np.dtype("float32"), (-1, 2))])),
    "named": ModelSignature(
        inputs=Schema(
            [TensorSpec(np.dtype("int64"), (-1,), "ids"), TensorSpec(np.dtype("float32"), (-1, 2), "vec")]
        )
    ),
    "params": ModelSignature(
        inputs=Schema([ColSpec("double", "a")]),
        params=ParamSchema([ParamSpec("k", "double", 1.5), ParamSpec("l", "long", [1], (-1,))]),
    ),
    "free": None,
}


def save_echo(folder: Path, name: str) -> Path:
    """Save the echo model with the signature `name`."""
    mlflow.pyfunc.save_model(
        folder / name,
        python_model=str(Path(__file__).resolve()),
        signature=SIGNATURES[name],
        pip_requirements=["mlflow"],
        streamable=name == "free",
    )
    return folder / name


def save_linear(folder: Path) -> Path:
    """Save a scikit-learn model that answers 1 + 2·x1 + 3·x2, with an example."""
    from sklearn.linear_model import LinearRegression

    x = pd.DataFrame({"x1": [0.0, 1.0, 0.0, 1.0], "x2": [0.0, 0.0, 1.0, 1.0]})
    signature = ModelSignature(
        inputs=Schema([ColSpec("double", "x1"), ColSpec("double", "x2")]),
        outputs=Schema([TensorSpec(np.dtype("float64"), (-1,))]),
    )
    mlflow.sklearn.save_model(
        LinearRegression().fit(x, np.array([1.0, 3.0, 4.0, 6.0])),
        folder / "linear",
        signature=signature,
        input_example=x.head(2),
        pip_requirements=["mlflow", "scikit-learn"],
        serialization_format="cloudpickle",
    )
    return folder / "linear"


if not __name__.startswith("tests."):
    mlflow.models.set_model(Echo())
