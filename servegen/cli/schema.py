"""`servegen schema`: the JSON Schema of servegen.yaml."""

from __future__ import annotations

import click


@click.command("schema", short_help="Print the JSON Schema of servegen.yaml for editors.")
def command() -> None:
    """Print the JSON Schema of servegen.yaml; editors complete and check with it.

    `servegen init` writes it beside servegen.yaml; after an update of servegen:

    \b
    servegen schema > servegen.schema.json
    """
    import json

    from servegen.config import schema

    click.echo(json.dumps(schema(), indent=2, ensure_ascii=False))
