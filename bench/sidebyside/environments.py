"""The environments that the servers run in, made once with uv and kept in the cache folder."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from sidebyside.machine import progress

ROOT = Path(__file__).resolve().parents[2]
PYTHON = "3.11"
# What servegen needs, the peers that share its versions, and what the models need.
_SHARED = """\
mlflow
bentoml
uvicorn
uvloop
httptools
orjson
starlette
prometheus-client
scikit-learn
onnxruntime>=1.22
skl2onnx>=1.19
"""
# The distribution of XGBoost without what it brings for GPUs.
_BOOSTING = """\
onnxmltools
lightgbm
xgboost-cpu
"""
_PACKAGING = """\
mlflow
bentoml
scikit-learn
lightgbm
pip
uv
"""
# It pins an old FastAPI, so it cannot share; its workers need a uvloop that still makes an event loop
# unasked. Models are read with the versions that wrote them.
_MLSERVER = """\
mlserver==1.7.1
mlserver-mlflow==1.7.1
mlflow=={mlflow}
numpy=={numpy}
pandas=={pandas}
scikit-learn=={scikit-learn}
onnxruntime=={onnxruntime}
uvloop<0.22
"""


@dataclass(frozen=True, kw_only=True)
class Environments:
    """The interpreters of the benchmark."""

    shared: Path
    """mlflow, BentoML, servegen from this checkout, and the bare app."""
    mlserver: Path


def make(cache: Path) -> Environments:
    """Both environments; those that are there already are used again."""
    shared = _environment(cache, "shared", _SHARED, constraints=ROOT / "constraints.txt")
    return _with_mlserver(cache, shared, _MLSERVER, ())


def make_accelerating(cache: Path) -> Environments:
    """The same with libraries of boosted trees, and what converts their models."""
    shared = _environment(cache, "accelerating", _SHARED + _BOOSTING, constraints=ROOT / "constraints.txt")
    further = tuple(name for name in _BOOSTING.split() if name != "onnxmltools")
    pins = "".join(f"{name}=={{{name}}}\n" for name in further)
    return _with_mlserver(cache, shared, _MLSERVER + pins, further)


def _with_mlserver(cache: Path, shared: Path, requirements: str, further: tuple[str, ...]) -> Environments:
    names = ("mlflow", "numpy", "pandas", "scikit-learn", "onnxruntime", *further)
    code = "import sys; from importlib.metadata import version; print(*map(version, sys.argv[1:]))"
    argv = [str(shared), "-c", code, *names]
    found = subprocess.run(argv, check=True, capture_output=True, text=True).stdout.split()
    wanted = requirements.format(**dict(zip(names, found, strict=True)))
    return Environments(shared=shared, mlserver=_environment(cache, "mlserver", wanted))


def make_packaging(cache: Path) -> Path:
    """The interpreter that trains models and writes the peers' build contexts."""
    return _environment(cache, "packaging", _PACKAGING, constraints=ROOT / "constraints.txt")


def child_environ(**further: str) -> dict[str, str]:
    """The environment of a child: this checkout is importable and .pyc files are written and read."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("SERVEGEN_", "PYTHON", "MLFLOW_"))}
    quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "BENTOML_DO_NOT_TRACK": "True", "PYTHONPATH": str(ROOT)}
    return kept | quiet | further


def _environment(cache: Path, name: str, requirements: str, *, constraints: Path | None = None) -> Path:
    text = requirements + (constraints.read_text() if constraints else "")
    place = cache / f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"
    python = place / "bin/python"
    if (place / "complete").is_file():
        return python
    progress(f"making {place} (once)")
    shutil.rmtree(place, ignore_errors=True)
    uv = Path(sys.executable).parent / "uv"
    environ = child_environ()
    subprocess.run([uv, "venv", "--quiet", "--python", PYTHON, place], check=True, env=environ)
    argv = [uv, "pip", "install", "--quiet", "--python", python, "--compile-bytecode", "-r", "-"]
    if constraints:
        argv += ["--constraints", constraints]
    subprocess.run(argv, input=requirements, text=True, check=True, env=environ)
    (place / "complete").touch()
    return python
