"""A folder that `docker build` makes the image of a model of: what `--dockerfile-only` writes."""

from __future__ import annotations

from pathlib import Path

from servegen.builders.dockerfile import write_context
from servegen.errors import ConfigError
from servegen.job import Job, known_layers, platforms, registry
from servegen.pipeline import build_inputs, lock_environment, resolve_model
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
    model = resolve_model(job, progress)
    with registry(job, progress) as remote:
        known = known_layers(job, model.pin, remote, progress)
        locked, base = lock_environment(job, model, remote, known, progress)
        with scratch_folder(folder.absolute().parent, f".{folder.name}-") as temporary:
            new = temporary / "context"
            new.mkdir()
            bases = {platform: base}
            inputs = build_inputs(job, model, locked.environment, base, known, progress, bases)
            write_context(inputs, new, progress)
            new.replace(folder)
