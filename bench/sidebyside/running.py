"""Start a server, see that it answers as the model does, and end it."""

from __future__ import annotations

import contextlib
import http.client
import json
import math
import os
import re
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sidebyside.environments import Environments, child_environ
from sidebyside.machine import Cores, Watch, family, free_port, pinned
from sidebyside.servers import Case, Server

_POLL = 0.005
_AT_ONCE = 16
_TURNS = 4
_START_LIMIT = 120.0
_STOP_LIMIT = 30.0


class ServerError(Exception):
    """A server does not start, or answers something else than the model."""


@dataclass(frozen=True, kw_only=True)
class Running:
    """A server that is ready."""

    pid: int
    port: int
    ready_seconds: float
    """From the start of the process to the first 200 of its readiness route."""
    other_cpu: float
    """Share of a core that others used meanwhile."""


@contextlib.contextmanager
def started(server: Server, case: Case, *, envs: Environments, cores: Cores) -> Iterator[Running]:
    """The server on its core, ready; ended by its process id on leaving."""
    with tempfile.TemporaryDirectory(prefix="servegen-bench-") as name:
        folder = Path(name)
        port = free_port()
        launch = server.launch(envs, case, port, folder)
        log = folder / "log"
        with log.open("wb") as out:
            watch = Watch(cores)
            begin = time.perf_counter()
            process = subprocess.Popen(
                pinned(cores.server, launch.argv),
                env=child_environ(**launch.environ),
                cwd=launch.folder or folder,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            while ask(port, server.ready) is None:
                if process.poll() is not None or time.perf_counter() - begin > _START_LIMIT:
                    raise ServerError("not ready")
                time.sleep(_POLL)
            seconds = time.perf_counter() - begin
            others = watch.read(process.pid).others
            yield Running(pid=process.pid, port=port, ready_seconds=seconds, other_cpu=others)
        except ServerError as exc:
            raise ServerError(f"{exc}; its log: {_tail(log)}") from exc
        finally:
            _end(process)


def check(server: Server, case: Case, running: Running) -> None:
    """Raise ServerError unless every row is answered as the model answers it without a server.

    First one by one, then many at once: a server that merges requests could mix them up.
    """
    bodies = [server.body(case, [row]) for row in case.rows]

    def asked(body: Any) -> Any:
        return ask(running.port, server.path, body)

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        answers = [*map(asked, bodies), *pool.map(asked, bodies * _TURNS)]
    many = 1 + _TURNS
    for answer, body, expected in zip(answers, bodies * many, case.answers * many, strict=True):
        if not _right(server, answer, body, expected):
            raise ServerError(f"answers {str(answer)[:200]} where the model says {expected}")


def _right(server: Server, answer: Any, body: Any, expected: float) -> bool:
    if server.read is None:
        return bool(answer == body)
    try:
        found = server.read(answer)
        return len(found) == 1 and math.isclose(float(found[0]), expected)
    except (LookupError, TypeError, ValueError):
        return False


def ask(port: int, path: str, body: Any = None) -> Any:
    """The JSON of a 200 (its text where it is none); None for anything else."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        if body is None:
            connection.request("GET", path)
        else:
            connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
        response = connection.getresponse()
        data = response.read()
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
    if response.status != 200:
        return None
    try:
        return json.loads(data)
    except ValueError:
        return data.decode(errors="replace")


def _end(process: subprocess.Popen[bytes]) -> None:
    members = family(process.pid)
    process.terminate()
    try:
        process.wait(_STOP_LIMIT)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    # Workers whose parent left without them.
    for pid in members - {process.pid}:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _tail(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    # What ended it is seldom the last thing that it says.
    telling = [line for line in lines if re.match(r"\s*[\w.]*(Error|Exception)\b", line)]
    return " | ".join((telling or lines)[-3:])[-600:]
