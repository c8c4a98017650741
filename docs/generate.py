"""Writes docs/reference from the program itself: commands, servegen.yaml and exit codes."""

from __future__ import annotations

import json
import sys
import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any

import click

from servegen import cli, errors
from servegen.config import SCHEMA_FILE, Config, schema

HERE = Path(__file__).resolve().parent / "reference"
NOTE = "<!-- Written by docs/generate.py; run `make docs` after a change. -->\n"


def main(target: Path) -> None:
    """Write every generated page below `target`."""
    target.mkdir(parents=True, exist_ok=True)
    for name, text in (
        ("commands.md", commands()),
        ("servegen-yaml.md", options()),
        ("exit-codes.md", codes()),
        (SCHEMA_FILE, json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"),
    ):
        (target / name).write_text(text, encoding="utf-8")


def commands() -> str:
    """The help of every command."""
    pages = [NOTE, "# Commands\n", _help(cli.servegen, "servegen")]
    context = click.Context(cli.servegen)
    for name in cli.servegen.list_commands(context):
        command = cli.servegen.get_command(context, name)
        pages += [f"## {name}\n", _help(command, f"servegen {name}") if command else ""]
    return "\n".join(pages)


def _help(command: click.Command, name: str) -> str:
    context = click.Context(command, info_name=name, max_content_width=100, terminal_width=100)
    return f"```\n{command.get_help(context)}\n```\n"


def options() -> str:
    """Every key of servegen.yaml."""
    lines = [
        NOTE,
        "# servegen.yaml\n",
        "One file a model, in the folder where commands are typed. Every key may be left out; an option on",
        "the command line wins over it. Relative paths start at the folder where the command is typed.\n",
        "| key | type | default | meaning |",
        "|---|---|---|---|",
        *_rows(Config, ""),
    ]
    return "\n".join(lines) + "\n"


def _rows(kind: Any, prefix: str, *, nested: bool = True) -> list[str]:
    hints = typing.get_type_hints(kind)
    rows = []
    for field in fields(kind):
        name, hint = f"{prefix}{field.name}", _inner(hints[field.name])
        by_name = typing.get_origin(hints[field.name]) is Mapping
        text = str(field.metadata.get("help", "")).replace("|", "\\|")
        if is_dataclass(hint) and not nested:
            rows.append(f"| `{name}` | mapping | | {text} |")
        elif is_dataclass(hint) and hint is not hints[field.name]:
            rows.append(f"| `{name}` | {'mapping' if by_name else 'list'} | | {text} |")
            # What an environment may change below these keys has been shown already.
            rows += _rows(hint, f"{name}.NAME." if by_name else f"{name}[].", nested=not by_name)
        elif is_dataclass(hint):
            rows.append(f"| `{name}` | mapping | | {text} |")
            rows += _rows(hint, f"{name}.")
        else:
            rows.append(f"| `{name}` | {_word(hints[field.name])} | {_default(field)} | {text} |")
    return rows


def _inner(hint: Any) -> Any:
    arguments = typing.get_args(hint)
    return arguments[-1 if typing.get_origin(hint) is Mapping else 0] if _holds_many(hint) else hint


def _holds_many(hint: Any) -> bool:
    return typing.get_origin(hint) in (tuple, Mapping)


def _word(hint: Any) -> str:
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        hint = next(a for a in typing.get_args(hint) if a is not types.NoneType)
    origin = typing.get_origin(hint)
    words = {str: "text", int: "whole number", float: "number", bool: "true or false", tuple: "list"}
    return words.get(origin or hint, "mapping")


def _default(field: Any) -> str:
    if field.default is MISSING or field.default in (None, ()):
        return ""
    return f"`{str(field.default).lower() if isinstance(field.default, bool) else field.default}`"


def codes() -> str:
    """Every exit code."""
    lines = [
        NOTE,
        "# Exit codes\n",
        "A command that fails prints one line that says what with which value, and one that says what to",
        "try. Its exit code tells the stage and the cause.\n",
        "| code | class | when |",
        "|---|---|---|",
        "| 0 | | done |",
        "| 1 | | failed for a reason without its own code, and printed nothing on standard output; "
        "`deploy --dry-run`: there are differences, and they were printed |",
        "| 2 | | the command line itself is wrong |",
    ]
    classes = {
        c for c in vars(errors).values() if isinstance(c, type) and issubclass(c, errors.ServegenError)
    }
    found = sorted(classes - {errors.ServegenError}, key=lambda c: c.exit_code)
    lines += [f"| {each.exit_code} | `{each.__name__}` | {each.__doc__} |" for each in found]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE)
