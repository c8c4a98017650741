"""The step before the lock that `--accelerate` asks for: the files of the model become the converted ones."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

from servegen.job import Job, indexes
from servegen.progress import Progress
from servegen.values.acceleration import FORM_FILE, MODEL_FILE, Accelerated, Refused
from servegen.values.model import Model, ModelIndexes, TreeFile

if TYPE_CHECKING:
    from servegen.accelerate.running import Place, Wishes

EXAMPLE = "serving_input_example.json"
_AS_LOGGED = "the model is packaged as it was logged, not accelerated"
_KEPT = ("MLmodel", "registered_model_meta", EXAMPLE)
"""Files of the original that the server reads, too."""
_PINNED = ("numpy", "onnxruntime")
"""What runs the graph: in the versions with which the proof was made."""


def accelerated(job: Job, model: Model, progress: Progress) -> tuple[Job, Model]:
    """Job and model to go on with: converted where that is wanted and proved, else both as they are."""
    if job.config.accelerate == "off":
        return job, model
    # Here, because it needs numpy, for which nobody who does not convert should wait.
    from servegen.accelerate.report import counterexample
    from servegen.accelerate.running import Wishes, accelerate

    as_usual = replace(job, config=replace(job.config, accelerate="off"))
    if job.config.serving.lenient:
        progress.warn(f"{_AS_LOGGED}: serving.lenient: only MLflow casts as MLflow does")
        return as_usual, model
    wishes = Wishes()
    folder = job.cache.absolute() / "accelerated" / _key(model, wishes)
    if not (folder / FORM_FILE).is_file():
        result = accelerate(model, wishes, place(job, model), progress)
        if isinstance(result, Refused):
            shown = counterexample(result)
            why = f"{_AS_LOGGED}: {result.step}: {result.reason}"
            progress.warn(f"{why}\n{shown}" if shown else why)
            return as_usual, model
        _keep(folder, model, result)
    return job, _converted(model, folder)


def advice(model: Model) -> str | None:
    """What to say at the end about a model that was not asked to be converted and may well be."""
    from servegen.accelerate.running import candidate

    if model.accelerated or candidate(model) is None or model.signature is None:
        return None
    if json.loads(model.signature).get("params") or any(f.path.startswith("code/") for f in model.files):
        return None
    return "this kind of model can be tried as ONNX, smaller and faster: servegen package --accelerate onnx"


def place(job: Job, model: Model) -> Place:
    """Where the job's conversions are done."""
    from servegen.accelerate.running import Place

    return Place(
        scratch=job.cache.absolute() / "accelerate",
        indexes=indexes(job, model),
        env=job.environment.variables,
    )


def _key(model: Model, wishes: Wishes) -> str:
    """Equal for equal results: of what is converted, how, and by which code."""
    from servegen.accelerate.running import tools

    facts = [model.pin.digest, model.python, list(model.requirements), asdict(wishes), tools()]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]


def _keep(folder: Path, model: Model, result: Accelerated) -> None:
    """Write the files of the converted model as `folder`, all or nothing."""
    from servegen.accelerate.report import document

    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".new-") as scratch:
        new = Path(scratch) / "model"
        new.mkdir()
        for name in _KEPT:
            if (model.path / name).is_file():
                (new / name).write_bytes((model.path / name).read_bytes())
        (new / MODEL_FILE).write_bytes(result.converted.model)
        (new / FORM_FILE).write_text(document(result), encoding="utf-8")
        if not folder.exists():
            os.rename(new, folder)  # noqa: PTH104  Path.rename would be the same with a result nobody needs


def _converted(model: Model, folder: Path) -> Model:
    """`model` with the files, requirements and proof in `folder`."""
    facts = json.loads((folder / FORM_FILE).read_text(encoding="utf-8"))
    proof = facts["proof"]
    short = {
        "format": "onnx",
        "rows": proof["total"],
        "worst": proof["worst_relative_difference"],
        "tolerance": proof["tolerance"],
        "seed": proof["seed"],
        "onnxruntime": proof["libraries"]["onnxruntime"],
    }
    files = [
        TreeFile(
            path=path.name, size=path.stat().st_size, sha256=hashlib.sha256(path.read_bytes()).hexdigest()
        )
        for path in sorted(folder.iterdir())
    ]
    return replace(
        model,
        path=folder,
        files=tuple(files),
        requirements=tuple(f"{name}=={proof['libraries'][name]}" for name in _PINNED),
        constraints=(),
        indexes=ModelIndexes(),
        conda=(),
        uv_lock=False,
        accelerated=json.dumps(short, separators=(",", ":")),
    )
