"""`servegen inspect`: what a model or an image is."""

from __future__ import annotations

import json
from typing import Any

import click

from servegen.cli.options import REGISTRY, STORES, VERBOSE, console, is_model, job, options


@click.command("inspect", short_help="Show what a model or a packaged image is.")
@click.argument("subject", metavar="MODEL|IMAGE", required=False)
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@options(REGISTRY, STORES, VERBOSE)
def command(subject: str | None, *, as_json: bool, **given: Any) -> None:
    """Show what MODEL or IMAGE is: pin, flavors, signature, Python, requirements, example.

    \b
    servegen inspect models:/iris@champion
    servegen inspect ghcr.io/me/iris:3 --json
    """
    from servegen.images import find_image
    from servegen.pipeline import inspect_model

    progress = console(given)
    try:
        if subject and not is_model(subject):
            image = find_image(subject, job(None, given), progress)
            facts: dict[str, Any] = {"reference": image.ref.pinned, "platform": str(image.platform)}
            facts |= {n.removeprefix("dev.servegen."): v for n, v in image.labels}
            if proof := facts.get("accelerated"):
                facts["accelerated"] = json.loads(proof) if as_json else _told(json.loads(proof))
        else:
            facts = inspect_model(job(subject, given), progress)
    finally:
        progress.close()
    if as_json:
        click.echo(json.dumps(facts, indent=2, ensure_ascii=False))
        return
    width = max(len(name) for name in facts)
    for name, value in facts.items():
        lines = value if isinstance(value, list) else [value]
        for i, line in enumerate(lines or [None]):
            click.echo(f"{name if i == 0 else '':{width}}  {'-' if line is None else line}")


def _told(proof: dict[str, Any]) -> str:
    worst = f"to {proof['worst']:.2g} at worst" if proof["worst"] else "to the bit"
    return (
        f"{proof['format']}: answers as the original on {proof['rows']} rows, {worst} "
        f"(tolerance {proof['tolerance']:g}, seed {proof['seed']}, onnxruntime {proof['onnxruntime']})"
    )
