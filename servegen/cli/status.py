"""`servegen status`: how deployed models are, and why their autoscalers do or do not scale."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from servegen.cli.console import until_stopped
from servegen.cli.options import CLUSTER, VERBOSE, cluster_options, console, job, options

if TYPE_CHECKING:
    from servegen.kube.status import Status

_SECONDS = 2.0
"""Between two looks with --watch."""


@click.command("status", short_help="Show how deployed models are and why they scale.")
@click.argument("name", required=False)
@click.option("-A", "--all-namespaces", is_flag=True, help="Models of all namespaces.")
@click.option("-w", "--watch", is_flag=True, help="Look again every two seconds until Ctrl-C.")
@click.option("--json", "as_json", is_flag=True, help="Report as JSON; with --watch one document a line.")
@options(CLUSTER, VERBOSE)
def command(name: str | None, *, all_namespaces: bool, watch: bool, as_json: bool, **given: Any) -> None:
    """Show one deployment in full, or without NAME a line for each model that servegen deployed.

    Replicas, the autoscaler's figures with the reason why it does or does not scale, image and pin, what
    others changed, restarts, pods and the last warnings.

    \b
    servegen status iris --namespace ml
    servegen status -A --json
    """
    from servegen.deployed import checked
    from servegen.kube.client import Cluster

    console(given)
    work = job(None, given)
    name = None if name is None else checked(name)
    cluster = Cluster.connect(cluster_options(work, given))
    if all_namespaces:
        cluster = cluster.everywhere()
    _look(cluster, name, as_json=as_json)
    if not watch:
        return
    with until_stopped("no longer watching"):
        while True:
            time.sleep(_SECONDS)
            if not as_json:
                click.clear()
            _look(cluster, name, as_json=as_json)


def _look(cluster: Any, name: str | None, *, as_json: bool) -> None:
    from servegen.kube import status

    if name is None:
        found = status.read(cluster)
        if as_json:
            click.echo(json.dumps([asdict(one) for one in found]))
        else:
            _list(found)
        return
    one = status.named(cluster, name)
    if as_json:
        click.echo(json.dumps(asdict(one)))
    else:
        _show(one)


def _list(found: Sequence[Status]) -> None:
    from servegen.cli import tables

    columns = ("NAMESPACE", "NAME", "MODEL", "VERSION", "READY", "SCALING", "RESTARTS", "STATE")
    rows = [
        (
            one.namespace,
            one.name,
            one.model,
            one.version,
            f"{one.ready}/{one.replicas}",
            f"{one.scaling.minimum}…{one.scaling.maximum}" if one.scaling else "fixed",
            str(one.restarts),
            _state(one),
        )
        for one in found
    ]
    tables.show(columns, rows)


def _state(one: Status) -> str:
    if one.rollout != "complete":
        return one.rollout
    if one.share is not None:
        return f"{one.track}, gets {one.share} % of the requests"
    if one.scaling and not one.scaling.working:
        return one.scaling.why
    return "changed by others" if one.drift else "complete"


def _show(one: Status) -> None:
    from servegen.cli import tables

    tag = f" (tag {one.image_tag})" if one.image_tag else ""
    facts = [
        ("name", f"{one.name} in namespace {one.namespace}, managed by {one.managed_by}"),
        ("model", f"{one.model}, version {one.version}"),
        ("pin", f"{one.pin}, asked for as {one.uri}"),
        ("image", f"{one.image}{tag}"),
        *([] if one.share is None else [("requests", f"{one.share} % of those to the model, {one.track}")]),
        ("replicas", f"{one.ready} of {one.replicas} ready, {one.updated} up to date"),
        ("rollout", one.rollout),
        *_scaling(one),
        *(("changed", text) for text in one.drift or ("nothing by others",)),
    ]
    tables.show(("", ""), facts)
    click.echo()
    pods = [(pod.name, pod.state, str(pod.restarts), pod.node or "none yet") for pod in one.pods]
    tables.show(("POD", "STATE", "RESTARTS", "NODE"), pods)
    if one.events:
        click.echo()
        rows = [(e.when, e.about, e.reason, f"{e.message}{_times(e.count)}") for e in one.events]
        tables.show(("WARNED", "ABOUT", "REASON", "MESSAGE"), rows)


def _scaling(one: Status) -> list[tuple[str, str]]:
    if one.scaling is None:
        return [("scaling", "none: the number of replicas is fixed")]
    how = one.scaling
    return [
        (
            "scaling",
            f"{how.kind} from {how.minimum} to {how.maximum}, now {how.current}, wanted {how.desired}",
        ),
        ("", how.why),
        *(("metric", f"{m.name}: {m.now or 'unknown'}, target {m.target}") for m in how.metrics),
    ]


def _times(count: int) -> str:
    return f" ({count} times)" if count > 1 else ""
