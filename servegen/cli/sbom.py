"""`servegen sbom`: what is in a packaged image."""

from __future__ import annotations

import json
from typing import Any

import click

from servegen.cli.options import REGISTRY, STORES, VERBOSE, console, job, options


@click.command("sbom", short_help="Show what is in a packaged image.")
@click.argument("image")
@click.option("--json", "as_json", is_flag=True, help="The CycloneDX document itself.")
@options(REGISTRY, STORES, VERBOSE)
def command(image: str, *, as_json: bool, **given: Any) -> None:
    """List model, base and packages of IMAGE, from the bill of materials that was made with it.

    \b
    servegen sbom ghcr.io/me/iris:3
    servegen sbom ghcr.io/me/iris:3 --json > iris.cdx.json
    """
    from servegen.supplychain import find_sbom

    progress = console(given)
    try:
        document = find_sbom(image, job(None, given), progress)
    finally:
        progress.close()
    if as_json:
        click.echo(document, nl=False)
        return
    rows = [(kind(c), c["name"], c.get("version", "")) for c in json.loads(document)["components"]]
    widths = [max(len(row[i]) for row in rows) for i in range(2)]
    for what, name, version in sorted(rows):
        click.echo(f"{what:{widths[0]}}  {name:{widths[1]}}  {version}")


def kind(component: dict[str, Any]) -> str:
    """What a component is, in a word: the kind of package, else its CycloneDX type."""
    purl = str(component.get("purl", ""))
    words = {"pkg:pypi/": "python", "pkg:deb/": "debian"}
    return next((word for start, word in words.items() if purl.startswith(start)), component["type"])
