"""What conda.yaml wants from conda itself: translated where the user says so, else refused. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from servegen.errors import LockError
from servegen.values.model import Model

TABLE = {
    "catboost": "catboost",
    "lightgbm": "lightgbm",
    "matplotlib-base": "matplotlib",
    "mlflow": "mlflow",
    "msgpack-python": "msgpack",
    "numpy": "numpy",
    "numpy-base": "numpy",
    "onnxruntime": "onnxruntime",
    "opencv": "opencv-python-headless",
    "pandas": "pandas",
    "pillow": "pillow",
    "prophet": "prophet",
    "py-lightgbm": "lightgbm",
    "py-opencv": "opencv-python-headless",
    "py-xgboost": "xgboost",
    "py-xgboost-cpu": "xgboost",
    "pyarrow": "pyarrow",
    "pyspark": "pyspark",
    "pytables": "tables",
    "pytorch": "torch",
    "pytorch-cpu": "torch",
    "pyyaml": "pyyaml",
    "scikit-learn": "scikit-learn",
    "scipy": "scipy",
    "shap": "shap",
    "spacy": "spacy",
    "statsmodels": "statsmodels",
    "tensorflow": "tensorflow",
    "torchaudio": "torchaudio",
    "torchvision": "torchvision",
    "transformers": "transformers",
    "xgboost": "xgboost",
}
"""conda's name → the same project's name in the package index."""
SYSTEM = {
    "ffmpeg": "ffmpeg",
    "graphviz": "graphviz",
    "libgomp": "libgomp1",
    "libsndfile": "libsndfile1",
    "llvm-openmp": "libgomp1",
    "openjdk": "openjdk-17-jre-headless",
    "sqlite": "libsqlite3-0",
}
"""conda's name → the Debian package of the same library or program."""

_SPEC = re.compile(r"(?:\S+::)?(?P<name>[A-Za-z0-9_.-]+)\s*(?P<version>[^\[\s]*.*)")


def translated(model: Model, conda_map: Mapping[str, str], drop: Collection[str]) -> tuple[str, ...]:
    """Requirement lines for conda's packages; LockError names those that nobody said what to do with."""
    lines, open_ = [], []
    named = {_name(line) for line in model.requirements}
    for entry in model.conda:
        match = _SPEC.fullmatch(entry.strip())
        name = match["name"].lower() if match else entry
        if name in drop:
            continue
        if match and name in conda_map:
            lines.append(_line(entry, conda_map[name], match["version"].strip()))
        elif canonicalize_name(TABLE.get(name, name)) not in named:
            open_.append(name)
    if open_:
        msg = (
            f"conda.yaml of {model.pin.uri} wants {', '.join(open_)} from conda, which servegen does not use"
        )
        raise LockError(msg, hint=", ".join(_way_out(name) for name in open_))
    return tuple(lines)


def _way_out(name: str) -> str:
    if name in SYSTEM:
        return f"--drop-conda {name} --apt {SYSTEM[name]}, which is the same in Debian"
    known = TABLE.get(name)
    return f"--conda-map {name}={known or 'NAME in the package index'} or --drop-conda {name}"


def _line(entry: str, name: str, version: str) -> str:
    """PEP 508 for conda's version: `=1.2` means any 1.2, a second `=` begins the build."""
    terms = []
    for part in version.split(",") if version else []:
        term = part.strip()
        if match := re.fullmatch(r"=?=?\s*([0-9][0-9A-Za-z.!+]*)(\.?\*)?(\s*=\s*\S+)?", term):
            exact = term.startswith("==") or bool(match[3] and not match[2])
            terms.append(f"=={match[1]}" if exact else f"=={match[1].rstrip('.')}.*")
        elif term.startswith("=") or not re.match(r"[<>!~*]", term):
            terms.append(f"=={term}")
        elif term != "*":
            terms.append(term)
    try:
        return str(Requirement(name + ",".join(terms)))
    except InvalidRequirement as exc:
        msg = f"{entry!r} of conda.yaml cannot be translated to {name}"
        raise LockError(msg, hint="--drop-conda and --add-requirement NAME==VERSION instead") from exc


def _name(line: str) -> str:
    return canonicalize_name(re.split(r"[^A-Za-z0-9._-]", line.strip(), maxsplit=1)[0])
