"""Reading a model folder: MLmodel, its environment files and its example."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import yaml

from servegen.errors import ModelError
from servegen.sources.requirements import Reader, Recorded
from servegen.values.model import Flavor, Model, Pin, TreeFile

SERVABLE = "python_function"
_INSTALLERS = r"(\S+::)?(python|pip|setuptools|wheel)(?![\w.-]).*"
_DAMAGED = "log the model again, or copy it again from where it was saved"


def read_model(path: Path, pin: Pin, files: tuple[TreeFile, ...], python: str | None) -> Model:
    """The model in the folder `path`; `python` overrides the version it was logged with."""
    mlmodel = _mlmodel(path, pin.uri)
    flavors = _flavors(mlmodel, pin.uri)
    if SERVABLE not in flavors:
        found = ", ".join(sorted(flavors)) or "none"
        msg = f"model {pin.uri} has no flavor servegen can serve (found: {found})"
        raise ModelError(
            msg, hint=f"log it with a flavor that adds {SERVABLE}, such as mlflow.sklearn or mlflow.pyfunc"
        )
    recorded = _recorded(Reader(root=path, files=files, uri=pin.uri))
    return Model(
        pin=pin,
        path=path,
        files=files,
        flavors=tuple(Flavor(name=n, version=_library_version(n, f)) for n, f in sorted(flavors.items())),
        signature=_signature(mlmodel, pin.uri),
        serving_example=_serving_example(path, mlmodel),
        python=python or _python(path, flavors[SERVABLE], pin.uri),
        mlflow=_text(mlmodel.get("mlflow_version")),
        requirements=tuple(recorded.lines),
        constraints=tuple(recorded.constraints),
        indexes=recorded.indexes,
        conda=_conda(path),
        # A model whose wheels were added later has them in requirements.txt only.
        uv_lock=_has_uv_lock(path) and not mlmodel.get("wheels"),
    )


def model_facts(path: Path, uri: str) -> dict[str, str | None]:
    """What MLmodel itself says of where it comes from: `run_id` and `model_id`."""
    mlmodel = _mlmodel(path, uri)
    return {"run_id": _text(mlmodel.get("run_id")), "model_id": _text(mlmodel.get("model_id"))}


def _mlmodel(path: Path, uri: str) -> dict[str, Any]:
    file = path / "MLmodel"
    if not file.is_file():
        msg = f"{uri} holds no MLmodel file"
        raise ModelError(msg, hint="name the folder that mlflow.<flavor>.save_model or log_model wrote")
    value = _yaml(file)
    if not isinstance(value, dict):
        msg = f"the MLmodel file of {uri} is not a mapping"
        raise ModelError(msg, hint=_DAMAGED)
    return value


def _flavors(mlmodel: dict[str, Any], uri: str) -> dict[str, dict[str, Any]]:
    flavors = mlmodel.get("flavors")
    if not isinstance(flavors, dict) or not all(isinstance(f, dict) for f in flavors.values()):
        msg = f"the MLmodel file of {uri} lists no flavors"
        raise ModelError(msg, hint=_DAMAGED)
    return {str(name): config for name, config in flavors.items()}


def _signature(mlmodel: dict[str, Any], uri: str) -> str | None:
    value = mlmodel.get("signature")
    if value is None:
        return None
    # MLflow writes JSON texts. Anything else could not be used, and YAML's aliases could make it endless.
    if not isinstance(value, dict) or not all(
        isinstance(name, str) and isinstance(entry, str | None) for name, entry in value.items()
    ):
        msg = f"the signature in the MLmodel file of {uri} is not one that MLflow wrote"
        raise ModelError(msg, hint=_DAMAGED)
    return json.dumps(value, sort_keys=True, separators=(",", ":")) if any(value.values()) else None


def _library_version(name: str, flavor: dict[str, Any]) -> str | None:
    for key in (
        f"{name}_version",
        {"sklearn": "sklearn_version", "lightgbm": "lgb_version", "xgboost": "xgb_version"}.get(name),
    ):
        if key and (version := _text(flavor.get(key))):
            return version
    return None


def _serving_example(path: Path, mlmodel: dict[str, Any]) -> str | None:
    info = mlmodel.get("saved_input_example_info")
    name = _text(info.get("serving_input_path")) if isinstance(info, dict) else None
    file = path / (name or "serving_input_example.json")
    try:
        if not file.resolve().is_relative_to(path.resolve()) or not file.is_file():
            return None
        text = file.read_text(encoding="utf-8")
        json.loads(text)
    except (ValueError, RecursionError) as exc:
        msg = f"{file.name} of the model is no JSON"
        raise ModelError(msg, hint=_DAMAGED) from exc
    return text


def _python(path: Path, pyfunc: dict[str, Any], uri: str) -> str:
    env = _yaml(path / "python_env.yaml")
    if isinstance(env, dict) and _is_version(env.get("python")):
        return str(env["python"])
    if _is_version(pyfunc.get("python_version")):
        return str(pyfunc["python_version"])
    for line in _conda_dependencies(path):
        if isinstance(line, str) and (
            match := re.fullmatch(r"python\s*=+\s*([0-9]+\.[0-9]+(\.[0-9]+)?)(=.*)?", line)
        ):
            return match[1]
    msg = f"model {uri} names no Python version"
    raise ModelError(msg, hint="--python 3.11")


def _is_version(value: object) -> bool:
    return isinstance(value, str | float) and bool(re.fullmatch(r"[0-9]+\.[0-9]+(\.[0-9a-z]+)?", str(value)))


def _recorded(reader: Reader) -> Recorded:
    file = reader.root / "requirements.txt"
    if file.is_file():
        return reader.file(file)
    for entry in _conda_dependencies(reader.root):
        if isinstance(entry, dict) and isinstance(entry.get("pip"), list):
            return reader.texts([text for line in entry["pip"] if (text := _text(line))], "conda.yaml")
    if _has_uv_lock(reader.root):
        return Recorded()
    msg = f"model {reader.uri} records no Python requirements"
    raise ModelError(msg, hint="log it with MLflow 1.25 or newer, or with pip_requirements=[…]")


def _has_uv_lock(path: Path) -> bool:
    return (path / "uv.lock").is_file() and (path / "pyproject.toml").is_file()


def _conda(path: Path) -> tuple[str, ...]:
    found = [
        text for entry in _conda_dependencies(path) if not isinstance(entry, dict) and (text := _text(entry))
    ]
    return tuple(text for text in found if not re.fullmatch(_INSTALLERS, text.strip()))


def _conda_dependencies(path: Path) -> list[Any]:
    conda = _yaml(path / "conda.yaml")
    dependencies = conda.get("dependencies") if isinstance(conda, dict) else None
    return dependencies if isinstance(dependencies, list) else []


def _yaml(file: Path) -> object:
    if not file.is_file():
        return None
    try:
        return yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, ValueError, RecursionError) as exc:
        # A date that no calendar has is a ValueError.
        mark = getattr(exc, "problem_mark", None)
        where = f" (line {mark.line + 1})" if mark else ""
        msg = f"{file.name} of the model is no YAML{where}"
        raise ModelError(msg, hint=_DAMAGED) from exc


def _text(value: object) -> str | None:
    """A scalar as text, None for nothing; written out, a list of aliases could be endless."""
    if value is None or value == "":
        return None
    if not isinstance(value, str | int | float):
        msg = f"the model's metadata holds a {type(value).__name__} in the place of a text"
        raise ModelError(msg, hint=_DAMAGED)
    return str(value)
