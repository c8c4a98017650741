"""`servegen port-forward`: a deployed model on a port of this machine."""

from __future__ import annotations

import threading
from typing import Any

import click

from servegen.cli.console import until_stopped
from servegen.cli.options import CLUSTER, VERBOSE, cluster_options, console, job, options


@click.command("port-forward", short_help="Make a deployed model reachable from this machine.")
@click.argument("name", required=False)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=3000,
    show_default=True,
    help="Port of 127.0.0.1; 0 takes any.",
)
@options(CLUSTER, VERBOSE)
def command(name: str | None, *, port: int, **given: Any) -> None:
    """Forward a local port to a ready pod of deployment NAME until Ctrl-C; default: that of servegen.yaml.

    Prints the URL. When the pod goes, new connections go to another one.

    \b
    servegen port-forward iris --namespace ml
    curl http://127.0.0.1:3000/v2/models/iris
    """
    from servegen.deployed import instance
    from servegen.kube.client import Cluster
    from servegen.kube.forward import Pods, listening

    progress = console(given)
    work = job(None, given)
    cluster = Cluster.connect(cluster_options(work, given))
    found = instance(name, work, progress)
    pods = Pods(cluster, found, progress)
    pods.require()
    with until_stopped(f"no longer forwarding to {found}"), listening(pods.dial, port, progress) as listened:
        click.echo(f"http://127.0.0.1:{listened}")
        threading.Event().wait()
