"""Calls to a forge's API: a token that stays with its host, bounded retries, and JSON."""

from __future__ import annotations

import contextlib
import ipaddress
import random
import time
import urllib.parse
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from servegen.errors import ForgeError
from servegen.forges.address import Address

if TYPE_CHECKING:
    import httpx

RETRIED = frozenset({429, 500, 502, 503, 504})
_REDIRECTS = (301, 302, 307, 308)
_SILENT = ("documentation_url", "url", "resource", "code", "status", "scope")
"""Keys in a body whose values tell a reader nothing that the others do not."""
_LONGEST = 300
"""Characters of a forge's own words that a message shows."""


@dataclass(frozen=True, kw_only=True)
class Network:
    """How this machine reaches a forge."""

    proxies: Mapping[str, str] = field(default_factory=dict, repr=False)
    """`http`, `https` and `no` → value; a URL may hold a password."""
    timeout: float = 30.0
    """Seconds for one answer."""
    tries: int = 4
    pause: float = 1.0
    """Seconds before the second try; doubled for each further one."""
    longest: float = 60.0
    """Seconds that a forge may ask to wait; more is an error."""
    sleep: Callable[[float], None] = field(default=time.sleep, repr=False)
    clock: Callable[[], float] = field(default=time.time, repr=False)

    def proxy(self, scheme: str, host: str) -> str | None:
        """URL of the proxy on the way to `host`; None where there is none."""
        names = [name.strip().lstrip("*.") for name in self.proxies.get("no", "").split(",")]
        bypassed = any(name and (host == name or host.endswith(f".{name}")) for name in names)
        if _is_local(host) or bypassed or self.proxies.get("no", "").strip() == "*":
            return None
        return self.proxies.get(scheme)


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a forge said."""

    status: int
    headers: Mapping[str, str]
    body: Any
    """The JSON; None where it is none."""
    next: Mapping[str, str] | None = None
    """Query of the next page of a list; its URL may have a name of the server that it has elsewhere."""

    @property
    def words(self) -> str:
        """Every text in the body, in one line: each forge, and each error of one, has a form of its own."""
        texts = dict.fromkeys(" ".join(text.split()) for text in _texts(self.body))
        return "; ".join(texts)[:_LONGEST]


class _ElsewhereError(ForgeError):
    """A redirect leads to another server."""


class Client:
    """The API of one forge, below `base`."""

    def __init__(self, base: str, headers: Mapping[str, str], address: Address, network: Network) -> None:
        self._base = base
        self._headers = headers
        self._network = network
        self.host = address.origin.partition("://")[2]
        """For messages."""
        secret = headers.get("Authorization", "")
        if not (secret.isascii() and secret.isprintable()) or secret.count(" ") > 1:
            msg = f"the token for {self.host} has letters that no token has"
            raise ForgeError(msg, hint="set the variable to the token alone: no quotes, no line breaks")
        safe = base.startswith("https://") or address.stated or _is_local(address.host)
        if secret and not safe:
            msg = f"the token is not sent to {address.origin}: anyone on the way could read it"
            raise ForgeError(msg, hint="use https://, or say that it is meant: git.forge_url: http://…")

    def call(
        self,
        method: str,
        path: str,
        *,
        json: Any = None,
        query: Mapping[str, str | int] | None = None,
    ) -> Answer:
        """The answer, whatever its status; ForgeError when there is none, or too many ask at once."""
        with self._opened() as http:
            return self._persistent(http, method, path, json, query)

    def probe(self, path: str) -> Answer | None:
        """The answer to GET; None where it sends elsewhere, as to a page to log in."""
        try:
            return self.call("GET", path)
        except _ElsewhereError:
            return None

    def pages(self, path: str, *, query: Mapping[str, str | int], most: int = 50) -> Iterator[Answer]:
        """The pages of a list, `most` at most, each asked for when it is wanted."""
        answer = self.call("GET", path, query=query)
        for _ in range(most):
            yield answer
            if answer.next is None:
                return
            answer = self.call("GET", path, query=answer.next)

    def _opened(self) -> httpx.Client:
        import ssl

        import httpx

        split = urllib.parse.urlsplit(self._base)
        try:
            return httpx.Client(
                headers=dict(self._headers),
                timeout=self._network.timeout,
                # Proxies are handed in, and ~/.netrc and the like have no say.
                trust_env=False,
                proxy=self._network.proxy(split.scheme, split.hostname or ""),
                verify=ssl.create_default_context() if split.scheme == "https" else False,
            )
        except (ValueError, ImportError) as exc:
            # What is wrong with it may show its password.
            msg = f"the proxy for {split.scheme} cannot be used on the way to {self.host}"
            raise ForgeError(msg, hint=f"set {split.scheme}_proxy to http://HOST:PORT") from exc

    def _persistent(
        self, http: httpx.Client, method: str, path: str, json: Any, query: Mapping[str, str | int] | None
    ) -> Answer:
        import httpx

        failed = ""
        for attempt in range(self._network.tries):
            wait = self._network.pause * 2**attempt * random.uniform(0.5, 1.0)  # noqa: S311 (no secret)
            try:
                answer = self._redirected(http, method, self._base + path, json, query)
            except httpx.RequestError as exc:
                failed = f"does not answer: {str(exc) or type(exc).__name__}"
                if "CERTIFICATE_VERIFY_FAILED" in failed:
                    msg = f"{self.host} shows a certificate that is not trusted here"
                    raise ForgeError(msg, hint="SSL_CERT_FILE names a file with its CA, too") from exc
            else:
                asked = self._asked_to_wait(answer)
                if asked is None and answer.status not in RETRIED:
                    return answer
                failed = f"answers {answer.status}" + (f": {answer.words}" if answer.words else "")
                wait = max(wait, asked or 0.0)
            if wait > self._network.longest:
                break
            if attempt + 1 < self._network.tries:
                self._network.sleep(wait)
        else:
            wait = 0.0
        msg = f"{self.host} {failed}"
        hint = (
            f"it takes requests again in {wait / 60:.0f} minutes; run the command again then"
            if wait
            else "run the command again later; the branch is pushed, and nothing is done twice"
        )
        raise ForgeError(msg, hint=hint)

    def _redirected(
        self, http: httpx.Client, method: str, url: str, json: Any, query: Mapping[str, str | int] | None
    ) -> Answer:
        """The answer behind redirects that stay with the server, as those of a renamed repository do."""
        for _ in range(4):
            self._own(url)
            reply = http.request(method, url, json=json, params=query)
            place = reply.headers.get("location")
            if reply.status_code not in _REDIRECTS or not place:
                return _answer(reply)
            # The place has the query already.
            url, query = urllib.parse.urljoin(url, place), None
        msg = f"{self.host} redirects in circles"
        raise ForgeError(msg, hint="check git.repo and git.forge_url")

    def _own(self, url: str) -> None:
        ours, theirs = _place(self._base), _place(url)
        assert ours is not None  # noqa: S101 (made of an address)
        upgraded = theirs is not None and (ours[0], theirs[0]) == ("http", "https") and ours[1] == theirs[1]
        if theirs != ours and not upgraded:
            place = url.partition("?")[0]
            msg = f"{self.host} redirects to {place}, and the token does not go there"
            raise _ElsewhereError(msg, hint="if that is the forge now, name it: git.repo, or git.forge_url")

    def _asked_to_wait(self, answer: Answer) -> float | None:
        """Seconds until requests are taken again; None where nothing is said of that."""
        if answer.status not in (403, 429, 503):
            return None
        if (after := answer.headers.get("retry-after", "")).isdigit():
            return float(after)
        for prefix in ("x-ratelimit-", "ratelimit-"):
            reset = answer.headers.get(f"{prefix}reset", "")
            if answer.headers.get(f"{prefix}remaining") == "0" and reset.isdigit():
                return max(float(reset) - self._network.clock(), 1.0)
        if answer.status == 403 and "rate limit" in answer.words.lower():
            # GitHub's limit on what is made at once does not always say how long it lasts.
            return self._network.longest
        return None


def _is_local(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _place(url: str) -> tuple[str, str, int | None] | None:
    """Scheme, host and port; None for what is no URL."""
    try:
        split = urllib.parse.urlsplit(url)
        port = split.port or {"http": 80, "https": 443}.get(split.scheme)
    except ValueError:
        return None
    return split.scheme, split.hostname or "", port


def _answer(reply: httpx.Response) -> Answer:
    body = None
    with contextlib.suppress(ValueError):
        body = reply.json()
    following = reply.links.get("next", {}).get("url")
    return Answer(
        status=reply.status_code,
        headers={name.lower(): value for name, value in reply.headers.items()},
        body=body,
        next=dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(following).query)) if following else None,
    )


def _texts(body: Any) -> Iterator[str]:
    if isinstance(body, str):
        yield body
    elif isinstance(body, list):
        for one in body:
            yield from _texts(one)
    elif isinstance(body, dict) and "message" not in body and {"field", "code"} <= body.keys():
        # Of GitHub: a field and what is wrong with it, as one word.
        yield f"{body['field']} {body['code']}"
    elif isinstance(body, dict):
        described = ("error",) if "error_description" in body else ()
        for key, one in body.items():
            if isinstance(one, list) and key not in ("errors", "message"):
                # GitLab names the field only here.
                yield from (f"{key} {text}" for text in _texts(one))
            elif key not in (*_SILENT, *described):
                yield from _texts(one)
