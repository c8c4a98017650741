"""The command line: argv → options → one call → print. Nothing else prints or exits."""

from __future__ import annotations

import errno
import importlib
import io
import itertools
import os
import pkgutil
import re
import select
import signal
import sys
import traceback
from collections.abc import Mapping
from typing import NoReturn

import click

from servegen import __version__
from servegen.cli.console import Console, Events
from servegen.errors import DiskFullError, ServegenError, StoppedError

_HELPERS = ("beside", "awaiting", "console", "fleet", "options", "tables", "watcher")
"""Modules of this package that are no commands."""


class Commands(click.Group):
    """One file a command; a command's module is imported when the command runs, so that --help is quick."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 (the signature is click's)
        """Names of all commands, sorted."""
        found = (m.name for m in pkgutil.iter_modules(__path__) if m.name not in _HELPERS)
        return sorted(name.replace("_", "-") for name in found)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command called `cmd_name`."""
        if cmd_name not in self.list_commands(ctx):
            return None
        module = importlib.import_module(f"servegen.cli.{cmd_name.replace('-', '_')}")
        command = module.command
        assert isinstance(command, click.Command)  # noqa: S101 (what every command file defines)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that `args` name; UsageError where one of them is empty."""
        for before, text in itertools.pairwise(args):
            # Taken for "not given", it would deploy elsewhere than meant, or sign nothing.
            if not text or re.fullmatch(r"--[a-z-]+=", text):
                msg = (
                    f"an empty text was given after {text or before}: is the variable set that it comes from?"
                )
                raise click.UsageError(msg, ctx)
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> object:
        """What the command returns; the status of SIGPIPE when the reader of our output is gone."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError as exc:
            # Here and not in `main`, because click itself would end with status 1, without a word.
            if not _unread():
                msg = "a connection was closed while something was sent over it"
                raise ServegenError(msg, hint="run the command again; -v shows where it happened") from exc
            # What is still buffered goes nowhere, as in `servegen render … | head`.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise click.exceptions.Exit(141) from exc


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="servegen")
def servegen() -> None:
    """An MLflow model goes in; a tested image and the Kubernetes objects that autoscale it come out.

    \b
    servegen package models:/iris@champion
    servegen deploy --target k8s
    """


class _Stop:
    """Makes SIGTERM do what Ctrl-C does, and tells by `exit_code` which of them came."""

    exit_code = StoppedError.exit_code

    def __call__(self, number: int, _frame: object) -> None:
        self.exit_code = 128 + number
        raise KeyboardInterrupt


def main() -> None:
    """Run the command line; the exit code tells which stage failed."""
    _open_streams()
    stop = _Stop()
    # Otherwise a cancelled CI job ends without a word and leaves its temporary files.
    signal.signal(signal.SIGTERM, stop)
    asked: dict[str, bool] = {}
    try:
        # Outside its standalone mode click returns the status that a command ended with.
        status = servegen(standalone_mode=False, obj=asked)
    except click.ClickException as exc:
        shown = io.StringIO()
        exc.show(shown)
        Console.line(shown.getvalue().rstrip())
        sys.exit(exc.exit_code)
    except (KeyboardInterrupt, click.Abort):
        _tell(
            StoppedError("interrupted", hint="nothing was left half-written; run it again to go on"),
            stop.exit_code,
            asked,
        )
    except StoppedError as exc:
        _tell(exc, stop.exit_code, asked)
    except Exception as exc:  # noqa: BLE001 (the one place where every error ends)
        if asked.get("verbose") and not asked.get("events"):
            Console.line(traceback.format_exc().rstrip())
        error = _named(exc)
        _tell(error, error.exit_code, asked)
    sys.exit(status if isinstance(status, int) else 0)


def _tell(error: ServegenError, exit_code: int, asked: Mapping[str, bool]) -> NoReturn:
    """End the command with an error in two lines, or as an event."""
    kind = Events if asked.get("events") else Console
    kind.error(error, exit_code)
    sys.exit(exit_code)


def _named(error: Exception) -> ServegenError:
    """The error, with a hint if it has none."""
    if full := _full_disk(error):
        return full
    if isinstance(error, ServegenError):
        return error
    if isinstance(error, OSError):
        hint = "check the disk and the rights on that path; -v shows where it happened"
        return ServegenError(str(error), hint=hint)
    text = f"unexpected {type(error).__name__}: {' '.join(str(error).split())[:300]}"
    return ServegenError(text, hint="this is a bug; run with -v and report what it prints")


def _full_disk(error: Exception) -> DiskFullError | None:
    """The error for a full disk, when that is what is behind `error`."""
    cause: BaseException | None = error
    while cause and not (isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT)):
        cause = cause.__cause__
    if not isinstance(cause, OSError):
        return None
    return DiskFullError(f"the disk is full for {cause.filename}" if cause.filename else "the disk is full")


def _open_streams() -> None:
    """Opens what the caller closed: the next file would get its number, and programs would write into it."""
    unheard = sys.__stdout__ is None
    while (number := os.open(os.devnull, os.O_RDWR)) < 3:
        os.set_inheritable(number, True)  # noqa: FBT003 (a positional-only flag)
    os.close(number)
    if sys.__stderr__ is None:
        sys.stderr = os.fdopen(2, "w", closefd=False)
    if unheard:
        Console.line("servegen: standard output is closed, so nobody would get the result")
        Console.line("hint: >FILE keeps the result, >/dev/null drops it")
        sys.exit(1)


def _unread() -> bool:
    """Whether nobody reads one of our streams any more."""
    poll = select.poll()
    for stream in (sys.stdout, sys.stderr):
        poll.register(stream.fileno(), 0)
    return bool(poll.poll(0))
