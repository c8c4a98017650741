"""A folder that `docker build` makes the image of a model of: what `--dockerfile-only` writes."""

from __future__ import annotations

import tempfile
from pathlib import Path

from servegen.builders import BuildInputs
from servegen.builders.dockerfile import write_context
from servegen.conversion import accelerated
from servegen.errors import ConfigError
from servegen.job import Job, platforms, registry
from servegen.locking import lock_all
from servegen.pipeline import build, resolve_model
from servegen.progress import Progress
from servegen.scratch import scratch_folder


def write_context_folder(job: Job, folder: Path, progress: Progress) -> None:
    """Lock the model and write its build context as `folder`, which must be new or empty: all or nothing."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        msg = f"{folder} is there already"
        raise ConfigError(msg, hint="name a folder that does not exist: --dockerfile-only DIR")
    platform, *others = platforms(job.config)
    if others:
        msg = "a build context is for one platform"
        raise ConfigError(msg, hint=f"--platform {platform}")
    job, model = accelerated(job, resolve_model(job, progress), progress)
    with (
        registry(job, progress) as remote,
        scratch_folder(folder.absolute().parent, f".{folder.name}-") as temporary,
    ):

        def make(inputs: BuildInputs, progress: Progress) -> Path:
            new = Path(tempfile.mkdtemp(dir=temporary))
            write_context(inputs, new, progress)
            return new

        (part,) = parts = lock_all(job, model, remote, progress)
        made, _ = build(part, parts, model, remote, make, progress)
        made.replace(folder)
