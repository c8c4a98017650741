"""`servegen rollback`: an earlier release of a deployment again, in a cluster or in Git."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import click

from servegen.cli import beside
from servegen.cli.options import (
    CLUSTER,
    REPOSITORY,
    TIMEOUT,
    VERBOSE,
    cluster_options,
    console,
    job,
    options,
    refuse_foreign,
)


@click.command("rollback", short_help="Bring an earlier release of a deployment back.")
@click.argument("name", required=False)
@click.option("--target", "target_name", default="k8s", show_default=True, help="Where: k8s or git.")
@click.option(
    "--to",
    "wanted",
    metavar="NUMBER|COMMIT",
    help="Number of the release, or a commit that had it; default: the newest that differs.",
)
@click.option("--list", "list_only", is_flag=True, help="Show the releases there are, and change nothing.")
@click.option("--force-conflicts", is_flag=True, help="Take fields that other managers own.")
@click.option("--json", "as_json", is_flag=True, help="Report as JSON.")
@click.option("--canary", is_flag=True, help="Take the canary of NAME away instead.")
@click.option("--blue-green", is_flag=True, help="Take back a --blue-green that was not finished instead.")
@click.option("--adopt", is_flag=True, help="With --target git: overwrite files that were edited by hand.")
@click.option("--dry-run", is_flag=True, help="With --target git: show what would change, as a diff.")
@options(REPOSITORY, CLUSTER, TIMEOUT, VERBOSE)
def command(
    name: str | None,
    *,
    target_name: str,
    wanted: str | None,
    list_only: bool,
    as_json: bool,
    dry_run: bool,
    **given: Any,
) -> None:
    """Apply an earlier release of deployment NAME again, all of its objects, and wait for the pods.

    Without --to, the newest release that differs from what runs: after a deploy that failed the one before
    it, after one that succeeded the previous one. NAME is by default what servegen.yaml deploys.

    With --target git, commit the files of the release before, by its image, in one environment of a
    repository; commits of others stay. The version that is taken back is held: `deploy` refuses it until
    --release-hold.

    \b
    servegen rollback iris -n models
    servegen rollback iris -n models --list
    servegen rollback iris -n models --to 3
    servegen rollback iris -n models --canary
    servegen rollback iris --target git --env production
    """
    refuse_foreign(target_name, given)
    if target_name == "git":
        _in_git(name, wanted, given, list_only=list_only, as_json=as_json, dry_run=dry_run)
        return
    from servegen.deployed import instance, releases, rollback
    from servegen.progressive import abort

    if target_name != "k8s" or dry_run:
        msg = (
            "--dry-run is for --target git" if dry_run else f"--target cannot be {target_name!r}: k8s or git"
        )
        raise click.UsageError(msg)
    number = _number(wanted)
    progress = console(given)
    work = job(None, given)
    try:
        cluster = cluster_options(work, given)
        name = instance(name, work, progress)
        if given["canary"] or given["blue_green"]:
            track = beside.track(given)
            beside.show(abort(name, track, cluster, progress), as_json=as_json)
            return
        if list_only:
            _show(releases(name, cluster), as_json=as_json)
            return
        delivery = rollback(name, number, cluster, progress)
    finally:
        progress.close()
    if as_json:
        click.echo(json.dumps(asdict(delivery)))
        return
    click.echo(f"{name} {delivery.ready}/{delivery.replicas} ready in {delivery.namespace}")


def _number(text: str | None) -> int | None:
    if text is None:
        return None
    if not text.isdecimal() or int(text) < 1:
        msg = f"--to cannot be {text!r}: it is the number of a release, or with --target git a commit"
        raise click.UsageError(msg)
    return int(text)


def _in_git(
    name: str | None,
    commit: str | None,
    given: dict[str, Any],
    *,
    list_only: bool,
    as_json: bool,
    dry_run: bool,
) -> None:
    from servegen.promoting import folder_name
    from servegen.targets.git import Git

    if list_only or given["canary"] or given["blue_green"]:
        msg = "--list, --canary and --blue-green are for --target k8s; git log shows releases in Git"
        raise click.UsageError(msg)
    progress = console(given)
    work = job(None, given)
    environment = work.config.deploy.environment
    place = Git.of(given, work.config, work.environment, progress)
    try:
        folder = folder_name(name, work)
        if dry_run:
            text = place.would_revert(folder, environment, commit, progress=progress)
            click.echo(text, nl=False)
            raise click.exceptions.Exit(1 if text else 0)
        delivery, reverted = place.revert(folder, environment, commit, progress=progress)
    finally:
        place.close()
        progress.close()
    if reverted.after.uri and reverted.after.uri != reverted.after.pin:
        progress.warn(
            f"{reverted.after.uri} still means what it meant: move it in the registry, "
            f"to version {reverted.after.version}"
        )
    if as_json:
        click.echo(json.dumps(asdict(delivery) | {"reverted": asdict(reverted)}))
        return
    for line in delivery.lines:
        click.echo(line)


def _show(found: Any, *, as_json: bool) -> None:
    rows = [
        {"release": one.number, "time": one.time, "version": one.version, "image": one.image} for one in found
    ]
    if as_json:
        click.echo(json.dumps(rows))
        return
    for row in rows:
        click.echo(f"{row['release']:>4}  {row['time']}  version {row['version']}  {row['image']}")
