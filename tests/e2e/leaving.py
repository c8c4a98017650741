"""SIGTERM under load, again and again: `python -m tests.e2e.leaving --rounds 50 --runtime uvicorn`."""

import argparse
import asyncio
import contextlib
import json
import os
import random
import select
import signal
import socket
import subprocess
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

RUNTIMES = ("uvicorn", "bentoml")
CLIENTS = 32
RARE = 8
"""So many of the clients leave their connections idle between requests."""
DELAY = 0.4
"""Seconds that the server goes on serving after the signal."""


@dataclass
class Outcome:
    """What all clients of one round saw."""

    statuses: Counter[int] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    """Answers that are not what was asked for, or not how a leaving server refuses."""
    lost: list[str] = field(default_factory=list)
    """Requests that were sent completely over an open connection and got no answer."""
    status: int | None = None
    """Exit status of the server."""


async def terminate(model: Path, log: Path, *, runtime: str, after: float, seed: int) -> Outcome:
    """Start a server, ask it from many connections, send SIGTERM after so many seconds; what happened."""
    outcome = Outcome()
    async with _server(model, log, runtime) as (process, port):
        rng = random.Random(seed)
        clients = [
            asyncio.ensure_future(
                _ask_until_refused(port, outcome, random.Random(rng.random()), rare=n < RARE)
            )
            for n in range(CLIENTS)
        ]
        await asyncio.sleep(after)
        process.send_signal(signal.SIGTERM)
        outcome.status = await asyncio.to_thread(process.wait, 30)
        await asyncio.wait_for(asyncio.gather(*clients), 30)
    return outcome


@contextlib.asynccontextmanager
async def _server(model: Path, log: Path, runtime: str) -> AsyncIterator[tuple[subprocess.Popen[bytes], int]]:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    settings = {
        "MODEL": str(model),
        "HOST": "127.0.0.1",
        "PORT": str(port),
        "RUNTIME": runtime,
        "DRAIN_DELAY": str(DELAY),
        "DRAIN_TIMEOUT": "10",
    }
    env = {**os.environ, **{f"SERVEGEN_{name}": value for name, value in settings.items()}}
    with log.open("wb") as sink:
        process = subprocess.Popen(
            [sys.executable, "-m", "servegen.server"], env=env, stdout=sink, stderr=sink
        )
    try:
        for _ in range(2000):
            if process.poll() is not None:
                raise RuntimeError(log.read_text())
            if await _is_ready(port):
                break
            await asyncio.sleep(0.02)
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


async def _ask_until_refused(port: int, outcome: Outcome, rng: random.Random, *, rare: bool) -> None:
    """Post over connections, each as long as the server keeps it, until nothing listens any more."""
    while True:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
        except ConnectionRefusedError:
            return
        except OSError:
            # Reset in the handshake: nothing was sent yet.
            continue
        with contextlib.closing(writer):
            asked = 0
            while await _ask(reader, writer, outcome, rng, asked=asked):
                asked += 1
                if rare:
                    await asyncio.sleep(rng.uniform(0, 2 * DELAY))
                    if reader.at_eof():
                        break


async def _ask(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    outcome: Outcome,
    rng: random.Random,
    *,
    asked: int,
) -> bool:
    """Send one request and take its answer; whether the connection can carry another one."""
    x1, x2 = rng.randint(0, 99), rng.randint(0, 99)
    body = json.dumps({"dataframe_records": [{"x1": x1, "x2": x2}]}).encode()
    head = (
        "POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    if select.select([writer.get_extra_info("socket").fileno()], [], [], 0)[0]:
        # The server has closed the connection before the request was sent.
        return False
    try:
        writer.write(head.encode() + body)
        await writer.drain()
        status, headers, answer = await _read(reader)
    except (OSError, asyncio.IncompleteReadError) as exc:
        partial = getattr(exc, "partial", b"")
        outcome.lost.append(f"request {asked} of its connection: {type(exc).__name__} after {partial!r}")
        return False
    outcome.statuses[status] += 1
    closes = headers.get("connection") == "close"
    if status == 200:
        (value,) = json.loads(answer)["predictions"]
        if abs(value - (1 + 2 * x1 + 3 * x2)) > 1e-6:
            outcome.wrong.append(f"{body!r}: {answer!r}")
    elif status != 503 or not closes or int(headers.get("retry-after", "0")) < 1:
        outcome.wrong.append(f"{status} {headers} {answer!r}")
    return not closes


async def _read(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], bytes]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    headers = {
        name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)
    }
    return int(head[0].split()[1]), headers, await reader.readexactly(int(headers["content-length"]))


def save_model(folder: Path) -> Path:
    """The model that is asked: 1 + 2·x1 + 3·x2."""
    from tests.server.models import save_linear

    with warnings.catch_warnings():
        # MLflow has advice for authors of models.
        warnings.simplefilter("ignore")
        return save_linear(folder)


def main() -> int:
    """Run many rounds; exit status 1 when a request was lost."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--runtime", choices=RUNTIMES, default="uvicorn")
    args = parser.parse_args()
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        model = save_model(Path(folder))
        rng = random.Random(1)
        for number in range(args.rounds):
            work = terminate(
                model, Path(folder) / "log", runtime=args.runtime, after=rng.uniform(0.05, 0.5), seed=number
            )
            outcome = asyncio.run(work)
            print(
                number,
                dict(outcome.statuses),
                "exit",
                outcome.status,
                *outcome.wrong[:3],
                *outcome.lost,
                flush=True,
            )
            failed += bool(outcome.lost or outcome.wrong or outcome.status)
    print(f"{failed} of {args.rounds} rounds failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
