"""`servegen init`: a servegen.yaml to begin with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from servegen.cli.options import VERBOSE, console, options


@click.command("init", short_help="Write a servegen.yaml for a model.")
@click.argument("model")
@click.option("--image", default="registry.example.com/me/my-model", show_default=True, help="Where it goes.")
@options(VERBOSE)
def command(model: str, *, image: str, **given: Any) -> None:
    """Write servegen.yaml for MODEL into this folder; an existing one is left as it is.

    Beside it is written servegen.schema.json, with which editors complete and check its keys.

    \b
    servegen init models:/iris@champion --image ghcr.io/me/iris
    """
    import json

    from servegen.config import FILE, SCHEMA_FILE, schema, starter
    from servegen.errors import ConfigError

    progress = console(given)
    path = Path(FILE)
    text = starter(model, image)
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as exc:
        msg = f"there is a {FILE} here already"
        raise ConfigError(msg, hint=f"edit it, or remove it first: rm {FILE}") from exc
    Path(SCHEMA_FILE).write_text(json.dumps(schema(), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    progress.step("next: servegen package, then servegen deploy --target k8s")
    click.echo(path)
