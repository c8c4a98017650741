"""`servegen deploy`: a model running and autoscaling on a cluster, or committed for one."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from servegen.cli import beside, fleet
from servegen.cli.options import (
    ATTEST,
    CONTEXT,
    DEPLOY,
    GIT,
    IMAGE,
    REGISTRY,
    STORES,
    TIMEOUT,
    VERBOSE,
    VERIFY,
    cluster_options,
    console,
    is_fleet,
    is_model,
    job,
    options,
    refuse_foreign,
)


@click.command("deploy", short_help="Package, apply and wait until the pods answer, or commit.")
@click.argument("subject", metavar="MODEL|IMAGE|FOLDER", required=False)
@click.option("--target", "target_name", default="k8s", show_default=True, help="Where to: k8s or git.")
@click.option("--force-conflicts", is_flag=True, help="Take fields that other managers own.")
@click.option(
    "--adopt", is_flag=True, help="Take over what another tool made, or files that were edited by hand."
)
@click.option(
    "--rollback-on-failure", is_flag=True, help="Bring the last release back if the pods do not answer."
)
@click.option("--dry-run", is_flag=True, help="Show what would change, as a diff; exit code 1 then.")
@click.option("--json", "as_json", is_flag=True, help="Report as JSON.")
@options(beside.OPTIONS, GIT, CONTEXT, TIMEOUT, DEPLOY, IMAGE, REGISTRY, VERIFY, ATTEST, STORES, VERBOSE)
def command(subject: str | None, *, target_name: str, dry_run: bool, as_json: bool, **given: Any) -> None:
    """Deploy MODEL or IMAGE: package and push what is not there yet, apply the objects, wait for the pods.

    With --target git the objects are committed to a repository, which another program applies.

    Without an argument, the model of servegen.yaml. Of a FOLDER, the models of all servegen.yaml below it, in
    parallel; one that fails fails alone.

    \b
    servegen deploy models:/iris@champion --tag ghcr.io/me/iris --namespace ml
    servegen deploy models/ --namespace ml
    servegen deploy --target k8s --dry-run
    servegen deploy models:/iris/8 --canary 10,25,50 --analyze 120
    servegen deploy models:/iris@champion --target git --repo URL --path apps/iris --env staging
    """
    from servegen.pipeline import deploy, difference
    from servegen.targets import target

    refuse_foreign(target_name, given)
    progress = console(given)
    steps = beside.steps(given)
    if steps or given["blue_green"]:
        beside.refuse(steps, given, fleet=is_fleet(subject), elsewhere=dry_run or target_name != "k8s")
    elif given["analyze_seconds"]:
        msg = "--analyze compares a canary with what serves: add --canary PERCENT"
        raise click.UsageError(msg)
    if is_fleet(subject):
        fleet.deploy(Path(subject or ""), target_name, given, progress, dry_run=dry_run, as_json=as_json)
        return
    model = subject if subject and is_model(subject) else None
    work = job(model, given, push=not dry_run)
    image = None if model else subject
    place = None
    try:
        if steps or given["blue_green"]:
            made = beside.deploy(
                image, steps, cluster_options(work, given), work, progress, given, named=subject is not None
            )
            beside.show(made, as_json=as_json)
            return
        place = target(target_name).of(given, work.config, work.environment, progress)
        if dry_run:
            text = difference(image, place, work, progress)
            click.echo(text, nl=False)
            raise click.exceptions.Exit(1 if text else 0)
        delivery = deploy(image, place, work, progress)
    finally:
        if place:
            place.close()
        progress.close()
    if as_json:
        click.echo(json.dumps(asdict(delivery)))
        return
    for line in delivery.lines:
        click.echo(line)
