"""`servegen drift`: whether registry, repository and cluster agree."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from servegen.cli.options import FILE, VERBOSE, console, job, job_of, options

if TYPE_CHECKING:
    from servegen.drifting import Candidate, Legs
    from servegen.gitops.drift import Comparison, Finding, Unknown
    from servegen.job import Job
    from servegen.kube.options import ClusterOptions

_ALL = "apps"
"""Folder whose folders are models, where a repository alone is named."""


@click.command("drift", short_help="Compare registry, repository and cluster.")
@click.argument("paths", metavar="[FOLDER|FILE]...", nargs=-1, type=click.Path(path_type=Path, exists=True))
@click.option("--repo", metavar="URL|FOLDER", help="Repository, or a checkout of it; default: git.repo.")
@click.option("--branch", help="Branch; default: the one that the repository names.")
@click.option("--path", metavar="FOLDER", help="The model's folder there; default apps/NAME.")
@click.option("--layout", help="kustomize, helm, values or manifests; default: as it is.")
@click.option("--cluster/--no-cluster", default=None, help="Fail without the cluster, or leave it out.")
@click.option(
    "--context",
    "contexts",
    multiple=True,
    metavar="[ENV=]NAME",
    help="Context of the kubeconfig, for all environments or for one; repeatable.",
)
@click.option("--deep", is_flag=True, help="Read the files of each released version, too: it downloads them.")
@click.option("--json", "as_json", is_flag=True, help="Report as JSON.")
@click.option("--tracking-uri", help="MLflow tracking server or store; default MLFLOW_TRACKING_URI.")
@click.option("--registry-uri", help="MLflow model registry, where it is another server.")
@options(FILE, VERBOSE)
def command(paths: tuple[Path, ...], *, deep: bool, as_json: bool, **given: Any) -> None:
    """Compare what an alias means in the registry, what Git has released, and what the cluster runs.

    For each model and environment of the servegen.yaml here, of the files, or below the folders that are
    named; with --repo and no servegen.yaml, of all models of the repository. Nothing is written.

    What cannot be reached is `not checked`, and never counts as equal. Exit code 0 when nothing differs, 1
    when something does, 101 when nothing could be compared.

    \b
    servegen drift
    servegen drift models/ --env production --json
    servegen drift --repo https://git.example.com/ml/config.git --path apps/iris --no-cluster
    """
    from servegen.drifting import look
    from servegen.errors import UncheckedError
    from servegen.gitops.drift import UNCHECKED, drifted

    progress = console(given)
    try:
        candidates, legs = _wanted(paths, given, deep=deep)
        found = look(candidates, legs, progress, now=time.time())
    finally:
        progress.close()
    if as_json:
        click.echo(json.dumps([asdict(one) | {"state": one.state} for one in found]))
    else:
        _show(found)
    if drifted(found):
        raise click.exceptions.Exit(1)
    if all(one.state == UNCHECKED for one in found):
        why = "; ".join(dict.fromkeys(each.message for one in found for each in one.findings))
        msg = f"nothing could be compared: {why or 'no model is released there'}"
        raise UncheckedError(msg, hint="two of registry, repository and cluster have to answer")


def _wanted(paths: Sequence[Path], given: dict[str, Any], *, deep: bool) -> tuple[list[Candidate], Legs]:
    from servegen.config import environment
    from servegen.drifting import Legs
    from servegen.git.worktree import Access

    own = environment()
    access = Access(
        env=own.variables, scratch=own.cache / "git", token=own.git_token, username=own.git_username
    )
    wanted, contexts = given.pop("cluster"), given.pop("contexts")
    reach = None if wanted is False else _reach(contexts, own.kubeconfig)
    legs = Legs(access=access, clusters=reach, must_reach=bool(wanted), deep=deep)
    files = _files(paths, given.pop("config_file"))
    if files:
        # One alone clashes with no other.
        named = files if len(files) > 1 else [(path, _own_name(path) or name) for path, name in files]
        return [_of_file(path, name, given) for path, name in named], legs
    if given["repo"] is None:
        msg = "name what to compare: a folder of servegen.yaml files, or --repo"
        raise click.UsageError(msg)
    return [_of_repository(given)], legs


def _files(paths: Sequence[Path], named: Path | None) -> list[tuple[Path, str]]:
    """The servegen.yaml files that are meant, each with the name of its folder."""
    from servegen.config import find
    from servegen.fleet import files, name_of

    here = named or (None if paths else find(Path.cwd()))
    made = [] if here is None else [(here, here.absolute().parent.name)]
    for path in paths:
        below = [path] if path.is_file() else list(files(path))
        if not below:
            msg = f"{path} has no servegen.yaml in or below it"
            raise click.UsageError(msg)
        made += [(one, name_of(one, path if path.is_dir() else one.parent)) for one in below]
    return made


def _own_name(path: Path) -> str | None:
    """What servegen.yaml calls its model; None where it does not say."""
    from servegen.config import read
    from servegen.sources.uri import RegistryURI, parse

    config = read(path)
    uri = parse(config.model) if config.model else None
    return config.deploy.name or (uri.name if isinstance(uri, RegistryURI) else None)


def _of_file(path: Path, name: str, given: dict[str, Any]) -> Candidate:
    from servegen.config import read
    from servegen.drifting import Candidate

    chosen = given["environment_name"]
    known = (chosen,) if chosen else tuple(read(path).environments)

    def wanted(environment: str | None) -> Job:
        return _settled(job_of(path, given | {"environment_name": environment}), given)

    return Candidate(name=name, environments=known or None, job=wanted)


def _of_repository(given: dict[str, Any]) -> Candidate:
    from servegen.drifting import Candidate

    chosen = given["environment_name"]

    def wanted(environment: str | None) -> Job:
        return _settled(job(None, given | {"environment_name": environment}), given)

    path = given["path"] or f"{_ALL}/*"
    name = path if path.endswith("*") else path.rpartition("/")[2]
    return Candidate(name=name, environments=(chosen,) if chosen else None, job=wanted, path=path)


def _settled(work: Job, given: dict[str, Any]) -> Job:
    """The job with what options say of the repository."""
    named = {name: given[name] for name in ("repo", "branch", "path", "layout") if given[name]}
    return replace(work, config=replace(work.config, git=replace(work.config.git, **named)))


def _reach(
    contexts: Sequence[str], kubeconfig: str | None
) -> Callable[[str | None], ClusterOptions | Unknown]:
    """How the cluster of an environment is reached, as --context says."""
    from servegen.gitops.drift import Unknown
    from servegen.kube.options import ClusterOptions
    from servegen.values.gitops import DEFAULT_ENVIRONMENT

    pairs = [text.rpartition("=") for text in contexts]
    named = {environment: context for environment, _, context in pairs}

    def reach(environment: str | None) -> ClusterOptions | Unknown:
        name = environment or DEFAULT_ENVIRONMENT
        if named and name not in named and "" not in named:
            return Unknown(why=f"no context is named for {name}: --context {name}=NAME")
        return ClusterOptions(kubeconfig=kubeconfig, context=named.get(name, named.get("")))

    return reach


def _show(found: Sequence[Comparison]) -> None:
    from servegen.cli import tables

    columns = ("MODEL", "ENVIRONMENT", "REGISTRY", "GIT", "CLUSTER", "STATE")
    tables.show(
        columns,
        [(one.model, one.environment, one.registry, one.git, one.cluster, one.state) for one in found],
    )
    rows = [
        (f"{one.model}/{one.environment}", each.kind, _told(each)) for one in found for each in one.findings
    ]
    # What holds for all would drown the rest.
    shared = {key for key, count in Counter(row[1:] for row in rows).items() if count == len(found) > 1}
    rows = [("all", *key) for key in sorted(shared)] + [row for row in rows if row[1:] not in shared]
    if rows:
        click.echo()
        tables.show(("", "", ""), rows)


def _told(finding: Finding) -> str:
    return f"{finding.message}: {finding.behind} is behind" if finding.behind else finding.message
