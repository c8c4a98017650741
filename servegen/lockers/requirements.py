"""The requirements of an image: the model's own, plus what serves it. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from servegen.errors import LockError
from servegen.values.model import Model

_SERVER = (
    "httptools>=0.6",
    "orjson>=3.10",
    "prometheus-client>=0.20",
    "uvicorn>=0.30",
    "uvloop>=0.20",
)
RUNTIMES: dict[str, tuple[str, ...]] = {
    # Lower bounds: without them a resolver may walk back to releases that have no wheel for the target.
    "bentoml": (*_SERVER, "bentoml>=1.4.39"),
    "uvicorn": _SERVER,
}
"""What each runtime needs beside the model's own requirements."""

SKINNY_FLAVORS = frozenset(
    {
        "catboost",
        "keras",
        "lightgbm",
        "onnx",
        "prophet",
        "python_function",
        "pytorch",
        "sklearn",
        "spacy",
        "statsmodels",
        "tensorflow",
        "xgboost",
    }
)
"""Flavors whose loaders work with mlflow-skinny."""

_BUILD_ONLY = frozenset({"pip", "setuptools", "wheel"})


@dataclass(frozen=True, kw_only=True)
class Serving:
    """How the model is to be served, as far as requirements depend on it."""

    runtime: str
    mlflow: str = "auto"
    """`auto`, `skinny` or `full`."""
    grpc: bool = False
    """Whether the server speaks gRPC too."""
    extra: tuple[str, ...] = ()
    """Requirement lines the user adds."""


def merged_requirements(model: Model, serving: Serving) -> tuple[str, ...]:
    """Sorted requirement lines for the resolver; LockError names the line that cannot be used."""
    lines: list[str] = []
    skinny = _takes_skinny(model, serving)
    mlflow_seen = False
    for line in (*model.requirements, *serving.extra):
        requirement = _parse(line, model)
        name = canonicalize_name(requirement.name)
        if name in _BUILD_ONLY:
            continue
        if name in ("mlflow", "mlflow-skinny"):
            mlflow_seen = True
            lines.append(_mlflow(requirement, skinny=skinny or name == "mlflow-skinny"))
        else:
            lines.append(str(requirement))
    if not mlflow_seen:
        version = f"=={model.mlflow}" if model.mlflow else ">=3"
        lines.append(f"mlflow-skinny{version}" if skinny else f"mlflow{version}")
    named = {canonicalize_name(Requirement(line).name) for line in lines}
    # skinny does not bring what pyfunc itself imports; a model that names them decides their versions.
    lines.extend(name for name in ("numpy", "pandas") if name not in named)
    lines.extend(RUNTIMES[serving.runtime])
    if serving.grpc:
        lines.append("grpcio>=1.66")
    return tuple(sorted(set(lines), key=str.lower))


def _takes_skinny(model: Model, serving: Serving) -> bool:
    if serving.mlflow == "auto":
        return all(flavor.name in SKINNY_FLAVORS for flavor in model.flavors)
    return serving.mlflow == "skinny"


def _mlflow(requirement: Requirement, *, skinny: bool) -> str:
    if not skinny:
        return str(requirement)
    marker = f" ; {requirement.marker}" if requirement.marker else ""
    return f"mlflow-skinny{requirement.specifier}{marker}"


def _parse(line: str, model: Model) -> Requirement:
    if line.startswith("-"):
        msg = f"the requirements of {model.pin.uri} hold the option {line!r}"
        raise LockError(
            msg, hint="give indexes on the command line or in servegen.yaml: index_url, extra_index_url"
        )
    # pip allows options behind a requirement; hashes are made anew for the target.
    line = re.split(r"\s+--(?:hash|config-settings|global-option)", line)[0]
    try:
        return Requirement(line)
    except InvalidRequirement as exc:
        msg = f"the requirement {line!r} of {model.pin.uri} cannot be read"
        raise LockError(
            msg, hint="log the model with requirements such as scikit-learn==1.9.1 (PEP 508)"
        ) from exc


def describe(lines: Iterable[str]) -> str:
    """The requirement lines as one line for a message, cut when long."""
    text = ", ".join(lines)
    return text if len(text) <= 200 else text[:199] + "…"
