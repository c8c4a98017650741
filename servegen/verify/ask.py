"""Sends a running server its model's example, as a user would."""

from __future__ import annotations

import contextlib
import http.client
import json
import time
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from servegen.errors import ConfigError, VerifyError

_SECONDS = 60.0
_SHOWN = 500
"""Characters of an answer that an error quotes."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What a server answered."""

    url: str
    status: int
    milliseconds: tuple[float, ...]
    """Of each request; they go over one connection, and opening it is in none of them."""
    answer: Any
    """The last answer's JSON."""

    @property
    def median(self) -> float:
        """The middle one of the times."""
        return sorted(self.milliseconds)[len(self.milliseconds) // 2]


def ask(url: str, body: bytes | None, *, requests: int = 1) -> Asked:
    """The answer to `body`, or without one to the model's example, POSTed to `/invocations` of `url`.

    Raises VerifyError when there is no answer, none with status 200, or no example to send.
    """
    with _connection(url) as (connection, base):
        sent = body if body is not None else _example(connection, base, url)
        times, status, text = [], 0, b""
        for _ in range(requests):
            began = time.monotonic()
            status, text = _request(connection, "POST", f"{base}/invocations", url, sent)
            times.append(round(1000 * (time.monotonic() - began), 2))
            if status != 200:
                msg = f"{url}/invocations answers {status}: {text.decode('utf-8', 'replace')[:_SHOWN]}"
                raise VerifyError(
                    msg, hint="servegen logs shows the server's side; --data FILE sends another body"
                )
    try:
        answer = json.loads(text)
    except ValueError as exc:
        msg = f"{url}/invocations answers no JSON: {text.decode('utf-8', 'replace')[:_SHOWN]}"
        raise VerifyError(msg, hint="is this the address of a model that servegen serves?") from exc
    return Asked(url=url, status=status, milliseconds=tuple(times), answer=answer)


@contextlib.contextmanager
def _connection(url: str) -> Iterator[tuple[http.client.HTTPConnection, str]]:
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        msg = f"{url} is no URL of a server"
        raise ConfigError(msg, hint="servegen test http://HOST:PORT")
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname, parts.port, timeout=_SECONDS)
    try:
        connection.connect()
    except OSError as exc:
        raise _unanswered(url, exc) from exc
    with contextlib.closing(connection):
        yield connection, parts.path.rstrip("/")


def _example(connection: http.client.HTTPConnection, base: str, url: str) -> bytes:
    """The example that the server's own description shows."""
    status, text = _request(connection, "GET", f"{base}/openapi.json", url)
    try:
        document = json.loads(text) if status == 200 else {}
        content = document["paths"]["/invocations"]["post"]["requestBody"]["content"]
        return json.dumps(content["application/json"]["example"]).encode()
    except (ValueError, KeyError, TypeError) as exc:
        msg = f"{url} shows no example of its model to send (GET /openapi.json: {status})"
        raise VerifyError(
            msg, hint="log the model with an input_example, or send a body of your own: --data FILE"
        ) from exc


def _request(
    connection: http.client.HTTPConnection, method: str, path: str, url: str, body: bytes | None = None
) -> tuple[int, bytes]:
    headers = {"Content-Type": "application/json"} if body is not None else {}
    try:
        connection.request(method, path, body=body, headers=headers)
        response = connection.getresponse()
        return response.status, response.read()
    except (OSError, http.client.HTTPException) as exc:
        raise _unanswered(url, exc) from exc


def _unanswered(url: str, exc: Exception) -> VerifyError:
    msg = f"{url} gives no answer: {exc or type(exc).__name__}"
    return VerifyError(
        msg, hint="is it running, and may this machine reach it? servegen status tells of pods"
    )
