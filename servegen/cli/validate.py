"""`servegen validate`: what is wrong with manifests."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import Any

import click

from servegen.cli.options import CONTEXT, NAMESPACE, VERBOSE, console, options


@click.command("validate", short_help="Check manifests, kustomizations and charts.")
@click.argument("places", metavar="DIR|FILE|-...", nargs=-1, required=True)
@click.option(
    "--kube-version", metavar="1.29…1.37", help="Kubernetes version to check against; default 1.35."
)
@click.option("--server", is_flag=True, help="Ask the cluster, too: a dry run of every object.")
@click.option("--json", "as_json", is_flag=True, help="Report as JSON.")
@options(NAMESPACE, CONTEXT, VERBOSE)
def command(
    places: tuple[str, ...], *, kube_version: str | None, server: bool, as_json: bool, **given: Any
) -> None:
    """Check the objects in DIR, FILE or standard input against the schemas of a Kubernetes version.

    Findings are unknown fields, wrong types, and what breaks servegen's own rules in objects of its making.
    Kustomizations are built and charts are rendered where kubectl and helm are installed. One line a finding.

    \b
    servegen render models:/iris@champion | servegen validate -
    servegen validate manifests/ --kube-version 1.31
    servegen validate apps/iris/overlays/prod --server --context staging
    """
    from servegen.config import environment as surroundings
    from servegen.errors import ValidationError
    from servegen.kube import versions
    from servegen.kube.client import Cluster
    from servegen.kube.options import ClusterOptions
    from servegen.validation import validate

    progress = console(given)
    chosen = versions.wanted(kube_version)
    env = surroundings()
    cluster = None
    if server or given["context"] or given["namespace"]:
        cluster = Cluster.connect(
            ClusterOptions(kubeconfig=env.kubeconfig, context=given["context"], namespace=given["namespace"])
        )
        if kube_version is None:
            chosen = versions.of_server(cluster.version())
    stdin = sys.stdin.read() if "-" in places else ""
    report = validate(
        places,
        chosen,
        stdin=stdin,
        cluster=cluster,
        namespace=given["namespace"],
        env=env.variables,
        progress=progress,
    )
    progress.close()
    if as_json:
        click.echo(json.dumps({"kube_version": str(chosen), **asdict(report)}))
    else:
        for finding in report.findings:
            click.echo(finding)
    if report.findings:
        msg = f"findings: {len(report.findings)}, objects: {report.objects}, for Kubernetes {chosen}"
        raise ValidationError(msg, hint="each line above names file, object and field")
    if not report.objects:
        # What ran before in a pipe may have failed.
        msg = f"there is no Kubernetes object in {' '.join(places)}"
        raise ValidationError(msg, hint="name a file or folder of manifests, or - for standard input")
    progress.step(f"{report.objects} objects are valid for Kubernetes {chosen}")
