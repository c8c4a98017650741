"""What commands do with a folder of servegen.yaml files: all of them, and one table at the end."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from servegen.cli.console import Console, Events
from servegen.cli.options import job_of

if TYPE_CHECKING:
    from servegen.fleet import Member, Outcome
    from servegen.job import Job
    from servegen.pipeline import Rendered
    from servegen.values.delivery import Delivery

_OF_ONE = {"name": "--name", "image": "--tag", "config_file": "--file"}
"""Options that name something of one model."""


def deploy(
    folder: Path,
    target_name: str,
    given: dict[str, Any],
    progress: Console | Events,
    *,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Deploy all models below `folder`; raises FleetError at the end when some failed."""
    from servegen.config import Config, environment
    from servegen.fleet import failure, run
    from servegen.targets import target

    found = members(folder, given, push=not dry_run)
    # What a model's file says counts where the command says nothing.
    place = target(target_name).of(given, Config(), environment(), progress)
    try:
        if dry_run:
            differences = run(found, lambda own, one, _: own.diff(one), place, progress, progress.count)
            text = "".join(one.result or "" for one in differences)
            click.echo(text, nl=False)
            if error := failure(differences, "compared"):
                raise error
            raise click.exceptions.Exit(1 if text else 0)
        done = run(
            found,
            lambda own, one, said: own.deliver(one, progress=said),
            place,
            progress,
            progress.count,
        )
    finally:
        place.close()
        progress.close()
    if as_json:
        click.echo(json.dumps([_record(one) for one in done]))
    else:
        _table(done)
    if error := failure(done, "deployed"):
        raise error


def render(
    folder: Path, format_name: str, output: Path | None, given: dict[str, Any], progress: Console | Events
) -> None:
    """Write the objects of all models below `folder`; raises FleetError at the end when some failed."""
    from servegen.fleet import failure, render_all
    from servegen.targets.directory import check, write

    found = members(folder, given, push=False)
    if output is not None:
        check(output)
    try:
        done = render_all(found, format_name, progress, progress.count)
    finally:
        progress.close()
    for one in done:
        if one.result is None:
            continue
        if output is None:
            click.echo(one.result.stream(), nl=False)
        else:
            write(one.result.bundle(), output / one.name)
    if error := failure(done, "rendered"):
        raise error
    if output is not None:
        click.echo(output)


def render_gitops(
    folder: Path,
    format_name: str,
    output: Path | None,
    given: dict[str, Any],
    progress: Console | Events,
    finish: Callable[[Rendered, Job], Rendered],
) -> None:
    """The same for a repository whose root is `output`; `finish` adds what lies beside the models."""
    from servegen.fleet import apart, failure, render_all
    from servegen.targets.directory import check, write

    found = members(folder, given, push=False)
    if output is not None:
        check(output)
    try:
        done = apart(render_all(found, format_name, progress, progress.count, finish), progress)
    finally:
        progress.close()
    rendered = [one.result for one in done if one.result]
    if output is None:
        documents = (part for one in rendered for part in one.stream().split("---\n")[1:])
        # Several models have one source, or one ApplicationSet.
        click.echo("".join(f"---\n{part}" for part in dict.fromkeys(documents)), nl=False)
    else:
        for one in rendered:
            write(one.bundle(), output)
    if error := failure(done, "rendered"):
        raise error
    if output is not None:
        click.echo(output)


def members(folder: Path, given: dict[str, Any], *, push: bool) -> list[Member]:
    """The servegen.yaml files below `folder`, each to be read with the options that were given."""
    from servegen.errors import ConfigError
    from servegen.fleet import Member, files, name_of

    for name, flag in _OF_ONE.items():
        if given.get(name):
            msg = f"{flag} {given[name]} cannot hold for every model of {folder}"
            raise ConfigError(msg, hint="write it into the servegen.yaml of the model that it is meant for")

    def one(path: Path) -> Member:
        return Member(name=name_of(path, folder), read=lambda: job_of(path, given, push=push))

    return [one(path) for path in files(folder)]


def _record(one: Outcome[Delivery]) -> dict[str, object]:
    error = one.error and {
        "message": str(one.error),
        "hint": one.error.hint,
        "exit_code": one.error.exit_code,
    }
    return {
        "name": one.name,
        "instance": one.deployment and one.deployment.instance,
        "result": _result(one),
        "seconds": one.seconds,
        "error": error,
        "delivery": one.result and asdict(one.result),
    }


def _table(done: Sequence[Outcome[Delivery]]) -> None:
    from servegen.cli import tables

    columns = ("MODEL", "NAMESPACE", "NAME", "RESULT", "STATE", "SECONDS", "WHY")
    tables.show(columns, [_row(one) for one in done])


def _row(one: Outcome[Delivery]) -> tuple[str, ...]:
    delivery = one.result
    return (
        one.name,
        (delivery and delivery.namespace) or (one.deployment and one.deployment.namespace) or "",
        one.deployment.instance if one.deployment else "",
        _result(one),
        delivery.state if delivery else "",
        f"{one.seconds:.1f}",
        str(one.error or ""),
    )


def _result(one: Outcome[Delivery]) -> str:
    """What happened to the objects, in a word."""
    if one.result is None:
        return "failed"
    actions = {change.action for change in one.result.changes}
    if actions <= {"unchanged"}:
        return "unchanged"
    return "created" if actions == {"created"} else "configured"
