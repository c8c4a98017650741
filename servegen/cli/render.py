"""`servegen render`: the Kubernetes objects of a model as files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from servegen.cli import fleet, watcher
from servegen.cli.options import (
    DEPLOY,
    IMAGE,
    REGISTRY,
    STORES,
    VERBOSE,
    VERIFY,
    console,
    is_fleet,
    is_model,
    job,
    options,
)

if TYPE_CHECKING:
    from servegen.gitops.controllers import Delivered
    from servegen.job import Job
    from servegen.pipeline import Rendered


def _explain(context: click.Context, option: click.Parameter, value: bool) -> None:  # noqa: ARG001, FBT001 (click's)
    if not value or context.resilient_parsing:
        return
    from servegen.cli import tables
    from servegen.kube.exceptions import WAIVED

    rows = [(one.tool, one.id, one.kind, one.reason, one.remedy) for one in WAIVED]
    tables.show(("TOOL", "RULE", "KIND", "WHY IT IS LEFT SO", "SETTING"), rows)
    context.exit()


@click.command("render", short_help="Write the Kubernetes objects of a model or image.")
@click.argument("subject", metavar="MODEL|IMAGE|FOLDER", required=False)
@click.option(
    "--format",
    "format_name",
    default="manifests",
    show_default=True,
    help="manifests, kustomize, helm, kserve, compose, or watcher: what runs `servegen watch`.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="Folder to write to, or FILE.tgz for a packed chart; default: stdout.",
)
@click.option("--push", "place", metavar="oci://…", help="Push the chart there, as `helm push` does.")
@click.option(
    "--gitops",
    metavar="CONTROLLER",
    help="argo or flux: also what applies the objects; then DIR is the repository's root.",
)
@click.option("--repo", metavar="URL", help="With --gitops: the repository, or oci://… of an artifact.")
@click.option("--branch", help="With --gitops: branch, tag or digest; of a chart in a registry its version.")
@click.option("--path", metavar="FOLDER", help="With --gitops: the model's folder; default apps/NAME.")
@click.option("--project", help="With --gitops argo: the AppProject.")
@click.option(
    "--application-set", is_flag=True, help="With --gitops argo: one object for all models of the repository."
)
@click.option("--chart-version", metavar="VERSION", help="Version of the chart; default: servegen's own one.")
@click.option(
    "--suppressions", is_flag=True, help="Add annotations that tell checkov and kube-score what to leave out."
)
@click.option(
    "--explain-checks",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_explain,
    help="Say which rules of checkov and kube-score are broken on purpose, and why.",
)
@options(watcher.OPTIONS, DEPLOY, IMAGE, REGISTRY, VERIFY, STORES, VERBOSE)
def command(
    subject: str | None,
    *,
    format_name: str,
    output: Path | None,
    place: str | None,
    gitops: str | None,
    repo: str | None,
    branch: str | None,
    path: str | None,
    project: str | None,
    application_set: bool,
    chart_version: str | None,
    **given: Any,
) -> None:
    """Write the objects that deploy MODEL or IMAGE, as files below a folder or as one YAML stream.

    A model is packaged first when it is not yet; its image is not pushed. Of a FOLDER, the objects of all
    servegen.yaml below it, with -o each in a folder of its own, with --gitops all below the one root.

    \b
    servegen render models:/iris@champion --namespace ml | kubectl apply -f -
    servegen render ghcr.io/me/iris:3 --format kustomize -o apps/iris
    servegen render ghcr.io/me/iris:3 --format helm -o iris-1.0.0.tgz --chart-version 1.0.0
    servegen render ghcr.io/me/iris:3 --format helm --push oci://ghcr.io/me/charts --chart-version 1.0.0
    servegen render ghcr.io/me/iris:3 --format compose > compose.yaml
    servegen render ghcr.io/me/iris:3 --format kustomize --gitops argo --project ml \\
      --repo https://github.com/me/models -o .
    servegen render models/ --format watcher --watcher-image ghcr.io/me/servegen:1 -n models -o watcher/
    """
    from servegen import charts
    from servegen.pipeline import image_of, rehearse, render
    from servegen.targets.directory import check, write

    packed = output is not None and output.suffix == ".tgz"
    if format_name != "helm" and (packed or place or chart_version):
        msg = "FILE.tgz, --push and --chart-version are for charts: add --format helm"
        raise click.UsageError(msg)
    charts.check(place, chart_version)
    where = {"repo": repo, "branch": branch, "path": path, "project": project, "set": application_set}
    if gitops is None and any(where.values()):
        msg = "--repo, --branch, --path, --project and --application-set say what --gitops argo or flux reads"
        raise click.UsageError(msg)
    if gitops and (packed or place or (path and is_fleet(subject))):
        of_many = "--path is for one model: git.path in servegen.yaml says it for each"
        msg = "--gitops is for folders, not for FILE.tgz and --push" if packed or place else of_many
        raise click.UsageError(msg)
    if format_name == "watcher":
        watcher.render(subject, output, given)
        return
    watcher.refuse(given)
    progress = console(given)
    if is_fleet(subject):
        if packed or place or chart_version:
            msg = "FILE.tgz, --push and --chart-version are for one chart, not for those of a folder"
            raise click.UsageError(msg)
        if gitops is None:
            fleet.render(Path(subject or ""), format_name, output, given, progress)
            return
        fleet.render_gitops(
            Path(subject or ""),
            format_name,
            output,
            given,
            progress,
            lambda made, work: replace(made, renderer=_delivered(work, format_name, gitops, where)),
        )
        return
    model = subject if subject and is_model(subject) else None
    work = job(model, given)
    to_stdout = output is None and place is None

    def delivered(made: Rendered) -> Rendered:
        if gitops is None:
            return made
        return replace(made, renderer=_delivered(work, format_name, gitops, where))

    try:
        # What cannot be written is known before minutes of packaging.
        rehearsal = delivered(rehearse(work, format_name))
        if to_stdout:
            rehearsal.stream()
        else:
            rehearsal.bundle()
        if output is not None:
            check(output.parent if packed else output)
        image = image_of(None if model else subject, work, progress)
        rendered = delivered(render(image, work, format_name))
        if to_stdout:
            click.echo(rendered.stream(), nl=False)
            return
        bundle = rendered.bundle()
        if chart_version:
            bundle = charts.with_version(bundle, chart_version)
        if output is not None and packed:
            charts.write(charts.pack(bundle), output)
        elif output is not None:
            for change in write(bundle, output):
                progress.step(f"{output / change.name} {change.action}")
        pushed = charts.push(charts.pack(bundle), place, work, progress) if place else None
    finally:
        progress.close()
    click.echo(pushed or output)


def _delivered(work: Job, format_name: str, gitops: str, where: dict[str, Any]) -> Delivered:
    """What writes the format's files and the controller's objects, by `git` of servegen.yaml and options."""
    from servegen.gitops.controllers import Delivered

    git = work.config.git
    argo = replace(
        git.argo,
        project=where["project"] or git.argo.project,
        application_set=where["set"] or git.argo.application_set,
    )
    named = {key: where[key] for key in ("repo", "branch", "path") if where[key] is not None}
    return Delivered(layout_name=format_name, controller=gitops, git=replace(git, **named, argo=argo))
