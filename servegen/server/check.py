"""`python -m servegen.server.check`: does the server answer as the model does?

`--spawn` starts the image's own server and compares it with the model loaded in this process; `--url` asks a
server that runs elsewhere. Prints one line of JSON on stdout and exits with 0 or 1.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import Future, wait
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import IO, Any, NoReturn
from urllib.parse import urlsplit

from servegen.server import capacity
from servegen.server.boot import boot
from servegen.server.compare import Difference, expected, first_difference
from servegen.server.modelfile import ModelFile, read
from servegen.server.settings import Settings, variables

_CALLS = 20
_EXIT_SECONDS = 10
_LOG_LINES = 40
_SMALL = 200 * 2**20
"""Bytes of a model that may be in memory twice: by the server, and here for the comparison."""


class CheckError(Exception):
    """The server does not do what it should."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """What running the server showed."""

    ok: bool = False
    load_seconds: float = 0.0
    """Start of the process to readiness."""
    peak_memory_bytes: int = 0
    p50_seconds: float = 0.0
    replayed: bool = False
    """Whether the model has an example and it was sent."""
    difference: Difference | None = None
    error: str | None = None
    log_tail: tuple[str, ...] = ()


def main(argv: list[str] | None = None) -> NoReturn:
    """Check, print the report and exit."""
    parser = argparse.ArgumentParser(prog="servegen.server.check", description=__doc__)
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--spawn", action="store_true", help="start the server of this image")
    where.add_argument("--url", help="a server that runs already, such as http://iris/")
    parser.add_argument("--timeout", type=float, default=120.0, help="seconds to wait for readiness")
    args = parser.parse_args(argv)
    # Whatever a model prints while it is loaded belongs to stderr.
    result = os.dup(1)
    os.dup2(2, 1)
    try:
        settings = boot()
        model = read(settings.model, name=settings.model_name, version=settings.model_version)
        report = (
            _spawn(model, settings, timeout=args.timeout)
            if args.spawn
            else _ask(model, args.url, timeout=args.timeout)
        )
    except (ValueError, OSError) as exc:
        report = Report(error=str(exc))
    with os.fdopen(result, "w") as stdout:
        stdout.write(json.dumps(asdict(report)) + "\n")
    sys.stderr.flush()
    # A thread may still be loading the model, which nobody needs any more after an error.
    os._exit(0 if report.ok else 1)


def _ask(model: ModelFile, url: str, *, timeout: float) -> Report:
    server = _Server(url)
    began = time.monotonic()
    try:
        server.wait_until_ready(timeout)
        if model.example is not None:
            server.replay(model.example)
    except CheckError as exc:
        return Report(error=str(exc))
    return Report(ok=True, load_seconds=time.monotonic() - began, replayed=model.example is not None)


def _spawn(model: ModelFile, settings: Settings, *, timeout: float) -> Report:
    environ = variables() | {"SERVEGEN_HOST": "127.0.0.1", "SERVEGEN_DRAIN_DELAY": "0"}
    with tempfile.TemporaryFile("w+b") as log:
        began = time.monotonic()
        child = subprocess.Popen(
            [sys.executable, "-m", "servegen.server"], env=environ, stdout=log, stderr=log
        )
        reference = _Reference(model, settings)
        try:
            report, served = _measure(child, model, settings, reference, began=began, timeout=timeout)
        except CheckError as exc:
            return Report(error=str(exc), log_tail=_tail(log))
        finally:
            if child.poll() is None:
                child.kill()
                child.wait()
        tail = _tail(log)
    if model.example is None:
        return replace(report, ok=True)
    try:
        difference = first_difference(model, served=served, expected=reference.answer())
    except Exception as exc:  # noqa: BLE001  a model may raise anything
        msg = f"the model cannot be loaded or called in process: {type(exc).__name__}: {exc}"
        return replace(report, error=msg, log_tail=tail)
    if difference is not None:
        msg = f"the server answers otherwise than the model at {difference.path}"
        return replace(report, difference=difference, error=msg, log_tail=tail)
    return replace(report, ok=True)


class _Reference:
    """What the model answers in this process: found out while the server starts, or later if it is large."""

    def __init__(self, model: ModelFile, settings: Settings) -> None:
        self._arguments = (model, settings)
        self._found: Future[Any] = Future()
        self._is_begun = model.example is not None and capacity.size(model.path) <= _SMALL
        if self._is_begun:
            threading.Thread(target=self._find, daemon=True).start()

    def settle(self) -> None:
        """Return when nothing is computed here: the server alone is to be timed."""
        if self._is_begun:
            wait([self._found])

    def answer(self) -> Any:
        """The JSON value; raises what the model raised."""
        if not self._is_begun:
            self._find()
        return self._found.result()

    def _find(self) -> None:
        try:
            self._found.set_result(expected(*self._arguments))
        except BaseException as exc:  # noqa: BLE001  raised by `answer`
            self._found.set_exception(exc)


def _measure(
    child: subprocess.Popen[bytes],
    model: ModelFile,
    settings: Settings,
    reference: _Reference,
    *,
    began: float,
    timeout: float,
) -> tuple[Report, bytes]:
    server = _Server(f"http://127.0.0.1:{settings.port}/", child)
    server.wait_until_ready(timeout)
    load_seconds = time.monotonic() - began
    served, p50 = b"", 0.0
    if model.example is not None:
        served = server.replay(model.example)
        reference.settle()
        durations = []
        for _ in range(_CALLS):
            started = time.perf_counter()
            server.replay(model.example)
            durations.append(time.perf_counter() - started)
        p50 = statistics.median(durations)
    server.close()
    peak = _peak_memory(child.pid)
    child.send_signal(signal.SIGTERM)
    try:
        status = child.wait(_EXIT_SECONDS)
    except subprocess.TimeoutExpired:
        msg = f"the server did not exit within {_EXIT_SECONDS} s of SIGTERM"
        raise CheckError(msg) from None
    if status != 0:
        msg = f"the server exited with status {status} after SIGTERM"
        raise CheckError(msg)
    report = Report(
        load_seconds=round(load_seconds, 3),
        peak_memory_bytes=peak,
        p50_seconds=round(p50, 6),
        replayed=model.example is not None,
    )
    return report, served


class _Server:
    """The server under test; `child` is its process when it is ours."""

    def __init__(self, url: str, child: subprocess.Popen[bytes] | None = None) -> None:
        parts = urlsplit(url if "//" in url else f"//{url}", scheme="http")
        if parts.scheme not in ("http", "https") or not parts.hostname:
            msg = f"{url!r} is not an http or https URL"
            raise ValueError(msg)
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self._connection = kind(parts.hostname, parts.port, timeout=60)
        self._base = parts.path.rstrip("/")
        self._child = child

    def wait_until_ready(self, timeout: float) -> None:
        """Return once `/readyz` is 200; raises CheckError when it is not in time or the process ends."""
        end = time.monotonic() + timeout
        last = "no answer"
        while time.monotonic() < end:
            status = self._child.poll() if self._child is not None else None
            if status is not None:
                msg = f"the server exited with status {status} before it was ready"
                raise CheckError(msg)
            try:
                code, _ = self._request("GET", "/readyz")
            except (OSError, http.client.HTTPException) as exc:
                last = str(exc) or type(exc).__name__
                self.close()
            else:
                if code == 200:
                    return
                last = f"status {code}"
            time.sleep(0.05)
        msg = f"the server was not ready within {timeout:g} s (last: {last})"
        raise CheckError(msg)

    def replay(self, example: bytes) -> bytes:
        """The body of the answer to the example; raises CheckError for another status than 200."""
        try:
            status, body = self._request("POST", "/invocations", example)
        except (OSError, http.client.HTTPException) as exc:
            msg = f"the example got no answer: {exc or type(exc).__name__}"
            raise CheckError(msg) from exc
        if status != 200:
            msg = f"the example is answered with {status}: {body.decode(errors='replace')[:500]}"
            raise CheckError(msg)
        return body

    def close(self) -> None:
        """Close the connection; the next request opens another one."""
        self._connection.close()

    def _request(self, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
        headers = {"Content-Type": "application/json"} if body is not None else {}
        self._connection.request(method, self._base + path, body=body, headers=headers)
        response = self._connection.getresponse()
        return response.status, response.read()


def _peak_memory(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        # A sandbox without /proc.
        return 0
    sizes = [line.split()[1] for line in lines if line.startswith("VmHWM:")]
    return int(sizes[0]) * 1024 if sizes else 0


def _tail(log: IO[bytes]) -> tuple[str, ...]:
    log.seek(0)
    return tuple(log.read().decode(errors="replace").splitlines()[-_LOG_LINES:])


if __name__ == "__main__":
    main()
