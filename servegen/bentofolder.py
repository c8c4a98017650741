"""A folder that `bentoml build` makes a Bento of."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

from servegen.builders.code import server_files, server_root
from servegen.errors import ConfigError
from servegen.job import Job, serving
from servegen.lockers import merged_requirements
from servegen.planning.bento import MODEL, plan
from servegen.targets.directory import write
from servegen.values.model import Model


def write_bento(job: Job, model: Model, folder: Path) -> None:
    """Write Service, settings, the server's code and the model into `folder`, which must be new or empty."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        msg = f"{folder} is there already"
        raise ConfigError(msg, hint="name a folder that does not exist: -o DIR")
    # BentoML installs from lines; those of requirements.txt are what uv.lock has.
    requirements = merged_requirements(replace(model, uv_lock=False), serving(job.config))
    write(plan(model, requirements, job.config.serving, job.config.deploy), folder)
    for file in server_files():
        _copy(server_root() / file.path, folder / file.path)
    for file in model.files:
        _copy(model.path / file.path, folder / MODEL / file.path)


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(source, target)
