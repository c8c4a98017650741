"""The process that loads, converts and proves a model, among the libraries it was logged with.

It needs numpy, pandas, mlflow, orjson, onnx and onnxruntime beside them, and of servegen only `accelerate`,
`server` and `values`.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from servegen.values.acceleration import FORM_FILE, MODEL_FILE, Accelerated, Refused, Tolerance

RESULT_FILE = "result.json"


def accelerate(path: Path, *, count: int, seed: int, tolerance: float, calls: int) -> Accelerated | Refused:
    """The model in the folder `path` as ONNX with its proof, or why there is none."""
    from servegen.accelerate.convert import convert
    from servegen.accelerate.graph import Unconvertible
    from servegen.accelerate.loading import load
    from servegen.accelerate.proof import ProofOptions, prove

    options = ProofOptions(count=count, seed=seed, tolerance=Tolerance(relative=tolerance), calls=calls)
    try:
        loaded = load(path)
        converted, revealed = convert(loaded)
        proof = prove(loaded, converted, revealed, options)
    except Unconvertible as exc:
        return Refused(step=exc.step, reason=exc.reason)
    if isinstance(proof, Refused):
        return proof
    return Accelerated(converted=converted, proof=proof, answer=_answer(path))


def _answer(path: Path) -> Any:
    """What the original answers to its example, read and written by MLflow; None without an example."""
    from servegen.server import encoding
    from servegen.server.compare import expected
    from servegen.server.modelfile import read
    from servegen.server.settings import Settings

    model = read(path, name=None, version=None)
    if model.example is None:
        return None
    return json.loads(encoding.dumps(expected(model, Settings(model=path))))


def main() -> None:
    """Arguments: the model's folder, a folder for the result, the options as JSON."""
    path, folder = Path(sys.argv[1]), Path(sys.argv[2])
    options: dict[str, Any] = json.loads(sys.argv[3])
    result = accelerate(path, **options)
    if isinstance(result, Refused):
        facts: dict[str, Any] = {"refused": asdict(result)}
    else:
        from servegen.accelerate.report import document

        (folder / MODEL_FILE).write_bytes(result.converted.model)
        (folder / FORM_FILE).write_text(document(result), encoding="utf-8")
        converted = {name: value for name, value in vars(result.converted).items() if name != "model"}
        facts = {"converted": converted, "proof": asdict(result.proof), "answer": result.answer}
    (folder / RESULT_FILE).write_text(json.dumps(facts, allow_nan=False), encoding="utf-8")


if __name__ == "__main__":
    main()
