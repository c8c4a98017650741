"""What is waited for, on a terminal and elsewhere."""

import os
import pty
import re
import subprocess
import sys

from servegen.cli.console import Console

CODE = """
import time
from servegen.cli.console import Console
console = Console()
console.awaiting("iris: 0 of 2 pods ready", {"iris-a": "pending", "iris-b": "ContainerCreating"})
time.sleep(0.4)
console.warn("look")
console.awaiting("iris: 1 of 2 pods ready", {"iris-b": "running, not ready"})
time.sleep(0.4)
console.awaiting("iris: 2 of 2 pods ready", {})
console.step("done")
console.close()
"""


def on_a_terminal(code):
    """What a terminal of 80 columns gets, and what of it is left at the end."""
    ours, theirs = pty.openpty()
    env = {**os.environ, "TERM": "xterm", "COLUMNS": "80"}
    with subprocess.Popen([sys.executable, "-c", code], stderr=theirs, env=env) as process:
        os.close(theirs)
        seen = b""
        try:
            while chunk := os.read(ours, 65536):
                seen += chunk
        except OSError:
            pass  # how a terminal ends
    os.close(ours)
    assert process.returncode == 0
    return seen.decode()


def test_a_terminal_shows_a_line_for_each_part_and_keeps_only_the_end():
    seen = on_a_terminal(CODE)
    assert "iris: 0 of 2 pods ready" in seen
    assert re.search(r"iris-a +pending", seen)
    assert re.search(r"iris-b +ContainerCreating", seen)
    assert re.search(r"iris-b +running, not ready", seen)
    # Below the last place where the region was erased.
    left = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", seen.rpartition("\x1b[2K")[2])
    assert [line.partition(" s  ")[2] for line in left.split("\r\n") if line] == [
        "iris: 2 of 2 pods ready",
        "done",
    ]
    assert "warning: look" in seen


def test_elsewhere_each_change_is_one_line(capsys):
    console = Console()
    console.awaiting("iris: 0 of 1 pods ready", {"iris-a": "pending"})
    console.awaiting("iris: 1 of 1 pods ready", {})
    lines = [line.partition(" s  ")[2] for line in capsys.readouterr().err.splitlines()]
    assert lines == ["iris: 0 of 1 pods ready: iris-a pending", "iris: 1 of 1 pods ready"]
