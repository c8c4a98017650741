"""`servegen accelerate`: try a model as ONNX and prove that it answers alike."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from servegen.cli.options import STORES, VERBOSE, console, job, options


@click.command("accelerate", short_help="Try a model as ONNX, prove it and measure it.")
@click.argument("model", required=False)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="Folder for model.onnx and acceleration.json."
)
@click.option(
    "--tolerance",
    type=click.FloatRange(min=0, max=0.1),
    default=1e-6,
    show_default=True,
    help="How far numbers may be apart, relative to them; classes never may.",
)
@click.option(
    "--rows",
    type=click.IntRange(min=256),
    default=5_000,
    show_default=True,
    help="Rows drawn at random, beside those on the model's thresholds and edges.",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the random rows.")
@click.option("--index-url", help="Package index, where an environment has to be made for the model.")
@click.option("--json", "as_json", is_flag=True, help="The report as JSON, also of a refusal.")
@options(STORES, VERBOSE)
def command(
    model: str | None,
    *,
    output: Path | None,
    tolerance: float,
    rows: int,
    seed: int,
    as_json: bool,
    **given: Any,
) -> None:
    """Convert MODEL to ONNX, compare both row by row, and say how much faster a row is answered.

    A model that cannot be converted, or of which a row is answered differently, ends with exit code 35 and
    the request that shows it.

    \b
    servegen accelerate models:/iris@champion
    servegen accelerate models:/iris@champion -o build/iris --rows 1000000
    """
    from servegen.accelerate.report import counterexample, document, facts, lines
    from servegen.accelerate.running import Wishes
    from servegen.acceleration import accelerate_model
    from servegen.errors import ConversionRefusedError
    from servegen.values.acceleration import FORM_FILE, MODEL_FILE, Refused

    progress = console(given)
    wishes = Wishes(count=rows, seed=seed, tolerance=tolerance)
    try:
        found, result = accelerate_model(job(model, given), wishes, progress)
    finally:
        progress.close()
    if as_json:
        click.echo(json.dumps(facts(result), indent=2, ensure_ascii=False))
    if isinstance(result, Refused):
        msg = f"{found.pin.uri} stays as it is: {result.step}: {result.reason}"
        hint = "servegen package serves it as it was logged"
        raise ConversionRefusedError(msg, hint=hint, details=counterexample(result))
    if output is not None:
        output.mkdir(parents=True, exist_ok=True)
        (output / MODEL_FILE).write_bytes(result.converted.model)
        (output / FORM_FILE).write_text(document(result), encoding="utf-8")
    if not as_json:
        for line in lines(result):
            click.echo(line)
