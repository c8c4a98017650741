"""Downloads from mirrors, over kept connections, with retries."""

from __future__ import annotations

import http.client
import urllib.parse
from pathlib import Path

from servegen.errors import BaseImageError, RegistryError
from servegen.oci.http import RETRIED, Connections, Network, is_final, unreachable, wait

_MAX_REDIRECTS = 5
_GONE = (404, 410)
_HINT = "try another --debian-mirror"


class Mirror:
    """Reads files of any mirror; safe for many threads."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._connections = Connections(network)

    def get(self, url: str) -> bytes | None:
        """The file behind an http, https or file URL, None when there is none."""
        parts = urllib.parse.urlsplit(url)
        if parts.scheme == "file":
            try:
                return Path(urllib.parse.unquote(parts.path)).read_bytes()
            except FileNotFoundError:
                return None
        for _ in range(_MAX_REDIRECTS):
            answer, data = self._tried(url)
            if answer.status == 200:
                return data
            if answer.status in _GONE:
                return None
            where = urllib.parse.urljoin(url, answer.headers.get("Location") or "")
            if answer.status not in (301, 302, 303, 307, 308) or where == url:
                msg = f"the mirror answers HTTP {answer.status} to {url}"
                raise BaseImageError(msg, hint=_HINT)
            if url.startswith("https:") and not where.startswith("https:"):
                msg = f"the mirror redirects {url} from https to http"
                raise BaseImageError(msg, hint=_HINT)
            url = where
        msg = f"the mirror redirects {url} in circles"
        raise BaseImageError(msg, hint=_HINT)

    def close(self) -> None:
        """Closes idle connections."""
        self._connections.close()

    def _tried(self, url: str) -> tuple[http.client.HTTPResponse, bytes]:
        attempt = 0
        while True:
            problem, again, retry_after = self._attempt(url)
            if not isinstance(problem, RegistryError):
                return problem
            attempt += 1
            if not again or attempt >= self._network.tries:
                raise BaseImageError(str(problem), hint=_HINT)
            wait(self._network, attempt - 1, retry_after)

    def _attempt(
        self, url: str
    ) -> tuple[tuple[http.client.HTTPResponse, bytes] | RegistryError, bool, str | None]:
        """An answer, or what went wrong with whether to try again and how long to wait."""
        parts = urllib.parse.urlsplit(url)
        connection, _ = self._connections.take(parts.scheme, parts.netloc)
        target, headers = self._connections.target(parts)
        try:
            connection.request("GET", target, headers={"User-Agent": "servegen", **headers})
            answer = connection.getresponse()
            data = answer.read()
        except (OSError, http.client.HTTPException) as exc:
            connection.close()
            return unreachable(parts.netloc, exc), not is_final(exc), None
        if answer.will_close:
            connection.close()
        else:
            self._connections.give_back(parts.scheme, parts.netloc, connection)
        if answer.status in RETRIED:
            error = RegistryError(f"the mirror answers HTTP {answer.status} to {url}", hint=_HINT)
            return error, True, answer.headers.get("Retry-After")
        return (answer, data), False, None
