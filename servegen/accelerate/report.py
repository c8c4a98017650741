"""What is told of a conversion: as JSON for programs and the image, as lines for a reader."""

from __future__ import annotations

import json
import shlex
from typing import Any

from servegen.server.accelerated import ANSWER
from servegen.values.acceleration import Accelerated, Proof, Refused

_URL = "http://127.0.0.1:3000/invocations"


def document(result: Accelerated) -> str:
    """The content of acceleration.json; equal for equal models and options, so without times."""
    converted, proof = result.converted, result.proof
    facts = {
        **converted.form,
        "opset": dict(sorted(converted.opset.items())),
        "libraries": dict(sorted(converted.libraries.items())),
        "proof": proof_facts(proof),
        ANSWER: result.answer,
    }
    return json.dumps(facts, ensure_ascii=False, indent=1, allow_nan=False) + "\n"


def proof_facts(proof: Proof) -> dict[str, Any]:
    """The proof as JSON, without times."""
    return {
        "rows": dict(proof.rows),
        "total": proof.total,
        "refused_by_both": dict(proof.refused),
        "worst_relative_difference": proof.worst,
        "tolerance": proof.tolerance,
        "seed": proof.seed,
        "libraries": dict(sorted(proof.libraries.items())),
    }


def facts(result: Accelerated | Refused) -> dict[str, Any]:
    """All of the report as JSON."""
    if isinstance(result, Refused):
        return {"accelerated": False, **{name: value for name, value in vars(result).items() if value}}
    proof = result.proof
    times = {"original_seconds": proof.original_seconds, "accelerated_seconds": proof.accelerated_seconds}
    return {
        "accelerated": True,
        "size": len(result.converted.model),
        "opset": dict(result.converted.opset),
        "proof": proof_facts(proof) | times,
    }


def lines(result: Accelerated) -> list[str]:
    """The report for a reader."""
    proof = result.proof
    worst = "equal to the bit" if proof.worst == 0 else f"worst relative difference {proof.worst:.2g}"
    found = [
        f"answers alike on {proof.total} rows: {worst} (tolerance {proof.tolerance:g}, seed {proof.seed})",
        "rows: " + ", ".join(f"{kind} {count}" for kind, count in proof.rows.items() if count),
    ]
    if proof.refused:
        found.append(f"refused by both: {sum(proof.refused.values())} rows")
    found.append(f"model.onnx: {len(result.converted.model) / 1024:.0f} KiB")
    if proof.original_seconds and proof.accelerated_seconds:
        ratio = proof.original_seconds / proof.accelerated_seconds
        found.append(
            f"one row: {proof.original_seconds * 1e3:.2f} ms before, "
            f"{proof.accelerated_seconds * 1e3:.3f} ms as ONNX ({ratio:.0f} times)"
        )
    return found


def counterexample(refused: Refused) -> str:
    """The request that shows the difference, ready for a shell, and both answers."""
    if refused.counterexample is None:
        return ""
    return (
        f"curl -H 'Content-Type: application/json' {_URL} -d {shlex.quote(refused.counterexample)}\n"
        f"original: {refused.original}\nconverted: {refused.accelerated}"
    )
