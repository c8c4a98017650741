"""Pooled connections with proxies and an own CA, and the rules on which address may be talked to."""

from __future__ import annotations

import base64
import datetime
import email.utils
import http.client
import ipaddress
import random
import re
import socket
import ssl
import threading
import time
import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from servegen.errors import RegistryError
from servegen.oci.tls import context_for

RETRIED = frozenset({408, 429, 499, 500, 502, 503, 504, 522})
_MAX_WAIT = 60.0
_BLOCK = 1 << 20
# OpenSSL's names, over its releases, for "this is no TLS record".
_PLAIN_HTTP = {
    "WRONG_VERSION_NUMBER",
    "HTTP_REQUEST",
    "UNKNOWN_PROTOCOL",
    "RECORD_LAYER_FAILURE",
    "PACKET_LENGTH_TOO_LONG",
}
# What a server says, over TLS versions, to a client without the certificate it wants.
_CLIENT_CERTIFICATE = {
    "TLSV13_ALERT_CERTIFICATE_REQUIRED",
    "SSLV3_ALERT_HANDSHAKE_FAILURE",
    "SSLV3_ALERT_BAD_CERTIFICATE",
    "TLSV1_ALERT_UNKNOWN_CA",
}
# http.client has no class of its own for a proxy that refuses CONNECT, only this text.
_TUNNEL = re.compile(r"Tunnel connection failed: (\d+)")


@dataclass(frozen=True, kw_only=True)
class Network:
    """How this machine reaches others."""

    ca_file: Path | None = None
    """Trusted besides the system's certificates."""
    certificate_folders: tuple[Path, ...] = ()
    """Folders like docker's certs.d: one folder a host, with the CA and client certificates for it."""
    proxies: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    """Scheme → proxy URL; the URL may hold a password."""
    no_proxy: tuple[str, ...] = ()
    """Hosts, domains (`.corp`) and address ranges reached directly; `*` for all."""
    timeout: float = 60.0
    tries: int = 5
    pause: float = 0.5
    """Seconds before the second try; doubled for each further one."""
    sleep: Callable[[float], None] = field(default=time.sleep, repr=False)

    def proxy_for(self, scheme: str, netloc: str) -> urllib.parse.SplitResult | None:
        """The proxy on the way to `netloc`, None for a direct connection."""
        url = dict(self.proxies).get(scheme)
        host = host_of(netloc)
        if (
            not url
            or is_loopback(host)
            or any(_matches(rule.strip(), host, netloc) for rule in self.no_proxy)
        ):
            return None
        parts = urllib.parse.urlsplit(url if "://" in url else f"http://{url}")
        if parts.scheme != "http" or not parts.hostname:
            msg = f"the proxy for {scheme} is not an http:// URL with a host"
            raise RegistryError(msg, hint=f"set {scheme}_proxy to http://HOST:PORT")
        return parts


def host_of(netloc: str) -> str:
    """The host of `host:port`, an IPv6 address without its brackets."""
    return urllib.parse.urlsplit(f"//{netloc}").hostname or ""


