"""`python -m servegen.server.predictors.child CALLS STREAMS`: a process that holds the model for the server.

The numbers are file descriptors of two sockets. On the first, requests and answers alternate. Each message on
the second carries a further socket for one stream, so that predictions go on meanwhile. When the server is
gone both end, and so does this process.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import signal
import socket
import sys
import threading
from concurrent.futures import Future
from importlib import import_module
from typing import Any, NoReturn

from servegen.server.boot import boot
from servegen.server.errors import RefusedError, internal
from servegen.server.predictors import Predictor
from servegen.server.predictors.channel import Channel, StreamEnd

_log = logging.getLogger("servegen")


def main(calls: int, streams: int) -> NoReturn:
    """Answer until the server closes its end."""
    # The server decides when this process ends; a terminal and an init signal the whole group.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    channel, loaded = Channel(socket.socket(fileno=calls)), Future[Predictor]()
    listener = socket.socket(fileno=streams)
    threading.Thread(target=_accept_streams, args=(listener, loaded), daemon=True).start()
    try:
        factory, model, settings = channel.receive()
        boot({"SERVEGEN_MODEL": str(settings.model)})
        predictor = _make(factory)(model, settings)
    except BaseException as exc:  # noqa: BLE001  the server shall say why it does not start
        _send(channel, RuntimeError(f"{type(exc).__name__}: {exc}"))
        _end()
    gc.collect()
    gc.freeze()
    loaded.set_result(predictor)
    _send(channel, None)
    threading.Thread(target=_complete, args=(predictor,), name="complete", daemon=True).start()
    while True:
        try:
            data, params = channel.receive()
        except EOFError:
            _end()
        _send(channel, _predict(predictor, data, params))


def _complete(predictor: Predictor) -> None:
    try:
        predictor.complete()
    except Exception:  # noqa: BLE001  requests that need it try again, and fail alone
        _log.warning("a part of the model's libraries cannot be loaded", exc_info=True)
    gc.freeze()


def _make(factory: str) -> Any:
    module, _, name = factory.partition(":")
    return getattr(import_module(module), name)


def _predict(predictor: Predictor, data: Any, params: Any) -> Any:
    try:
        return True, predictor.predict(data, params)
    except BaseException as exc:  # noqa: BLE001  handed to the request's client
        return False, _sendable(exc)


def _send(channel: Channel, answer: Any) -> None:
    try:
        channel.send(answer)
    except OSError:
        _end()
    except Exception:  # noqa: BLE001  a model may return anything, and its classes may do anything when pickled
        _log.warning("the model's answer cannot be sent", exc_info=True)
        channel.send((False, internal("the model's answer has no JSON form")))


def _accept_streams(listener: socket.socket, loaded: Future[Predictor]) -> None:
    while True:
        message, fds, _, _ = socket.recv_fds(listener, 1, 1)
        if not message:
            # Also while the model loads or computes: the server is gone, and nobody waits for it.
            _end()
        channel = Channel(socket.socket(fileno=fds[0]))
        threading.Thread(target=_stream, args=(channel, loaded.result()), name="stream", daemon=True).start()


def _stream(channel: Channel, predictor: Predictor) -> None:
    """Send chunk by chunk, iterated in this one thread; a server that has closed its end stops it."""
    chunks = None
    try:
        data, params = channel.receive()
        chunks = predictor.stream(data, params)
        for chunk in chunks:
            channel.send((True, chunk))
        channel.send((True, StreamEnd()))
    except (EOFError, ConnectionError):
        close = getattr(chunks, "close", None)
        if close is not None:
            close()
    except BaseException as exc:  # noqa: BLE001  handed to the request's client
        with contextlib.suppress(OSError):
            channel.send((False, _sendable(exc)))
    finally:
        channel.close()


def _sendable(exc: BaseException) -> RefusedError:
    """`exc` for the server; only errors of ours are known there for sure."""
    if isinstance(exc, RefusedError):
        return exc
    _log.error("the model's process failed", exc_info=exc)
    return internal("The server failed.")


def _end() -> NoReturn:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
