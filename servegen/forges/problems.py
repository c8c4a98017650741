"""Answers of a forge → what they hold, or one line that says why not and what to do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NoReturn

from servegen.errors import ForgeError
from servegen.forges.http import Answer

_LONGEST_TITLE = 250
"""Characters; forges take 255 or 256."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """What messages name."""

    host: str
    repository: str
    rights: str
    """What a token needs."""
    variables: str
    """Where it is read from."""

    def one(self, answer: Answer, *keys: str) -> Any:
        """The object that a successful answer is, which has `keys`."""
        return self._succeeded(answer, [answer.body], keys)[0]

    def many(self, answer: Answer, *keys: str) -> list[Any]:
        """The list of objects, each with `keys`, that a successful answer is."""
        return self._succeeded(answer, answer.body, keys)

    def _succeeded(self, answer: Answer, found: Any, keys: tuple[str, ...]) -> list[Any]:
        if answer.status >= 300 or answer.body is None:
            self._fail(answer)
        if not isinstance(found, list) or not all(
            isinstance(one, dict) and set(keys) <= one.keys() for one in found
        ):
            msg = f"{self.host} answers what is no pull request: {answer.words or answer.body}"
            raise ForgeError(msg[:500], hint="git.forge and git.forge_url say what the forge is, and where")
        return found

    def without_token(self, page: str) -> ForgeError:
        """The error for a missing token, which names the page where a person opens the request."""
        msg = f"there is no token for {self.host}"
        return ForgeError(msg, hint=f"put one into {self.variables}, or open {page}")

    def _fail(self, answer: Answer) -> NoReturn:
        said = f": {answer.words}" if answer.words else ""
        lower, host, repository = answer.words.lower(), self.host, self.repository
        sso = answer.headers.get("x-github-sso", "").partition("url=")[2]
        if answer.status == 401:
            what = (
                "has expired"
                if "expired" in lower
                else "is not accepted: it expired, was revoked or is wrong"
            )
            msg = f"the token for {host} {what}{said}"
            hint = f"make a new one with {self.rights} and put it into {self.variables}"
        elif answer.status == 403 and sso:
            msg = f"the token for {host} is not yet allowed to act for the organization of {repository}"
            hint = f"allow it on {sso}"
        elif answer.status == 403:
            msg = f"the token may not open pull requests in {repository} on {host}{said}"
            hint = f"give it {self.rights}, or take another one: {self.variables}"
        elif answer.body is None:
            msg = f"{host} answers {answer.status} and no JSON, so it is no API of a forge"
            hint = "git.forge_url says where the forge is"
        elif answer.status in (404, 410):
            msg = f"{host} has no repository {repository} that the token may see{said}"
            hint = f"check git.repo, both branches, and that the token has {self.rights}"
        elif "no commits between" in lower or "no changes between" in lower:
            msg = f"there is nothing to review in {repository}: both branches hold the same{said}"
            hint = "the change may have been merged already"
        else:
            msg = f"{host} does not take the pull request for {repository} ({answer.status}){said}"
            hint = "check that both branches are there, and what the forge says above"
        raise ForgeError(msg, hint=hint)


def title(text: str) -> str:
    """A title as forges take it: one line, not too long."""
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST_TITLE else line[: _LONGEST_TITLE - 1] + "…"
