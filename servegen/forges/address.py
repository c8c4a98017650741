"""Repository URLs, as git takes them → where the repository is on the web."""

from __future__ import annotations

import re
import urllib.parse
from dataclasses import dataclass, replace

from servegen.errors import ForgeError

_SCP = re.compile(r"(?:[^@/\s]+@)?(?P<host>\[[^\]/]+\]|[^:/\s\[\]]+):(?!//)/?(?P<path>\S+)")
_SSH_HOSTS = {"ssh.github.com": "github.com", "altssh.gitlab.com": "gitlab.com"}
"""Hosts that take ssh on port 443, and the hosts that they stand for."""
_PORTS = {"http": 80, "https": 443}
_API = re.compile(r"/api/v\d+$")
_HINT = "git.repo is like https://HOST/OWNER/NAME or git@HOST:OWNER/NAME; git.forge_url names another forge"


@dataclass(frozen=True, kw_only=True)
class Address:
    """A repository on a forge."""

    scheme: str
    host: str
    """Lower case; an IPv6 address in brackets."""
    port: int | None
    """None for the usual one of the scheme."""
    prefix: str
    """Path of the forge below its host, such as `/git`, or empty."""
    path: str
    """Owners and name, such as `group/sub-group/iris`."""
    stated: bool = False
    """Whether the user said where the forge is, and so what belongs to the prefix."""

    @classmethod
    def of(cls, repository: str, forge_url: str | None = None) -> Address:
        """The address of a repository's URL; ForgeError for one that is on no forge.

        `forge_url`, of the forge or of its API, says scheme, host, port and prefix instead.
        """
        scheme, netloc, path = _parts(repository)
        host, port = _host(netloc, repository)
        if scheme == "ssh":
            # The port is that of ssh.
            scheme, host, port = "https", _SSH_HOSTS.get(host, host), None
        made = cls(scheme=scheme, host=host, port=_unusual(scheme, port), prefix="", path=_names(path))
        if forge_url is not None:
            made = _moved(made, forge_url)
        if "/" not in made.path:
            msg = f"{repository} names no owner and repository"
            raise ForgeError(msg, hint=_HINT)
        return made

    def below(self, parts: int) -> Address:
        """The same with `parts` names before the prefix's end moved from the path to the prefix."""
        names = self.path.split("/")
        if self.stated or not 0 < parts < len(names) - 1:
            return self
        return replace(self, prefix="/" + "/".join(names[:parts]), path="/".join(names[parts:]))

    def of_two(self) -> Address:
        """The same for a forge whose repositories have an owner and a name, and nothing before them."""
        return self.below(self.path.count("/") - 1)

    @property
    def origin(self) -> str:
        """`scheme://host[:port]`."""
        return f"{self.scheme}://{self.host}" + (f":{self.port}" if self.port else "")

    @property
    def root(self) -> str:
        """The forge's own URL, without a slash at its end."""
        return self.origin + self.prefix

    @property
    def web(self) -> str:
        """The repository's page."""
        return f"{self.root}/{urllib.parse.quote(self.path)}"


def branch(name: str) -> str:
    """A branch's name in the path of a URL; slashes stay."""
    return urllib.parse.quote(name, safe="/")


def _parts(repository: str) -> tuple[str, str, str]:
    """Scheme (http, https or ssh), user, host and port, and path."""
    text = repository.strip()
    if "://" in text:
        split = urllib.parse.urlsplit(text)
        scheme = {"git+ssh": "ssh", "ssh+git": "ssh"}.get(split.scheme, split.scheme)
        if scheme in ("http", "https", "ssh") and split.hostname:
            return scheme, split.netloc.rpartition("@")[2], urllib.parse.unquote(split.path)
    elif match := _SCP.fullmatch(text):
        return "ssh", match["host"], match["path"]
    msg = f"{repository} is on no forge, so no pull request can be opened"
    raise ForgeError(msg, hint=_HINT)


def _host(netloc: str, text: str) -> tuple[str, int | None]:
    try:
        split = urllib.parse.urlsplit(f"//{netloc}")
        host, port = split.hostname or "", split.port
    except ValueError as exc:
        msg = f"{text} has no port that could be: {exc}"
        raise ForgeError(msg, hint=_HINT) from exc
    return (f"[{host}]" if ":" in host else host), port


def _unusual(scheme: str, port: int | None) -> int | None:
    return None if port == _PORTS[scheme] else port


def _names(path: str) -> str:
    names = [name for name in path.split("/") if name]
    if any(name in (".", "..", "~") for name in names):
        return ""
    return "/".join(names).removesuffix(".git")


def _moved(address: Address, forge_url: str) -> Address:
    split = urllib.parse.urlsplit(forge_url.strip())
    if split.scheme not in ("http", "https") or not split.hostname or split.query or split.fragment:
        msg = f"git.forge_url cannot be {forge_url!r}"
        raise ForgeError(msg, hint="the address of the forge, such as https://git.example.com/gitlab")
    host, port = _host(split.netloc.rpartition("@")[2], forge_url)
    prefix = _API.sub("", split.path.rstrip("/"))
    if host.startswith("api.") and not prefix:
        # As GitHub's is called.
        host = host.removeprefix("api.")
    path = address.path
    if prefix and f"/{path}".startswith(f"{prefix}/"):
        path = path[len(prefix) :]
    return Address(
        scheme=split.scheme,
        host=host,
        port=_unusual(split.scheme, port),
        prefix=prefix,
        path=path,
        stated=True,
    )
