"""What the MLmodel file says about the model, read without MLflow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from servegen.server.signature import Signature

FORM_FILE = "acceleration.json"
"""Beside MLmodel in place of the original: how to feed `model.onnx` and to read it."""


@dataclass(frozen=True, kw_only=True)
class Pickled:
    """An estimator of scikit-learn that is all of a model."""

    path: Path
    function: str
    """The method that answers."""


@dataclass(frozen=True, kw_only=True)
class ModelFile:
    """The served model, before it is loaded."""

    path: Path
    name: str
    version: str
    flavor: str
    """The library behind it, such as `sklearn`."""
    run_id: str
    mlflow_version: str
    """The installed one, else the one that saved the model."""
    signature: Signature
    example: bytes | None
    """serving_input_example.json: a body for `/invocations`."""
    streamable: bool
    type_hint_from_example: bool
    threads: int
    """How many calls the model takes at a time."""
    batchable: bool
    """Whether requests may be merged: the answer to a row does not depend on the rows beside it."""
    pickled: Pickled | None = None
    """None when the model is anything else, or has code, data or configuration of its own."""
    accelerated: bool = False
    """Whether a converted model lies beside MLmodel, and nothing of the original."""


def read(path: Path, *, name: str | None, version: str | None) -> ModelFile:
    """The model in the folder `path`; raises ValueError when that is no MLflow model for pyfunc."""
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        mlmodel = yaml.load((path / "MLmodel").read_bytes(), loader)  # noqa: S506  a safe one
    except FileNotFoundError:
        msg = f"{path} has no MLmodel file; set SERVEGEN_MODEL to the folder of an MLflow model"
        raise ValueError(msg) from None
    except yaml.YAMLError as exc:
        msg = f"{path}/MLmodel is not YAML: {exc}"
        raise ValueError(msg) from exc
    flavors: Mapping[str, Any] = mlmodel.get("flavors") or {}
    pyfunc = flavors.get("python_function")
    if pyfunc is None:
        msg = f"the model in {path} has no python_function flavor (found: {', '.join(flavors) or 'none'})"
        raise ValueError(msg)
    registered = path / "registered_model_meta"
    registration = yaml.load(registered.read_bytes(), loader) if registered.exists() else {}  # noqa: S506  as above
    facts = mlmodel.get("metadata") or {}
    return ModelFile(
        path=path,
        name=name or registration.get("model_name") or path.resolve().name,
        version=version or str(registration.get("model_version") or "1"),
        flavor=next((f for f in flavors if f != "python_function"), "python_function"),
        run_id=mlmodel.get("run_id") or "",
        mlflow_version=_installed() or mlmodel.get("mlflow_version") or "unknown",
        signature=Signature.parse(
            mlmodel.get("signature"), type_hints=bool(mlmodel.get("is_signature_from_type_hint"))
        ),
        example=_example(path, mlmodel.get("saved_input_example_info") or {}),
        streamable=bool(pyfunc.get("streamable")),
        type_hint_from_example=bool(mlmodel.get("type_hint_from_example")),
        threads=max(1, int(facts.get("servegen.threads", 1))),
        batchable=str(facts.get("servegen.batchable", "true")).lower() != "false",
        pickled=_pickled(path, mlmodel),
        accelerated=(path / FORM_FILE).is_file(),
    )


def _pickled(path: Path, mlmodel: Mapping[str, Any]) -> Pickled | None:
    pyfunc, sklearn = (mlmodel["flavors"].get(name) or {} for name in ("python_function", "sklearn"))
    if (
        pyfunc.get("loader_module") != "mlflow.sklearn"
        or sklearn.get("serialization_format") not in ("pickle", "cloudpickle")
        or any(flavor.get(key) for flavor in (pyfunc, sklearn) for key in ("code", "config", "data"))
        or pyfunc.get("streamable")
        or not all(str(key).startswith("servegen.") for key in mlmodel.get("metadata") or ())
        or mlmodel.get("is_signature_from_type_hint")
        or mlmodel.get("type_hint_from_example")
    ):
        return None
    file = path / str(pyfunc.get("model_path"))
    return Pickled(path=file, function=pyfunc.get("predict_fn", "predict")) if file.is_file() else None


def _installed() -> str | None:
    try:
        return metadata.version("mlflow-skinny")
    except metadata.PackageNotFoundError:
        return None


def _example(path: Path, info: Mapping[str, Any]) -> bytes | None:
    file = path / info.get("serving_input_path", "serving_input_example.json")
    return file.read_bytes() if file.is_file() else None
