"""One registry host: logins, redirects and retries around single requests."""

from __future__ import annotations

import http.client
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TypeVar

from servegen.errors import RegistryError
from servegen.oci import http as net
from servegen.oci.auth import DOCKER_HUB, CredentialFiles
from servegen.oci.calls import Request, Response, TransientError, failed
from servegen.oci.exchange import Exchange, read_all
from servegen.oci.login import Logins
from servegen.oci.tls import has_own_ca
from servegen.progress import Progress

_DOCKER_HUB_API = "registry-1.docker.io"
_MAX_REDIRECTS = 5
_IDLE = 8
"""More connections than can lie idle. An attempt of several requests can break on its own each time."""
_MAX_ANSWER = 32 << 20
_PIECE = 1 << 20

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class RegistryOptions:
    """How registries are reached and logged in to."""

    credentials: CredentialFiles = field(default_factory=CredentialFiles)
    network: net.Network = field(default_factory=net.Network)
    insecure_hosts: frozenset[str] = frozenset()
    """`host` or `host:port` of registries without TLS."""


class Transport:
    """Talks to one registry host; safe for many threads."""

    def __init__(self, host: str, options: RegistryOptions, progress: Progress) -> None:
        self.host = host
        self.network = options.network
        self.netloc = _DOCKER_HUB_API if host in (DOCKER_HUB, "index." + DOCKER_HUB) else host
        name = net.host_of(self.netloc)
        # A CA for a loopback registry says that it speaks TLS.
        secure = options.network.ca_file or has_own_ca(self.netloc, options.network.certificate_folders)
        local = net.is_loopback(name) and not secure
        insecure = {self.netloc, name} & options.insecure_hosts
        self.scheme = "http" if local or insecure else "https"
        self.connections = net.Connections(options.network)
        self._exchange = Exchange(self.connections)
        self._logins = Logins(
            host,
            credentials=options.credentials,
            insecure_hosts=options.insecure_hosts,
            exchange=self._exchange,
            guard=self._guarded,
            progress=progress,
        )
        self._public: bool | None = None

    def url(self, repository: str, rest: str) -> str:
        """The address of `rest`, such as `manifests/v1`, in a repository."""
        return f"{self.scheme}://{self.netloc}/v2/{repository}/{rest}"

    def call(self, request: Request) -> Response:
        """The whole answer; tries again where that can help."""
        return self.retried(lambda: self.once(request))

    def retried(self, attempt: Callable[[], T], tries: int | None = None) -> T:
        """What `attempt` returns, called anew after each TransientError until the tries are used up."""
        tries, number, spared = tries or self.network.tries, 0, 0
        while True:
            try:
                return attempt()
            except TransientError as exc:  # noqa: PERF203 - a loop over tries
                if exc.reused and spared < _IDLE:
                    spared += 1
                    continue
                number += 1
                if number >= tries:
                    raise exc.error from exc
                net.wait(self.network, number - 1, exc.retry_after)

    def once(self, request: Request) -> Response:
        """The whole answer of a single try; raises TransientError when another one can help."""
        with self.opened(request) as (answer, url):
            data = read_all(answer, _MAX_ANSWER + 1)
            if len(data) > _MAX_ANSWER:
                msg = f"{url} is bigger than a manifest can be"
                raise RegistryError(msg, hint="is this an image?")
            return Response(status=answer.status, headers=answer.headers, data=data, url=url)

    @contextmanager
    def opened(self, request: Request) -> Iterator[tuple[http.client.HTTPResponse, str]]:
        """The answer of a single try with its body unread, and the URL it came from."""
        logins = redirects = 0
        while True:
            request = replace(request, url=self._guarded(request.url))
            ours = self._is_ours(request.url)
            # What another host asks for, such as the storage behind a registry, is in its URL.
            login = self._logins.known(request) if ours else None
            with self._exchange.send(request, login) as answer:
                if answer.status in request.ok:
                    yield answer, request.url
                    return
                body = answer.read(_PIECE)
            where = answer.headers.get("Location")
            if answer.status == 401 and ours:
                logins += 1
                if logins > 2:
                    raise self._logins.refusal(request, body)
                self._logins.challenged(request, answer.headers.get_all("WWW-Authenticate") or [], login)
            elif where and _is_redirect(answer.status, request.method):
                redirects += 1
                if redirects > _MAX_REDIRECTS:
                    msg = f"{self.host} redirects in circles"
                    raise RegistryError(msg, hint="is this a container registry?")
                request = replace(request, url=urllib.parse.urljoin(request.url, where))
            else:
                raise failed(self.host, request, answer, body)

    def close(self) -> None:
        """Closes idle connections."""
        self.connections.close()

    def _is_ours(self, url: str) -> bool:
        parts = urllib.parse.urlsplit(url)
        ours = urllib.parse.urlsplit(f"{self.scheme}://{self.netloc}")
        default = {"http": 80, "https": 443}
        return (parts.hostname, parts.port or default.get(parts.scheme)) == (
            ours.hostname,
            ours.port or default[self.scheme],
        )

    def _guarded(self, url: str) -> str:
        """`url` when it may be talked to: no step down to http, none from a public host to a private one."""
        parts = urllib.parse.urlsplit(url)
        own = net.host_of(self.netloc)
        if parts.scheme == "http" and self.scheme == "https" and parts.hostname == own:
            # Registries behind a TLS proxy often do not know that they are.
            return self._guarded(parts._replace(scheme="https", netloc=self.netloc).geturl())
        if parts.scheme not in ("http", "https") or not parts.hostname:
            msg = f"{self.host} sends us to {url[:200]!r}"
            raise RegistryError(msg, hint="is this a container registry?")
        if self._is_ours(url):
            return url
        if parts.scheme == "http" and self.scheme == "https":
            msg = f"{self.host} sends us from https to http at {parts.netloc}"
            raise RegistryError(msg, hint="correct the registry's external URL or its storage redirect")
        direct = self.network.proxy_for(parts.scheme, parts.netloc) is None
        if self._is_public() and net.is_private(parts.hostname, look_up=direct):
            msg = f"{self.host} sends us to the private address {parts.netloc}"
            raise RegistryError(msg, hint="a public registry has no reason to; nothing was sent there")
        return url

    def _is_public(self) -> bool:
        if self._public is None:
            direct = self.network.proxy_for(self.scheme, self.netloc) is None
            self._public = not net.is_private(net.host_of(self.netloc), look_up=direct)
        return self._public


def _is_redirect(status: int, method: str) -> bool:
    # The older codes may turn a request into a GET, which is no upload any more (RFC 9110, 15.4).
    return status in (307, 308) or (status in (301, 302, 303) and method in ("GET", "HEAD"))
