"""Releases whose place a release does not take: of another model, and newer ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from servegen.errors import ConfigError, StaleAliasError
from servegen.git import commits
from servegen.git.worktree import Tree
from servegen.gitops.layouts import Layout
from servegen.gitops.wishes import Wishes, where
from servegen.progress import Progress
from servegen.values.deployment import Deployment
from servegen.values.gitops import DEFAULT_ENVIRONMENT, Record

Meaning = Callable[[str], str | None]
"""What a model URI stands for now, as a URI with a version; None where nobody can tell."""


def check_name(deployment: Deployment, chosen: Layout, folder: Path, wishes: Wishes) -> None:
    """ConfigError where the folder is another model's: by its name objects are called, and found again."""
    # What environments share has the name that they share, whatever one of them is called.
    own = (deployment.shared or deployment).name if chosen.shares else deployment.name
    name, place = chosen.named(folder, deployment.environment), deployment.environment or DEFAULT_ENVIRONMENT
    there = chosen.environments(folder)
    if name in (None, own) or not there:
        return
    others = [one for one in there if one != place] if chosen.shares else []
    if others:
        msg = f"{wishes.path} is of {name}, which {', '.join(others)} would lose to {own}"
        raise ConfigError(msg, hint="--path of its own (git.path) for each model, or its deploy.name")
    if not wishes.adopt:
        msg = f"{where(wishes.path, deployment.environment)} is of {name}, not of {own}"
        raise ConfigError(msg, hint="--path of its own (git.path) for each model; --adopt takes this one")


def check_age(
    deployment: Deployment,
    before: Record | None,
    owned: tuple[str, ...],
    tree: Tree,
    wishes: Wishes,
    meaning: Meaning,
    progress: Progress,
) -> tuple[str, ...]:
    """StaleAliasError for an older version than is there; what is to be told of an alias that moved."""
    model = deployment.model
    now = meaning(model.uri) if model.uri and model.uri != model.pin else None
    if before and _older(deployment, before) and now != model.pin and not wishes.force_older:
        paths = [f"{wishes.path}/{path}" for path in owned]
        place = where(wishes.path, deployment.environment)
        msg = (
            f"{place} has the newer version {before.version} of {model.name}, "
            f"since {commits.last(tree, paths)}; this is {model.version}"
        )
        meant = f"{model.uri} means {now} now; " if now else ""
        raise StaleAliasError(msg, hint=f"{meant}deploy again, or --force-older")
    if now and now != model.pin:
        text = f"{model.uri} has moved on to {now} while {model.pin} was deployed."
        progress.warn(f"{text[:-1]}: deploy again to follow it")
        return (text,)
    return ()


def _older(deployment: Deployment, before: Record) -> bool:
    """Whether another version of the same model is there, and a newer one."""
    ours, theirs = deployment.model.version, before.version
    same = before.model_name == deployment.model.name
    return same and ours.isdecimal() and theirs.isdecimal() and int(ours) < int(theirs)
