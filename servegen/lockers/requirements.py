"""The requirements of an image: the model's own, plus what serves it. Pure."""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from servegen.errors import LockError
from servegen.lockers.conda import translated
from servegen.redact import redacted
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

UNNEEDED = ("flatbuffers", "packaging", "protobuf")
"""What onnxruntime requires for its tools, and nothing imports that only runs a graph."""
_SHIP = "log a wheel of it with the model, or its folder with code_paths=[…]"
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
    conda_map: Mapping[str, str] = field(default_factory=dict)
    """conda's name → name in the package index."""
    drop_conda: tuple[str, ...] = ()
    """Packages of conda that the image does without."""


def merged_requirements(model: Model, serving: Serving) -> tuple[str, ...]:
    """Sorted requirement lines for the resolver; LockError names the line that cannot be used.

    Those of a model with a uv.lock are in there, and not among these.
    """
    if model.accelerated:
        return _accelerated(model, serving)
    lines: list[str] = []
    own = () if model.uv_lock else model.requirements
    skinny = takes_skinny(model, serving)
    mlflow_seen = False
    for line in (*own, *translated(model, serving.conda_map, serving.drop_conda), *serving.extra):
        requirement = parsed(line, model)
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


def _accelerated(model: Model, serving: Serving) -> tuple[str, ...]:
    """The versions that the proof was made with, and the server, which reads MLmodel by itself."""
    extra = (str(parsed(line, model)) for line in serving.extra)
    lines = [*model.requirements, *extra, *RUNTIMES[serving.runtime], "pyyaml>=6"]
    if serving.grpc:
        lines += ["grpcio>=1.66", "protobuf>=4.25"]
    return tuple(sorted(set(lines), key=str.lower))


def unneeded(model: Model, serving: Serving) -> tuple[str, ...]:
    """Distributions that an image of `model` does without although a wheel requires them."""
    if not model.accelerated or serving.runtime != "uvicorn" or serving.extra:
        # Others may import them.
        return ()
    return tuple(name for name in UNNEEDED if not (serving.grpc and name == "protobuf"))


def constraints(model: Model) -> tuple[str, ...]:
    """The model's constraints for the resolver; LockError names the line that cannot be used."""
    return tuple(str(parsed(line, model)) for line in model.constraints)


def takes_skinny(model: Model, serving: Serving) -> bool:
    """Whether mlflow-skinny is enough to load the model."""
    if serving.mlflow == "auto":
        return all(flavor.name in SKINNY_FLAVORS for flavor in model.flavors)
    return serving.mlflow == "skinny"


def _mlflow(requirement: Requirement, *, skinny: bool) -> str:
    # Extras are those of the full MLflow, and a wheel is what it is.
    if not skinny or requirement.extras or requirement.url:
        return str(requirement)
    marker = f" ; {requirement.marker}" if requirement.marker else ""
    return f"mlflow-skinny{requirement.specifier}{marker}"


def parsed(line: str, model: Model) -> Requirement:
    """The requirement in `line`; LockError for one that servegen cannot lock."""
    uri = model.pin.uri
    if re.match(r"(-e|--editable)\b", line):
        msg = f"the requirement {line!r} of {uri} is a folder of the machine that logged the model"
        raise LockError(msg, hint=_SHIP)
    if line.startswith("-"):
        msg = f"the requirements of {uri} hold the option {line!r}"
        raise LockError(
            msg, hint="give indexes on the command line or in servegen.yaml: index_url, extra_index_urls"
        )
    # pip allows options behind a requirement; hashes are made anew for the target.
    line = re.split(r"\s+--(?:hash|config-settings|global-option)", line)[0]
    if re.search(r"(^|@\s*)(git|hg|svn|bzr)\+", line):
        msg = f"the requirement {line!r} of {uri} is built from a repository"
        raise LockError(msg, hint=f"{_SHIP}, or name a released version")
    try:
        requirement = Requirement(line)
    except InvalidRequirement as exc:
        if re.match(r"file:|\.{0,2}[/\\]|[A-Za-z]:[/\\]", line) or line.endswith((".whl", ".tar.gz", ".zip")):
            raise _outside(line, uri) from exc
        msg = f"the requirement {line!r} of {uri} cannot be read"
        raise LockError(
            msg, hint="log the model with requirements such as scikit-learn==1.9.1 (PEP 508)"
        ) from exc
    if requirement.url:
        _check_url(line, requirement.url, model)
    return requirement


def _check_url(line: str, url: str, model: Model) -> None:
    parts = urllib.parse.urlsplit(url)
    path, digest = urllib.parse.unquote(parts.path), parts.fragment.removeprefix("sha256=")
    if not parts.scheme and any(f.path == path and f.sha256 == digest for f in model.files):
        return
    if parts.scheme not in ("http", "https"):
        raise _outside(line, model.pin.uri)
    if redacted(url) != url:
        msg = f"the requirement {line!r} of {model.pin.uri} has a login or a query in its URL"
        raise LockError(msg, hint="it would be in the image: log the model with the URL alone, use .netrc")
    if not parts.path.endswith(".whl"):
        msg = f"the requirement {line!r} of {model.pin.uri} is no wheel"
        raise LockError(msg, hint=_SHIP)


def _outside(line: str, uri: str) -> LockError:
    msg = f"the requirement {line!r} of {uri} is not in the model folder"
    return LockError(msg, hint=_SHIP)


def describe(lines: Iterable[str]) -> str:
    """The requirement lines as one line for a message, cut when long."""
    text = ", ".join(lines)
    return text if len(text) <= 200 else text[:199] + "…"