def is_loopback(host: str) -> bool:
    """Whether `host` is written as this machine itself."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_private(host: str, *, look_up: bool) -> bool:
    """Whether an address of `host` is not reachable from everywhere: private, loopback or link-local."""
    try:
        return not ipaddress.ip_address(host).is_global
    except ValueError:
        pass
    if is_loopback(host):
        return True
    if not look_up:
        return False
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:
        # A name that cannot be looked up cannot be connected to either; the connection tells why.
        return False
    return any(not ipaddress.ip_address(str(each[4][0]).partition("%")[0]).is_global for each in found)


def _matches(rule: str, host: str, netloc: str) -> bool:
    if rule in ("*", host, netloc):
        return True
    if "/" in rule:
        try:
            return ipaddress.ip_address(host) in ipaddress.ip_network(rule, strict=False)
        except ValueError:
            return False
    return bool(rule) and host.endswith("." + rule.lstrip("."))


def wait(network: Network, attempt: int, retry_after: str | None = None) -> None:
    """Sleeps before the next try: as the server asked, else twice as long each time with some jitter.

    `retry_after` is the header's value: seconds or an HTTP date (RFC 9110, 10.2.3); a minute at most.
    """
    asked = _seconds(retry_after or "")
    if asked is None:
        network.sleep(network.pause * 2**attempt * random.uniform(0.9, 1.1))  # noqa: S311 - no secret depends on it
    else:
        network.sleep(min(asked, _MAX_WAIT))


def _seconds(retry_after: str) -> float | None:
    if retry_after.isdecimal():
        return float(retry_after)
    try:
        moment = email.utils.parsedate_to_datetime(retry_after)
    except (ValueError, TypeError):
        return None
    now = datetime.datetime.now(datetime.timezone.utc)
    # "-0000" gives a time without a zone; it is UTC all the same.
    return max((moment.replace(tzinfo=moment.tzinfo or datetime.timezone.utc) - now).total_seconds(), 0)


class Connections:
    """Idle connections by scheme and host; safe for many threads, each using a connection of its own."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self._idle: dict[tuple[str, str], list[http.client.HTTPConnection]] = {}
        self._lock = threading.Lock()
        self._tls: dict[str, ssl.SSLContext] = {}

    def take(self, scheme: str, netloc: str) -> tuple[http.client.HTTPConnection, bool]:
        """A connection, and whether it was used before: such a one may have been closed by the server."""
        with self._lock:
            idle = self._idle.get((scheme, netloc))
            if idle:
                return idle.pop(), True
        return self._open(scheme, netloc), False

    def give_back(self, scheme: str, netloc: str, connection: http.client.HTTPConnection) -> None:
        """Keeps a connection whose last answer was read to its end."""
        with self._lock:
            self._idle.setdefault((scheme, netloc), []).append(connection)

    def target(self, url: urllib.parse.SplitResult) -> tuple[str, dict[str, str]]:
        """The request line's target, and headers for a proxy that reads it."""
        path = (url.path or "/") + (f"?{url.query}" if url.query else "")
        proxy = self.network.proxy_for(url.scheme, url.netloc) if url.scheme == "http" else None
        return (f"http://{url.netloc}{path}", _proxy_login(proxy)) if proxy else (path, {})

    def close(self) -> None:
        """Closes every idle connection."""
        with self._lock:
            for idle in self._idle.values():
                for connection in idle:
                    connection.close()
            self._idle.clear()

    def _open(self, scheme: str, netloc: str) -> http.client.HTTPConnection:
        proxy = self.network.proxy_for(scheme, netloc)
        timeout = self.network.timeout
        if scheme == "http":
            return http.client.HTTPConnection(
                proxy.netloc.rpartition("@")[2] if proxy else netloc, timeout=timeout, blocksize=_BLOCK
            )
        if not proxy:
            return http.client.HTTPSConnection(
                netloc, timeout=timeout, blocksize=_BLOCK, context=self._context(netloc)
            )
        tunnel = http.client.HTTPSConnection(
            proxy.hostname or "",
            proxy.port or 80,
            timeout=timeout,
            blocksize=_BLOCK,
            context=self._context(netloc),
        )
        tunnel.set_tunnel(netloc, headers=_proxy_login(proxy))
        return tunnel

    def _context(self, netloc: str) -> ssl.SSLContext:
        with self._lock:
            if netloc not in self._tls:
                network = self.network
                self._tls[netloc] = context_for(netloc, network.ca_file, network.certificate_folders)
            return self._tls[netloc]


def _proxy_login(proxy: urllib.parse.SplitResult | None) -> dict[str, str]:
    if not proxy or not proxy.username:
        return {}
    login = f"{urllib.parse.unquote(proxy.username)}:{urllib.parse.unquote(proxy.password or '')}"
    return {"Proxy-Authorization": "Basic " + base64.b64encode(login.encode()).decode()}


def unreachable(netloc: str, exc: Exception, proxy: urllib.parse.SplitResult | None = None) -> RegistryError:
    """The error a user sees when no answer came from `netloc`, which is reached through `proxy`."""
    if refusal := _TUNNEL.match(str(exc)):
        msg = f"the proxy lets nobody through to {netloc} (HTTP {refusal[1]})"
        hint = f"NO_PROXY={host_of(netloc)}, or HTTPS_PROXY=http://USER:PASSWORD@HOST:PORT"
        return RegistryError(msg, hint=hint)
    if isinstance(exc, ssl.SSLCertVerificationError):
        msg = f"{netloc}: certificate not trusted ({exc.verify_message})"
        return RegistryError(msg, hint="--registry-ca FILE")
    if isinstance(exc, ssl.SSLError) and exc.reason in _PLAIN_HTTP:
        return RegistryError(f"{netloc} speaks plain http", hint=f"--insecure-registry {netloc}")
    if isinstance(exc, ssl.SSLError) and exc.reason in _CLIENT_CERTIFICATE:
        msg = f"{netloc} wants another client certificate, or one at all ({exc.reason})"
        return RegistryError(
            msg, hint=f"put client.cert and client.key into a certs.d/{netloc} folder of docker"
        )
    if isinstance(exc, ConnectionRefusedError | socket.gaierror) and proxy:
        msg = f"the proxy {proxy.hostname} on the way to {netloc} cannot be reached ({exc.strerror})"
        return RegistryError(msg, hint=f"correct HTTP_PROXY and HTTPS_PROXY, or NO_PROXY={host_of(netloc)}")
    if isinstance(exc, ConnectionRefusedError):
        return RegistryError(f"{netloc} refuses connections", hint="is it running, and is the port right?")
    if isinstance(exc, socket.gaierror):
        return RegistryError(
            f"the name {host_of(netloc)} is not known", hint="check the name and the network"
        )
    if isinstance(exc, TimeoutError):
        return RegistryError(f"{netloc} does not answer in time", hint="check the network, then try again")
    return RegistryError(f"the connection to {netloc} broke: {exc}", hint="check the network, then try again")


def is_final(exc: Exception) -> bool:
    """Whether trying again cannot help."""
    if refusal := _TUNNEL.match(str(exc)):
        return refusal[1].startswith("4")
    return isinstance(exc, ssl.SSLCertVerificationError) or (
        isinstance(exc, ssl.SSLError) and exc.reason in _PLAIN_HTTP | _CLIENT_CERTIFICATE
    )
