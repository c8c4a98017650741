"""`servegen test`: one request to a running model, as a user would send it."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import IO, Any

import click

from servegen.cli.options import CLUSTER, VERBOSE, cluster_options, console, job, options


@click.command("test", short_help="Send a running model its example and show the answer.")
@click.argument("url", required=False)
@click.option("--deployment", metavar="NAME", help="Ask this deployment, through a pod of it.")
@click.option(
    "--data", type=click.File("rb"), help="File with the JSON to send; default: the model's example."
)
@click.option(
    "--requests", type=click.IntRange(min=1), default=1, show_default=True, help="How often to ask."
)
@click.option("--json", "as_json", is_flag=True, help="Report as JSON.")
@options(CLUSTER, VERBOSE)
def command(
    url: str | None,
    *,
    deployment: str | None,
    data: IO[bytes] | None,
    requests: int,
    as_json: bool,
    **given: Any,
) -> None:
    """Ask the server at URL, or a deployment: that of servegen.yaml where neither is named.

    Prints the answer; the time it took goes to standard error.

    \b
    servegen test http://127.0.0.1:3000
    servegen test --deployment iris --namespace ml --requests 20
    """
    from servegen.deployed import instance
    from servegen.kube.client import Cluster
    from servegen.kube.forward import Pods, listening
    from servegen.verify.ask import ask

    if url and deployment:
        msg = "name a URL or a deployment, not both"
        raise click.UsageError(msg)
    progress = console(given)
    body = data.read() if data else None
    if url:
        asked = ask(url.rstrip("/"), body, requests=requests)
    else:
        work = job(None, given)
        cluster = Cluster.connect(cluster_options(work, given))
        pods = Pods(cluster, instance(deployment, work, progress), progress)
        pods.require()
        with listening(pods.dial, 0, progress) as port:
            asked = ask(f"http://127.0.0.1:{port}", body, requests=requests)
    if as_json:
        click.echo(json.dumps(asdict(asked) | {"median": asked.median}))
        return
    took = f"median {asked.median:.1f} ms of {requests}" if requests > 1 else f"{asked.median:.1f} ms"
    progress.step(f"status {asked.status} in {took}")
    click.echo(json.dumps(asked.answer))
