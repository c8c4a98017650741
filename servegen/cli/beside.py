"""Options and results of running a new version beside the one that serves."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from servegen.cli.console import Console, Events
    from servegen.job import Job
    from servegen.kube.options import ClusterOptions
    from servegen.progressive import Split

OPTIONS: list[Any] = [
    click.option(
        "--canary",
        metavar="PERCENT[,PERCENT…]",
        help="Run it beside what serves and lead this share of the requests there; needs an HTTPRoute.",
    ),
    click.option(
        "--analyze",
        "analyze_seconds",
        type=click.IntRange(min=5),
        metavar="SECONDS",
        help="Compare it with what serves for so long at each share; then promote it, or take it away.",
    ),
    click.option(
        "--max-error-rate",
        type=click.FloatRange(0, 100),
        default=1.0,
        show_default=True,
        help="Per cent of answers with 4xx or 5xx that a canary may have above what serves.",
    ),
    click.option(
        "--max-slowdown",
        type=click.FloatRange(min=1),
        default=1.5,
        show_default=True,
        help="How many times the p95 latency of what serves a canary may have.",
    ),
    click.option(
        "--min-requests",
        type=click.IntRange(min=1),
        default=50,
        show_default=True,
        help="Requests to a canary without which it is not judged.",
    ),
    click.option(
        "--blue-green",
        is_flag=True,
        help="Run it beside what serves, ask it, then switch the Service; needs no gateway.",
    ),
    click.option(
        "--keep",
        "keep_seconds",
        type=click.IntRange(min=0),
        default=30,
        show_default=True,
        help="With --blue-green: seconds for which the pods of before stay, to go back at once.",
    ),
]
"""For `deploy`."""


def steps(given: dict[str, Any]) -> tuple[int, ...]:
    """The shares that --canary names, ascending; empty without it."""
    text = given["canary"]
    if text is None:
        return ()
    parts = [part.strip().removesuffix("%").strip() for part in text.split(",")]
    found = tuple(int(part) for part in parts if part.isdecimal())
    if len(found) != len(parts) or list(found) != sorted(set(found)) or not 0 < found[0] <= found[-1] <= 100:
        msg = f"--canary cannot be {text!r}: write a share such as 10, or rising ones such as 10,25,50"
        raise click.UsageError(msg)
    if len(found) > 1 and not given["analyze_seconds"]:
        msg = "--canary with several shares needs --analyze SECONDS, which says when to go on"
        raise click.UsageError(msg)
    return found


def refuse(shares: tuple[int, ...], given: dict[str, Any], *, fleet: bool, elsewhere: bool) -> None:
    """UsageError for options that do not go together."""
    if shares and given["blue_green"]:
        msg = "--canary and --blue-green are two ways, choose one"
    elif given["blue_green"] and given["analyze_seconds"]:
        msg = "--analyze compares a canary with what serves; --blue-green has --keep"
    elif fleet:
        msg = "--canary and --blue-green are for one model, not for a folder of them"
    elif elsewhere:
        msg = "--canary and --blue-green are for --target k8s, and have no --dry-run"
    else:
        return
    raise click.UsageError(msg)


def deploy(
    image: str | None,
    shares: tuple[int, ...],
    cluster: ClusterOptions,
    work: Job,
    progress: Console | Events,
    given: dict[str, Any],
    *,
    named: bool,
) -> Split:
    """What --canary with these `shares`, or without any --blue-green, makes."""
    from servegen.progressive import Steps, blue_green, canary
    from servegen.values.analysis import Limits

    if not shares:
        return blue_green(image, given["keep_seconds"], cluster, work, progress)
    limits = Limits(
        error_rate=given["max_error_rate"] / 100,
        slowdown=given["max_slowdown"],
        requests=given["min_requests"],
    )
    wanted = Steps(percents=shares, seconds=given["analyze_seconds"], limits=limits)
    return canary(image, wanted, cluster, work, progress, named=named)


def track(given: dict[str, Any]) -> str:
    """The track that --canary or --blue-green names; UsageError unless it is one of them."""
    from servegen.kube.traffic import CANARY, NEXT

    if given["canary"] == given["blue_green"]:
        msg = "name what runs beside it: --canary or --blue-green"
        raise click.UsageError(msg)
    return CANARY if given["canary"] else NEXT


def show(made: Split, *, as_json: bool) -> None:
    """Print where the requests go."""
    if as_json:
        click.echo(json.dumps(asdict(made)))
    elif made.beside is None:
        click.echo(f"{made.name} gets all requests in {made.namespace}")
    else:
        click.echo(f"{made.beside} gets {made.percent} % of the requests to {made.name} in {made.namespace}")
