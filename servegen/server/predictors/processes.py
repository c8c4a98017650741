"""Models in processes of their own, because their library holds the interpreter's lock while it works."""

from __future__ import annotations

import contextlib
import logging
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from servegen.server.errors import RefusedError, internal
from servegen.server.inputs import Input, Params
from servegen.server.modelfile import ModelFile
from servegen.server.predictors import Predictor
from servegen.server.predictors.channel import Channel, StreamEnd
from servegen.server.settings import Settings
from servegen.server.settings import variables as own

ANY = "servegen.server.predictors.deferred:load"
"""Module and name of what a process calls with model and settings to get its predictor."""
ONNX = "servegen.server.predictors.onnx:OnnxPredictor"
"""The same for a converted model."""
_CHILD = "servegen.server.predictors.child"
_PATIENCE = 2.0
"""Seconds for a process to end by itself once its sockets are closed."""
_log = logging.getLogger("servegen")


class ProcessPredictor:
    """A predictor in a child process; one that dies fails its request and is started again."""

    def __init__(
        self, model: ModelFile, settings: Settings, *, variables: Mapping[str, str], factory: str = ANY
    ) -> None:
        self._message = (factory, model, settings)
        self._variables = variables
        self._calling = threading.Lock()
        self._starting = threading.Lock()
        self._closed = False
        self._asked: _Child | None = None
        self._child = self._start()

    @property
    def pid(self) -> int:
        """The process that holds the model."""
        return self._child.process.pid

    @property
    def is_asked(self) -> bool:
        """Whether the process works on a call."""
        return self._asked is not None

    def wait(self) -> None:
        """Return once the model is loaded; raises RuntimeError saying why it is not."""
        try:
            error = self._child.calls.receive()
        except EOFError:
            msg = f"the process of the model ended with status {self._child.end()} while it was loading"
            raise RuntimeError(msg) from None
        if error is not None:
            raise error

    def predict(self, data: Input, params: Params) -> Any:
        """The model's answer; raises RefusedError when there is none."""
        with self._calling:
            self._asked = child = self._living()
            try:
                child.calls.send((data, params))
                good, answer = child.calls.receive()
            except (EOFError, OSError):
                child.is_lost = True
                # Not sent once more: it may be what ended the process.
                self._living()
                msg = "The model's process ended while it worked on this input. It was started again."
                raise internal(msg) from None
            except Exception as exc:
                # A class that only the model's own code knows.
                _log.warning("the model's answer cannot be read", exc_info=True)
                msg = "the model's answer has no JSON form"
                raise internal(msg) from exc
            finally:
                self._asked = None
        if not good:
            raise answer
        return answer

    def stream(self, data: Input, params: Params) -> Iterator[Any]:
        """The chunks of a streamed answer; other calls go on meanwhile, and closing it stops the model."""
        child = self._living()
        ours, theirs = socket.socketpair()
        channel = Channel(ours)
        try:
            with theirs:
                socket.send_fds(child.streams, [b"s"], [theirs.fileno()])
            channel.send((data, params))
            while True:
                good, chunk = channel.receive()
                if not good:
                    raise chunk
                if isinstance(chunk, StreamEnd):
                    return
                yield chunk
        except (EOFError, OSError):
            child.is_lost = True
            msg = "The model's process ended while it answered."
            raise internal(msg) from None
        finally:
            channel.close()

    def complete(self) -> None:
        """The process does so itself."""

    def interrupt(self) -> bool:
        """Kill the process; the thread that waits for it starts it again."""
        child = self._asked
        if child is None or child.is_lost:
            # It is being started.
            return True
        child.is_lost = True
        child.process.kill()
        _log.error("the model did not end a call that nobody waits for any more; its process is killed")
        return True

    def close(self) -> None:
        """End the process."""
        self._closed = True
        self._child.end()

    def _start(self) -> _Child:
        child = _Child(self._variables)
        with contextlib.suppress(OSError):
            child.calls.send(self._message)
        return child

    def _living(self) -> _Child:
        """The process, started again if it has ended; raises RefusedError when it does not start."""
        with self._starting:
            if self._child.lives():
                return self._child
            status = self._child.end()
            if self._closed:
                msg = "The model server is shutting down."
                raise RefusedError(503, "TEMPORARILY_UNAVAILABLE", msg, retry_after=1)
            _log.error("the process of the model ended with status %s; starting it again", status)
            self._child = self._start()
            try:
                self.wait()
            except RuntimeError as exc:
                # The next call tries again.
                _log.error("the process of the model does not start: %s", exc)
                self._child.end()
                msg = "The model's process does not start."
                raise internal(msg) from exc
            return self._child


class _Child:
    """One process with its two sockets."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        calls, their_calls = socket.socketpair()
        self.streams, their_streams = socket.socketpair()
        self.calls = Channel(calls)
        self.is_lost = False
        """A socket was closed at the other end; the process may not have ended quite yet."""
        with their_calls, their_streams:
            fds = (their_calls.fileno(), their_streams.fileno())
            self.process = subprocess.Popen(
                [sys.executable, "-m", _CHILD, *map(str, fds)],
                env={**own(), **variables},
                stdin=subprocess.DEVNULL,
                # What a model prints; our own output is the log.
                stdout=sys.stderr,
                pass_fds=fds,
            )

    def lives(self) -> bool:
        """Whether the process can be asked."""
        return not self.is_lost and self.process.poll() is None

    def end(self) -> int:
        """Make the process end, if it has not; its status."""
        self.calls.close()
        self.streams.close()
        try:
            return self.process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()


def load(
    model: ModelFile,
    settings: Settings,
    *,
    count: int,
    variables: Mapping[str, str],
    factory: str = ANY,
) -> Sequence[ProcessPredictor]:
    """`count` processes that load the model side by side; raises RuntimeError when one cannot."""
    started = [ProcessPredictor(model, settings, variables=variables, factory=factory) for _ in range(count)]
    try:
        for each in started:
            each.wait()
    except BaseException:
        for each in started:
            each.close()
        raise
    return started


_CHECK: type[Predictor] = ProcessPredictor
