"""Relative paths of a servegen.yaml that is read from elsewhere."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from servegen.config.options import Config


def anchored(config: Config, folder: Path) -> Config:
    """`config` with its relative paths as seen from `folder`, that of its file."""

    def path(text: str | None) -> str | None:
        return text and str(folder / Path(text).expanduser())

    model = config.model
    if model is not None and not re.match(r"[A-Za-z][A-Za-z0-9+.-]*:/", model):
        model = path(model)
    repo = config.git.repo
    # A URL, and what ssh takes (`git@host:group/repository`), has a colon before the first slash.
    if repo is not None and ":" not in repo.partition("/")[0]:
        repo = path(repo)
    return replace(
        config,
        model=model,
        git=replace(config.git, repo=repo),
        debian_keyring=path(config.debian_keyring),
        registry_ca=path(config.registry_ca),
        sign_key=path(config.sign_key),
        wheelhouses=tuple(str(folder / Path(one).expanduser()) for one in config.wheelhouses),
    )
