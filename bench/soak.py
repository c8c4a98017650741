"""Minutes of good requests, bad ones and clients that hang up, against one server.

    python bench/soak.py [--minutes 10] [--concurrency 64] [--runtime uvicorn] [--json FILE]

Ends with status 1 unless every good answer was the model's own, every bad body got its own 4xx, nothing was
answered with 5xx, the server's memory at the end is within 5 % of that after the first minute, and it ended
with 0.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sidebyside import models
from sidebyside.machine import family, free_port, progress

BAD = HANGING_UP = 0.05
MANY = 3000
"""Rows of an answer that comes in more than one packet."""
SETTLED = 60.0
"""Seconds after which memory should not grow; a fifth of a shorter run."""
SAMPLES = 10
TOLERANCE = 0.05
_PAGE = os.sysconf("SC_PAGE_SIZE")

Reply = tuple[int, bytes]


@dataclass(kw_only=True)
class Report:
    """What happened."""

    minutes: float
    concurrency: int
    runtime: str
    good: int = 0
    bad: int = 0
    hung_up: Counter[str] = field(default_factory=Counter)
    statuses: Counter[int] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    """The first things that went wrong."""
    wrong: int = 0
    memory: list[tuple[float, int]] = field(default_factory=list)
    """Seconds since the start of the load, and bytes of the server and its children."""
    settled_bytes: int = 0
    final_bytes: int = 0
    exit_status: int | None = None

    def fault(self, what: str) -> None:
        """Remember something that must not happen."""
        self.wrong += 1
        if len(self.faults) < 20:
            self.faults.append(what)

    @property
    def growth(self) -> float:
        """How much memory grew since the server had settled."""
        return self.final_bytes / self.settled_bytes - 1

    @property
    def failures(self) -> list[str]:
        """The conditions that do not hold."""
        server_errors = sum(n for status, n in self.statuses.items() if status >= 500)
        conditions = {
            f"{self.wrong} answers were wrong": self.wrong == 0,
            f"{server_errors} answers were 5xx": server_errors == 0,
            f"memory changed by {self.growth:+.1%}": abs(self.growth) <= TOLERANCE,
            f"the server ended with {self.exit_status}": self.exit_status == 0,
            "nothing was asked": self.good > 0 and self.bad > 0 and len(self.hung_up) == 3,
        }
        return [what for what, holds in conditions.items() if not holds]


class Rows:
    """Iris rows whose answers are known."""

    def __init__(self, cases: dict[str, Any], rng: random.Random) -> None:
        self._columns = cases["columns"]
        self._rows = cases["rows"]
        self._answers = cases["answers"]
        self._rng = rng

    def request(self, count: int) -> tuple[str, dict[str, Any], list[float]]:
        """A path, a body with so many rows, and what the model answers to each."""
        chosen = self._rng.choices(range(len(self._rows)), k=count)
        rows, answers = [self._rows[i] for i in chosen], [self._answers[i] for i in chosen]
        records = [dict(zip(self._columns, row, strict=True)) for row in rows]
        by_column = {name: [row[n] for row in rows] for n, name in enumerate(self._columns)}
        tensors = [
            {"name": name, "shape": [count], "datatype": "FP64", "data": cells}
            for name, cells in by_column.items()
        ]
        path, body = self._rng.choice(
            [
                ("/invocations", {"dataframe_split": {"columns": self._columns, "data": rows}}),
                ("/invocations", {"dataframe_records": records}),
                ("/invocations", {"instances": records}),
                ("/invocations", {"inputs": by_column}),
                ("/v2/models/model/infer", {"inputs": tensors}),
            ]
        )
        return path, body, answers


_BAD: tuple[tuple[int, str, bytes, bytes], ...] = (
    (400, "/invocations", b"application/json", b'{"dataframe_records": [{"x": 1}]}'),
    (400, "/invocations", b"application/json", b'{"inputs": '),
    (400, "/invocations", b"application/json", b'{"dataframe_split": {"columns": [], "data": [[1]]}}'),
    (400, "/invocations", b"application/json", b'{"inputs": {"sepal length (cm)": ["x"]}}'),
    (400, "/invocations", b"application/json", b"\xff\x00"),
    (400, "/invocations", b"text/csv", b"a,b\n1\n1,2,3\n"),
    (415, "/invocations", b"text/plain", b"hello"),
    (404, "/nope", b"application/json", b"{}"),
    (404, "/v2/models/other/infer", b"application/json", b"{}"),
    (400, "/v2/models/model/infer", b"application/json", b'{"inputs": [{"name": "x"}]}'),
)


class Client:
    """One of the clients: a connection that it opens again whenever it had to be closed."""

    def __init__(self, port: int, rows: Rows, report: Report, rng: random.Random) -> None:
        self._port = port
        self._rows = rows
        self._report = report
        self._rng = rng
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def run(self, until: float) -> None:
        """Ask until the time is over."""
        while time.monotonic() < until:
            draw = self._rng.random()
            act = self._ask_badly if draw < BAD else self._hang_up if draw < BAD + HANGING_UP else self._ask
            try:
                await asyncio.wait_for(act(), 30)
            except (OSError, EOFError, ValueError, asyncio.TimeoutError) as exc:
                self._report.fault(f"{act.__name__}: {type(exc).__name__}: {exc}")
                self._drop()
        self._drop()

    async def _ask(self) -> None:
        path, body, answers = self._rows.request(self._rng.choice((1, 1, 1, 1, 2, 5, 32)))
        status, got = await self._exchange(path, b"application/json", json.dumps(body).encode())
        self._report.good += 1
        given = _answers(path, got) if status == 200 else None
        if given != answers:
            self._report.fault(f"{path} {status}: {got[:200]!r} instead of {answers}")

    async def _ask_badly(self) -> None:
        wanted, path, kind, body = self._rng.choice(_BAD)
        status, got = await self._exchange(path, kind, body)
        self._report.bad += 1
        if status != wanted:
            self._report.fault(f"{path} {body!r}: {status} instead of {wanted}: {got[:200]!r}")

    async def _hang_up(self) -> None:
        way = self._rng.choice(("before the body ends", "after sending", "within the answer"))
        path, body, _ = self._rows.request(MANY if way == "within the answer" else 5)
        whole = _request(path, b"application/json", json.dumps(body).encode())
        self._drop()
        reader, writer = await self._connection()
        writer.write(whole[: len(whole) - 20] if way == "before the body ends" else whole)
        await writer.drain()
        if way == "within the answer":
            await reader.readexactly(20)
        self._report.hung_up[way] += 1
        if self._rng.random() < 0.5:
            # A reset instead of an orderly end.
            writer.transport.abort()
        self._drop()

    async def _exchange(self, path: str, kind: bytes, body: bytes) -> Reply:
        reader, writer = await self._connection()
        writer.write(_request(path, kind, body))
        await writer.drain()
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = int(head.split(b"content-length: ")[1].split(b"\r\n")[0])
        answer = await reader.readexactly(length)
        if b"\r\nconnection: close" in head:
            self._drop()
        status = int(head.split()[1])
        self._report.statuses[status] += 1
        return status, answer

    async def _connection(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._reader is None or self._writer is None:
            self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port, limit=2**20)
        return self._reader, self._writer

    def _drop(self) -> None:
        if self._writer is not None:
            self._writer.close()
        self._reader = self._writer = None


def _request(path: str, kind: bytes, body: bytes) -> bytes:
    head = b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n"
    return head % (path.encode(), kind, len(body)) + body


def _answers(path: str, body: bytes) -> list[float]:
    value = json.loads(body)
    answers: list[float] = value["outputs"][0]["data"] if path.startswith("/v2") else value["predictions"]
    return answers


async def soak(folder: Path, report: Report) -> None:
    """Load the server for the minutes of the report, and fill it in."""
    cases = json.loads((folder / "cases.json").read_text())
    async with _server(folder, report.runtime) as (process, port):
        until = time.monotonic() + report.minutes * 60
        clients = []
        for number in range(report.concurrency):
            rng = random.Random(number)
            clients.append(Client(port, Rows(cases, rng), report, rng).run(until))
        await asyncio.gather(_watch(process.pid, report, until), *clients)
        process.send_signal(signal.SIGTERM)
        report.exit_status = await asyncio.to_thread(process.wait, 60)
    settled = min(SETTLED, report.minutes * 60 / 5)
    after = [size for at, size in report.memory if at >= settled]
    report.settled_bytes = int(statistics.median(after[:SAMPLES]))
    report.final_bytes = int(statistics.median(after[-SAMPLES:]))


async def _watch(pid: int, report: Report, until: float) -> None:
    began = time.monotonic()
    while (now := time.monotonic()) < until:
        report.memory.append((round(now - began, 1), _memory(pid)))
        if len(report.memory) % 30 == 0:
            progress(f"{now - began:.0f} s: {report.good} good, {report.memory[-1][1] / 2**20:.1f} MiB")
        await asyncio.sleep(1)


def _memory(pid: int) -> int:
    pages = 0
    for one in family(pid):
        with contextlib.suppress(OSError):
            pages += int(Path(f"/proc/{one}/statm").read_text().split()[1])
    return pages * _PAGE


@contextlib.asynccontextmanager
async def _server(folder: Path, runtime: str) -> AsyncIterator[tuple[subprocess.Popen[bytes], int]]:
    port = free_port()
    env = {
        **os.environ,
        "SERVEGEN_MODEL": str(folder / "model"),
        "SERVEGEN_HOST": "127.0.0.1",
        "SERVEGEN_PORT": str(port),
        "SERVEGEN_RUNTIME": runtime,
        "SERVEGEN_DRAIN_DELAY": "0",
    }
    log = folder / "log"
    with log.open("wb") as out:
        process = subprocess.Popen([sys.executable, "-m", "servegen.server"], env=env, stdout=out, stderr=out)
    try:
        end = time.monotonic() + 120
        while not await _is_ready(port):
            if process.poll() is not None or time.monotonic() > end:
                sys.exit(f"bench: the server did not start: {log.read_text()[-2000:]}")
            await asyncio.sleep(0.1)
        yield process, port
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


async def _is_ready(port: int) -> bool:
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    with contextlib.closing(writer):
        writer.write(b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n")
        return b" 200 " in await reader.readline()


def _show(report: Report) -> None:
    seconds = report.minutes * 60
    print(f"runtime {report.runtime}, concurrency {report.concurrency}, {report.minutes:g} minutes")
    print(f"good requests     {report.good} ({report.good / seconds:.0f}/s)")
    print(f"bad requests      {report.bad}")
    print(f"hung up           {', '.join(f'{n} {way}' for way, n in report.hung_up.items())}")
    print(f"statuses          {dict(sorted(report.statuses.items()))}")
    step = max(1, len(report.memory) // 12)
    curve = " ".join(f"{at:.0f}s:{size / 2**20:.1f}" for at, size in report.memory[::step])
    print(f"memory, MiB       {curve}")
    print(
        f"                  settled {report.settled_bytes / 2**20:.1f}, end {report.final_bytes / 2**20:.1f}"
    )
    for fault in report.faults:
        print(f"fault: {fault}")
    print("; ".join(report.failures) or "all conditions hold")


def main() -> int:
    """Run, print and write the report; exit status 1 when a condition does not hold."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--concurrency", type=int, default=64)
    parser.add_argument("--runtime", choices=("uvicorn", "bentoml"), default="uvicorn")
    parser.add_argument("--json", type=Path, default=Path("soak.json"))
    args = parser.parse_args()
    report = Report(minutes=args.minutes, concurrency=args.concurrency, runtime=args.runtime)
    folder = Path(tempfile.mkdtemp(prefix="servegen-soak-"))
    try:
        with warnings.catch_warnings():
            # MLflow has advice for authors of models.
            warnings.simplefilter("ignore")
            cases = models.forest(folder / "model")
        (folder / "cases.json").write_text(json.dumps(cases))
        asyncio.run(soak(folder, report))
    finally:
        shutil.rmtree(folder)
    _show(report)
    outcome = {**vars(report), "growth": report.growth, "failures": report.failures}
    args.json.write_text(json.dumps(outcome, indent=1) + "\n")
    return 1 if report.failures else 0


if __name__ == "__main__":
    sys.exit(main())
