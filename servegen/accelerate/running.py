"""The stage: convert and prove a model in a process, and where need be an environment, of its own."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path

from servegen.accelerate.child import RESULT_FILE
from servegen.errors import BuildError
from servegen.process import run
from servegen.progress import Progress
from servegen.scratch import scratch_folder
from servegen.uv import Indexes, run_uv, source_failure
from servegen.values.acceleration import MODEL_FILE, Accelerated, Converted, Proof, Refused
from servegen.values.model import Model

LIBRARIES = {
    "sklearn": "scikit-learn",
    "xgboost": "xgboost",
    "lightgbm": "lightgbm",
    "catboost": "catboost",
    "statsmodels": "statsmodels",
    "onnx": "onnx",
}
"""Flavors that can be converted, and the distribution behind each."""
_WITHIN = ("lightgbm",)
"""Libraries whose estimators are converted within those of scikit-learn."""
_SERVER = ("accelerated", "casting", "compare", "encoding", "inputs", "modelfile", "signature", "terms")
"""Modules of the server that the proof runs."""
_TOOLS = ("onnx>=1.17", "onnxruntime>=1.20", "skl2onnx>=1.18", "orjson", "pandas", "mlflow")


@dataclass(frozen=True, kw_only=True)
class Wishes:
    """How a model is converted and proved."""

    count: int = 5_000
    """Rows drawn at random, beside those that the model itself asks for."""
    seed: int = 0
    tolerance: float = 1e-6
    calls: int = 200
    """One-row calls whose time is measured."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where the work is done."""

    scratch: Path
    indexes: Indexes
    env: Mapping[str, str]


def candidate(model: Model) -> str | None:
    """The flavor by which `model` may be converted, decided without a look into it; None for no such."""
    return next((each.name for each in model.flavors if each.name in LIBRARIES), None)


def accelerate(model: Model, wishes: Wishes, place: Place, progress: Progress) -> Accelerated | Refused:
    """`model` as ONNX with its proof, or why it stays as it is."""
    flavor = candidate(model)
    if flavor is None:
        names = ", ".join(each.name for each in model.flavors)
        return Refused(step=f"flavors {names}", reason=f"converted are {', '.join(LIBRARIES)}")
    with scratch_folder(place.scratch, "accelerate-") as folder:
        python, path = sys.executable, None
        if other := _differences(model, flavor):
            progress.step(f"making an environment for the conversion: {other}")
            failed = _environment(model, folder, place, progress)
            if failed is not None:
                return failed
            python, path = str(folder / "env" / "bin" / "python"), folder / "code"
        progress.step("converting the model and comparing it with the original")
        return _result(model, wishes, python, path, folder, place, progress)


def _differences(model: Model, flavor: str) -> str | None:
    """What keeps the model from being loaded in this environment."""
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    if model.python_minor != here:
        return f"the model is for Python {model.python_minor}"
    wanted = next(each.version for each in model.flavors if each.name == flavor)
    for name in (LIBRARIES[flavor], "onnxruntime", "onnx"):
        # XGBoost has a second distribution, without parts for GPUs.
        found = _installed(name) or _installed(f"{name}-cpu")
        if found is None:
            return f"{name} is not installed"
        if name == LIBRARIES[flavor] and flavor != "onnx" and wanted not in (None, found):
            return f"the model is of {name} {wanted}"
    for line in model.requirements if flavor == "sklearn" else ():
        name, _, version = line.partition("==")
        if name in _WITHIN and (_installed(name) is None or version not in ("", _installed(name))):
            return f"the model needs {line}"
    return None


def tools() -> list[str]:
    """What decides a result beside the model: versions of libraries here, and our own code."""
    package, digest = Path(__file__).parent.parent, hashlib.sha256()
    server = [package / "server" / f"{name}.py" for name in _SERVER]
    for path in [*sorted((package / "accelerate").rglob("*.py")), *server]:
        digest.update(path.read_bytes())
    names = (*LIBRARIES.values(), "skl2onnx", "onnxruntime", "numpy", "pandas", "mlflow")
    return [f"{name} {_installed(name)}" for name in names] + [digest.hexdigest()]


def _installed(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _environment(model: Model, folder: Path, place: Place, progress: Progress) -> Refused | None:
    """The model's requirements and our tools, in `folder`; why not, when it cannot be had."""
    target = folder / "env"
    made = run_uv(
        ["venv", "--quiet", str(target)], place.indexes, folder, progress, python=model.python_minor
    )
    if made.status:
        return Refused(step="environment", reason=f"there is no Python {model.python_minor} here")
    wanted = folder / "requirements.txt"
    lines = [line for line in model.requirements if "@" not in line or "://" in line]
    wanted.write_text("\n".join([*lines, *_TOOLS]) + "\n", encoding="utf-8")
    limits = folder / "constraints.txt"
    limits.write_text("\n".join(model.constraints) + "\n", encoding="utf-8")
    done = run_uv(
        ["pip", "install", "--quiet", "--requirements", str(wanted), "--constraints", str(limits)],
        place.indexes,
        folder,
        progress,
        python=str(target / "bin" / "python"),
    )
    if done.status:
        if (silent := source_failure(done.stderr)) is not None:
            raise silent
        why = " ".join(re.sub(r"[^\x20-\x7e]+", " ", done.stderr).split())[:400]
        reason = f"the model's requirements cannot be installed together with onnxruntime and skl2onnx: {why}"
        return Refused(step="environment", reason=reason)
    package = Path(__file__).parent.parent
    for name in ("__init__.py", "accelerate", "server", "values"):
        source, copied = package / name, folder / "code" / "servegen" / name
        copied.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, copied, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, copied)
    return None


def _result(
    model: Model,
    wishes: Wishes,
    python: str,
    path: Path | None,
    folder: Path,
    place: Place,
    progress: Progress,
) -> Accelerated | Refused:
    env = dict(place.env)
    if path is not None:
        env["PYTHONPATH"] = str(path)
    argv = [python, "-m", "servegen.accelerate.child", str(model.path.absolute()), str(folder)]
    done = run([*argv, json.dumps(asdict(wishes))], progress=progress, env=env, cwd=folder)
    result = folder / RESULT_FILE
    if done.status or not result.is_file():
        tail = "\n".join(done.stderr.strip().splitlines()[-30:])
        msg = f"converting {model.pin.uri} ended with status {done.status}"
        raise BuildError(msg, hint="package it without --accelerate; -v shows the program", details=tail)
    facts = json.loads(result.read_text(encoding="utf-8"))
    if "refused" in facts:
        return Refused(**facts["refused"])
    converted = Converted(model=(folder / MODEL_FILE).read_bytes(), **facts["converted"])
    return Accelerated(converted=converted, proof=Proof(**facts["proof"]), answer=facts["answer"])
