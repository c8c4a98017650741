"""Logins: how git gets a token, and URLs that hold one."""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Mapping

from servegen.errors import ConfigError
from servegen.redact import redacted

_HELPER = (
    '!f() { test "$1" = get && printf "username=%s\\npassword=%s\\n" '
    '"$SERVEGEN_GIT_USERNAME" "$SERVEGEN_GIT_TOKEN"; }; f'
)


def check(repo: str) -> None:
    """ConfigError for a repository that is an option, or whose URL holds a login."""
    if not repo or repo.startswith("-") or any(c in repo for c in "\n\r\0"):
        msg = f"{repo!r} is no repository"
        raise ConfigError(msg, hint="--repo URL, git@HOST:GROUP/NAME.git, or the folder of a checkout")
    if "::" in repo.partition("/")[0]:
        msg = f"{repo.partition('::')[0]}:: is a way to a repository that runs programs"
        raise ConfigError(msg, hint="--repo with https, ssh or file")
    # A user alone is no secret where ssh takes it; a query may be one of those that servers take as a login.
    web = re.match("https?://", repo, re.IGNORECASE) and redacted(repo) != repo
    if web or re.match(r"\w+://[^/@]*:[^/@]*@", repo):
        msg = f"the URL {redacted(repo)} was given with a login or a query in it"
        raise ConfigError(
            msg, hint="leave it out, and set SERVEGEN_GIT_TOKEN or use a credential helper of git"
        )


def login(url: str, token: str | None, username: str, env: Mapping[str, str]) -> dict[str, str]:
    """Variables that make git send `token` to the host of `url`, and to no other; none for ssh.

    The token is never an argument, and no helper of the user's gets to store it.
    """
    parts = urllib.parse.urlsplit(url)
    if not token or parts.scheme not in ("http", "https") or not parts.hostname:
        return {}
    key = f"credential.{parts.scheme}://{parts.netloc.rpartition('@')[2]}.helper"
    count = int(env.get("GIT_CONFIG_COUNT") or 0)
    # The empty one forgets all helpers that files name.
    entries = ((key, ""), (key, _HELPER))
    made = {"GIT_CONFIG_COUNT": str(count + len(entries))}
    for number, (name, value) in enumerate(entries, count):
        made |= {f"GIT_CONFIG_KEY_{number}": name, f"GIT_CONFIG_VALUE_{number}": value}
    return made | {"SERVEGEN_GIT_TOKEN": token, "SERVEGEN_GIT_USERNAME": username}
