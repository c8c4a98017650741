"""How a release is committed, and where in the repository."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from servegen.errors import ConfigError
from servegen.git import commits
from servegen.gitops.layouts import Layout, found, layout, name_of
from servegen.values.gitops import DEFAULT_ENVIRONMENT, GitSettings

MODES = ("commit", "pr", "auto")


@dataclass(frozen=True, kw_only=True)
class Wishes:
    """How a release is committed."""

    path: str
    """Folder of the model in the repository."""
    mode: str
    layout: str | None = None
    style: commits.Style = field(default_factory=commits.Style)
    max_attempts: int = 5
    adopt: bool = False
    """Overwrite owned files that were edited by hand."""
    force_older: bool = False
    release_hold: bool = False
    verb: str = "deploy"
    """What the commit's subject says is done."""
    notes: tuple[str, ...] = ()
    """Further paragraphs of its message."""
    settings: GitSettings = field(default_factory=GitSettings)
    """What is written beside it for Argo CD or Flux."""


def layout_of(folder: Path, wishes: Wishes) -> Layout:
    """The layout that is wished for, else the folder's; ConfigError where the folder has another one."""
    if wishes.layout is None:
        return found(folder)
    named, there = layout(wishes.layout), found(folder)
    if there.holds(folder) and not named.holds(folder):
        msg = f"{wishes.path} is laid out as {name_of(there)}, not as {wishes.layout}"
        raise ConfigError(msg, hint="leave out --layout (git.layout), or choose another --path")
    return named


def where(path: str, environment: str | None) -> str:
    """A model's folder and one of its environments, for people."""
    return f"{path} ({environment or DEFAULT_ENVIRONMENT})"
