"""`servegen promote`: what was tried beside a deployment, or in another environment, is taken over."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from servegen.cli import beside
from servegen.cli.options import (
    CLUSTER,
    REGISTRY,
    REPOSITORY,
    TIMEOUT,
    VERBOSE,
    cluster_options,
    console,
    job,
    options,
)

_REQUIRE = "verified, profiled, signed"


@click.command("promote", short_help="Let a canary take over, or bring a release to another environment.")
@click.argument("name", required=False)
@click.option("--canary", is_flag=True, help="The canary of NAME.")
@click.option("--blue-green", is_flag=True, help="A --blue-green that was not finished.")
@click.option("--from", "source", metavar="ENV", help="Environment whose release in Git is taken over.")
@click.option("--to", "target", metavar="ENV", help="Environment that gets it.")
@click.option("--require", metavar="GATE[,GATE…]", help=f"Refuse unless it is so: {_REQUIRE}.")
@click.option("--key", type=click.Path(path_type=Path), help="Public key for --require signed.")
@click.option("--copy", is_flag=True, help="Copy the image, by digest, into the repository of the target.")
@click.option("--no-cluster", is_flag=True, help="Do not ask whether the source is healthy.")
@click.option("--adopt", is_flag=True, help="Overwrite files of the target that were edited by hand.")
@click.option("--force-older", is_flag=True, help="Although the target has a newer version.")
@click.option("--release-hold", is_flag=True, help="Although the version was rolled back there.")
@click.option("--dry-run", is_flag=True, help="Show what would change, as a diff; exit code 1 then.")
@click.option("--json", "as_json", is_flag=True, help="Report as JSON.")
@options(REPOSITORY, REGISTRY, CLUSTER, TIMEOUT, VERBOSE)
def command(name: str | None, *, as_json: bool, dry_run: bool, **given: Any) -> None:
    """Give the canary's image and settings to deployment NAME, and all requests; then delete the canary.

    NAME is by default what servegen.yaml deploys. `servegen rollback NAME` goes back afterwards.

    With --from and --to, commit the release that Git has in one environment for another one: the same image
    by its digest, pin and profile, with the settings of the target. Refused where the source's pods are not
    healthy, the image is not in the target's registry, or a gate of --require is not met.

    \b
    servegen promote --canary iris -n models
    servegen promote iris --from staging --to production
    servegen promote iris --from staging --to production --require verified,signed --key cosign.pub --copy
    """
    if given["source"] or given["target"]:
        _between(name, given, as_json=as_json, dry_run=dry_run)
        return
    from servegen.deployed import instance
    from servegen.progressive import promote

    if dry_run:
        msg = "--dry-run is for --from and --to"
        raise click.UsageError(msg)
    track = beside.track(given)
    progress = console(given)
    work = job(None, given)
    try:
        cluster = cluster_options(work, given)
        made = promote(instance(name, work, progress), track, cluster, progress)
    finally:
        progress.close()
    beside.show(made, as_json=as_json)


def _between(name: str | None, given: dict[str, Any], *, as_json: bool, dry_run: bool) -> None:
    from servegen.promoting import Promotion, promote
    from servegen.targets.git import Git

    source, target, require = _environments(given)
    progress = console(given)
    # NAMESPACE is where the source runs; that of the target is in its settings.
    there = job(None, dict(given) | {"environment_name": source})
    here = job(None, dict(given) | {"environment_name": target, "namespace": None})
    wanted = Promotion(
        source=there,
        target=here,
        require=require,
        key=given["key"],
        copy=given["copy"],
        cluster=None if given["no_cluster"] else cluster_options(there, given),
    )
    place = Git.of(given, here.config, here.environment, progress)
    try:
        made = promote(name, wanted, place, progress, dry_run=dry_run)
    finally:
        place.close()
        progress.close()
    if isinstance(made, str):
        click.echo(made, nl=False)
        raise click.exceptions.Exit(1 if made else 0)
    if as_json:
        click.echo(json.dumps(asdict(made)))
        return
    for line in made.delivery.lines:
        click.echo(line)


def _environments(given: dict[str, Any]) -> tuple[str, str, frozenset[str]]:
    from servegen.gitops.promotion import REQUIRABLE

    source, target = given.pop("source"), given.pop("target")
    require = frozenset(part.strip() for part in (given.pop("require") or "").split(",") if part.strip())
    if given["canary"] or given["blue_green"]:
        msg = "--canary and --blue-green are about one cluster; --from and --to are about Git"
    elif not source or not target:
        msg = "--from and --to go together: promote NAME --from staging --to production"
    elif source == target:
        msg = f"--from and --to are both {source}"
    elif given["environment_name"]:
        msg = "--env says nothing here: --from and --to name the environments"
    elif unknown := sorted(require - set(REQUIRABLE)):
        msg = f"--require cannot be {', '.join(unknown)}: it takes {', '.join(REQUIRABLE)}"
    elif "signed" in require and given["key"] is None:
        msg = "--require signed needs --key FILE, the public key that has to have signed it"
    else:
        return source, target, require
    raise click.UsageError(msg)
