"""One request over one connection: what both registry calls and token requests are made of."""

from __future__ import annotations

import http.client
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager

from servegen.oci.calls import Request, TransientError
from servegen.oci.http import Connections, is_final, unreachable


class Exchange:
    """Sends requests over pooled connections; safe for many threads."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    @contextmanager
    def send(self, request: Request, login: str | None) -> Iterator[http.client.HTTPResponse]:
        """The answer, its body unread; raises TransientError when the connection broke.

        An OSError in the block counts as one of the connection: callers turn their own into something else.
        """
        parts = urllib.parse.urlsplit(request.url)
        proxy = self._connections.network.proxy_for(parts.scheme, parts.netloc)
        connection, reused = self._connections.take(parts.scheme, parts.netloc)
        target, proxy_login = self._connections.target(parts)
        headers = {"User-Agent": "servegen", **request.headers, **proxy_login}
        if login:
            headers["Authorization"] = login
        body = request.body() if callable(request.body) else request.body
        sent = kept = False
        try:
            try:
                connection.request(request.method, target, body, headers)
                sent = True
            except (BrokenPipeError, ConnectionResetError):
                # A registry may refuse an upload and hang up before it read all of it; its answer tells why.
                if body is None or reused:
                    raise
            answer = connection.getresponse()
            yield answer
            kept = sent and answer.isclosed() and not answer.will_close
        except (OSError, http.client.HTTPException) as exc:
            error = unreachable(parts.netloc, exc, proxy)
            if is_final(exc):
                raise error from exc
            # One that was closed while idle says so at once; a time-out is trouble of now.
            raise TransientError(error, reused=reused and not isinstance(exc, TimeoutError)) from exc
        finally:
            if body is not None and not isinstance(body, bytes):
                body.close()
            if kept:
                self._connections.give_back(parts.scheme, parts.netloc, connection)
            else:
                connection.close()


def read_all(answer: http.client.HTTPResponse, limit: int) -> bytes:
    """The body, at most `limit` bytes of it; IncompleteRead when the connection ended before the body did."""
    data = answer.read(limit)
    # With a limit http.client takes a short body for a whole one.
    if answer.length and len(data) < limit:
        raise http.client.IncompleteRead(data, answer.length)
    return data
