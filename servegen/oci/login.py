"""Logins to one registry host: basic, or a token from where the registry says."""

from __future__ import annotations

import json
import re
import threading
import time
import urllib.parse
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import cast

from servegen.errors import RegistryAuthError
from servegen.oci.auth import Credential, CredentialFiles
from servegen.oci.calls import Request, failed, login_refused, login_wanted
from servegen.oci.exchange import Exchange, read_all
from servegen.oci.http import is_loopback
from servegen.progress import Progress

_MAX_ANSWER = 1 << 20


class Logins:
    """`Authorization` values by scope, got when the registry first asks; safe for many threads."""

    def __init__(
        self,
        host: str,
        *,
        credentials: CredentialFiles,
        insecure_hosts: frozenset[str],
        exchange: Exchange,
        guard: Callable[[str], str],
        progress: Progress,
    ) -> None:
        self._host = host
        self._credentials = credentials
        self._insecure_hosts = insecure_hosts
        self._exchange = exchange
        self._guard = guard
        self._progress = progress
        self._challenge: tuple[str, dict[str, str]] | None = None
        self._known: dict[str, tuple[str, float]] = {}
        self._lock = threading.Lock()

    def known(self, request: Request) -> str | None:
        """The header for this request, None before the registry ever asked for a login."""
        found = self._known.get(request.scope)
        if found and found[1] > time.monotonic():
            return found[0]
        # Once the registry told how to log in, the next scope needs no 401 first.
        return self._renewed(request, found[0] if found else None) if self._challenge else None

    def challenged(self, request: Request, challenges: list[str], refused: str | None) -> str:
        """The header after a 401 to the header `refused`; raises RegistryAuthError when there is none."""
        found = _parse(challenges)
        if found:
            self._challenge = found
        if not self._challenge:
            msg = f"{self._host} wants a login of a kind we do not know"
            raise RegistryAuthError(msg, hint="basic and bearer logins are supported")
        return self._renewed(request, refused)

    def refusal(self, request: Request, body: bytes) -> RegistryAuthError:
        """The error for a request that stays refused with the newest login."""
        return (
            login_refused(self._host, request, body)
            if self._credential(request)
            else login_wanted(self._host, request)
        )

    def _renewed(self, request: Request, refused: str | None) -> str:
        with self._lock:
            current = self._known.get(request.scope)
            # Another thread may have got a new one while this one waited.
            if current and current[0] != refused and current[1] > time.monotonic():
                return current[0]
            kind, fields = self._challenge or ("", {})
            credential = self._credential(request)
            if kind == "basic":
                if not credential:
                    raise login_wanted(self._host, request)
                if credential.basic == refused:
                    raise login_refused(self._host, request, b"")
                login, seconds = credential.basic, float("inf")
            else:
                login, seconds = self._token(request, fields, credential)
            self._known[request.scope] = (login, time.monotonic() + seconds)
            return login

    def _credential(self, request: Request) -> Credential | None:
        return self._credentials.find(self._host, request.repository, self._progress)

    def _token(
        self, request: Request, fields: dict[str, str], credential: Credential | None
    ) -> tuple[str, float]:
        realm = self._guarded_realm(fields.get("realm", ""))
        query = [("service", fields["service"])] if fields.get("service") else []
        login = None
        if credential and credential.identity_token:
            query += [("scope", request.scope), ("client_id", "servegen")]
            query += [("grant_type", "refresh_token"), ("refresh_token", credential.identity_token)]
            form = urllib.parse.urlencode(query).encode()
            headers = {"Content-Type": "application/x-www-form-urlencoded"}
            asked = replace(request, method="POST", url=realm, body=form, headers=headers)
        else:
            login = credential.basic if credential else None
            query += [("scope", scope) for scope in request.scope.split(" ")]
            url = realm + ("&" if "?" in realm else "?") + urllib.parse.urlencode(query)
            asked = replace(request, method="GET", url=url, body=None, headers={})
        with self._exchange.send(asked, login) as answer:
            body = read_all(answer, _MAX_ANSWER)
        if answer.status in (400, 401, 403, 404):
            raise (
                login_refused(self._host, request, body) if credential else login_wanted(self._host, request)
            )
        if answer.status != 200:
            raise failed(self._host, asked, answer, body)
        try:
            value = cast("Mapping[str, object]", json.loads(body))
            token = str(value.get("token") or value["access_token"])
            lifetime = float(str(value.get("expires_in") or 60))
        except (ValueError, KeyError, AttributeError):
            # `from None`: the chained exception could carry a part of the token.
            msg = f"{urllib.parse.urlsplit(realm).netloc} answered without a token"
            raise RegistryAuthError(msg, hint="try again later") from None
        # A token that ends while it is on its way costs a 401.
        return f"Bearer {token}", max(lifetime - 5, 5)

    def _guarded_realm(self, realm: str) -> str:
        parts = urllib.parse.urlsplit(realm)
        host = parts.hostname or ""
        plain = is_loopback(host) or {parts.netloc, host} & self._insecure_hosts
        if parts.scheme == "http" and not plain:
            msg = f"{self._host} wants the login sent over plain http to {parts.netloc}"
            raise RegistryAuthError(
                msg, hint=f"--insecure-registry {parts.netloc}, when that net can be trusted"
            )
        return self._guard(realm)


def _parse(challenges: list[str]) -> tuple[str, dict[str, str]] | None:
    """Kind and fields of the best login the registry offers; bearer before basic."""
    found: dict[str, dict[str, str]] = {}
    for text in challenges:
        kind, _, rest = text.strip().partition(" ")
        found[kind.lower()] = {name.lower(): value for name, value in re.findall(r'(\w+)="([^"]*)"', rest)}
    return next(((kind, found[kind]) for kind in ("bearer", "basic") if kind in found), None)
