"""`servegen accelerate`: what becomes of the job's model as ONNX."""

from __future__ import annotations

from dataclasses import replace

from servegen.accelerate.running import Wishes, accelerate
from servegen.conversion import place
from servegen.job import Job
from servegen.pipeline import resolve_model
from servegen.progress import Progress
from servegen.values.acceleration import Accelerated, Refused
from servegen.values.model import Model


def accelerate_model(job: Job, wishes: Wishes, progress: Progress) -> tuple[Model, Accelerated | Refused]:
    """The job's model, and it as ONNX with the proof, or why there is none."""
    # A model without a signature is told so as any other that cannot be converted.
    model = resolve_model(replace(job, config=replace(job.config, allow_no_signature=True)), progress)
    return model, accelerate(model, wishes, place(job, model), progress)
