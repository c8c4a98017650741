"""The command line: argv → options → one call → print. Nothing else prints or exits."""

from __future__ import annotations

import importlib
import pkgutil
import sys

import click

from servegen import __version__
from servegen.cli.console import Console
from servegen.errors import ServegenError

_HELPERS = ("console", "options")
"""Modules of this package that are no commands."""


class Commands(click.Group):
    """One file a command; a command's module is imported when the command runs, so that --help is quick."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 (the signature is click's)
        """Names of all commands, sorted."""
        return sorted(m.name for m in pkgutil.iter_modules(__path__) if m.name not in _HELPERS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command called `cmd_name`."""
        if cmd_name not in self.list_commands(ctx):
            return None
        module = importlib.import_module(f"servegen.cli.{cmd_name}")
        command = module.command
        assert isinstance(command, click.Command)  # noqa: S101 (what every command file defines)
        return command


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="servegen")
def servegen() -> None:
    """An MLflow model goes in; a tested image and the Kubernetes objects that autoscale it come out.

    \b
    servegen package models:/iris@champion
    servegen deploy --target k8s
    """


def main() -> None:
    """Run the command line; the exit code tells which stage failed."""
    verbose = any(a in ("-v", "--verbose") for a in sys.argv[1:])
    try:
        servegen(standalone_mode=False)
    except click.exceptions.Exit as exc:
        sys.exit(exc.exit_code)
    except click.ClickException as exc:
        exc.show()
        sys.exit(exc.exit_code)
    except (KeyboardInterrupt, click.Abort):
        Console.line("interrupted; nothing was left half-written")
        sys.exit(130)
    except BrokenPipeError:
        # The reader of our output is gone, as in `servegen render … | head`.
        sys.stderr.close()
        sys.exit(141)
    except ServegenError as exc:
        Console.error(exc)
        if verbose:
            raise
        sys.exit(exc.exit_code)
    except OSError as exc:
        Console.line(f"servegen: {exc}")
        Console.line("hint: check the disk and the rights on that path; -v shows where it happened")
        if verbose:
            raise
        sys.exit(1)
    except Exception as exc:
        Console.line(f"servegen: unexpected {type(exc).__name__}: {' '.join(str(exc).split())[:300]}")
        Console.line("hint: this is a bug; run with -v and report what it prints")
        if verbose:
            raise
        sys.exit(1)
