"""`servegen package --json`: one event a line on standard error, described in docs/reference/events.md."""

import contextlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from servegen import errors
from servegen.cli.console import Console, Events
from servegen.errors import BuildError

EVENTS_PAGE = Path(__file__).resolve().parents[2] / "docs/reference/events.md"


def told(capsys) -> list[dict]:
    out, err = capsys.readouterr()
    assert out == ""
    return [json.loads(line) for line in err.splitlines()]


def test_everything_is_an_event(capsys):
    events = Events(verbose=True)
    events.step("resolving")
    events.warn("not run")
    events.program(["uv", "lock"])
    events.bytes("upload model", 5, 5)
    events.error(BuildError("broken", hint="mend it", details="why"), BuildError.exit_code)
    found = told(capsys)
    assert [each["event"] for each in found] == ["step", "warning", "program", "bytes", "error"]
    assert found[3] | {"task": "upload model", "done": 5, "total": 5} == found[3]
    assert found[4] == {
        "event": "error",
        "message": "broken",
        "hint": "mend it",
        "details": "why",
        "exit_code": 30,
    }


def test_every_event_and_field_is_in_the_reference(capsys):
    events = Events(verbose=True)
    events.step("a")
    events.warn("a")
    events.program(["a"])
    events.bytes("a", 1, 1)
    events.error(BuildError("a", hint="a"))
    page = EVENTS_PAGE.read_text()
    for each in told(capsys):
        row = next(line for line in page.splitlines() if line.startswith(f"| `{each['event']}` "))
        assert set(re.findall(r"`(\w+)`", row)) >= {"event", *each} - {"event", "seconds"}


def test_a_task_is_told_at_its_begin_and_end_and_seldom_between(capsys):
    events = Events()
    for done in range(1001):
        events.bytes("upload model", done, 1000)
    found = told(capsys)
    assert [found[0]["done"], found[-1]["done"]] == [0, 1000]
    assert len(found) < 500


def test_no_login_is_in_an_event(capsys):
    events = Events(verbose=True)
    events.step("asking https://me:hunter2@example.com/simple")
    events.program(["uv", "https://me:hunter2@example.com"])
    assert "hunter2" not in json.dumps(told(capsys))


def test_where_nobody_watches_a_short_task_is_not_worth_a_line(capsys):
    console = Console()
    for done in (0, 500, 1000):
        console.bytes("upload model", done, 1000)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("arguments", [[], ["-v"], ["--quiet"]])
def test_an_error_ends_the_events_and_gives_the_exit_code(tmp_path, arguments):
    argv = [sys.executable, "-m", "servegen", "package", "./absent", "--json", *arguments]
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, check=False)
    last = [json.loads(line) for line in done.stderr.splitlines()][-1]
    assert done.stdout == ""
    assert last["event"] == "error"
    assert last["exit_code"] == done.returncode == errors.ModelError.exit_code


def test_a_terminal_shows_how_many_of_the_things_are_done(monkeypatch):
    ours, theirs = os.openpty()
    with os.fdopen(theirs, "w") as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        monkeypatch.setenv("TERM", "xterm")
        monkeypatch.setenv("COLUMNS", "100")
        console = Console()
        console.count("models", 120, 300)
        console.close()
    shown = ""
    # What was written comes in parts; Linux tells of the end by an error.
    with contextlib.suppress(OSError):
        while part := os.read(ours, 1 << 16):
            shown += part.decode()
    os.close(ours)
    assert "models" in shown
    assert "120/300" in shown
