"""What git and the servers behind it say when something fails, and the error that it means."""

from __future__ import annotations

import re
from dataclasses import dataclass

from servegen.errors import GitAuthError, GitError, ProtectedBranchError, SigningError

_ADDED = re.compile("Could not read from remote repository|failed to push some refs|^To |^Pushing to ")
_TELLING = re.compile("fatal|error|remote: error|remote: fatal|!|remote: GH|ssh: ")
_PROTECTED = (
    "GH006",
    "GH013",
    "TF402455",
    "protected branch",
    "hook declined",
    "branch is currently checked out",
    "deny updating a hidden ref",
    "not allowed to push code to protected",
)
_RACE = (
    "[rejected]",
    "fetch first",
    "non-fast-forward",
    "stale info",
    "cannot lock ref",
    "failed to lock",
    "failed to update ref",
    "incorrect old value",
    "but expected",
    "reference already exists",
)
_LOGIN = (
    "could not read Username",
    "could not read Password",
    "terminal prompts disabled",
    "Authentication failed",
    "Permission denied (",
    "Host key verification failed",
    "returned error: 401",
    "returned error: 403",
    "HTTP 401",
    "HTTP 403",
    "invalid credentials",
    "Invalid username or",
    "Access denied",
)
_READ_ONLY = (
    "insufficient permission",
    "unable to migrate objects",
    "Permission denied",
    "Read-only file system",
    "read-only",
    "is archived",
    "unable to create temporary",
)
_ABSENT = (
    "does not appear to be a git repository",
    "epository not found",
    "returned error: 404",
    "' not found",
    "does not exist",
)
_SHALLOW = (
    "does not support shallow",
    "shallow update not allowed",
    "attempt to fetch/clone from a shallow repository",
    "filter not supported",
    "dumb http transport",
    "does not support filter",
    "support --filter",
)
_TRANSPORT = (
    "Could not resolve",
    "Couldn't resolve",
    "ailed to connect",
    "Could not connect",
    "Couldn't connect",
    "Connection ",
    "onnection timed out",
    "Operation timed out",
    "Operation too slow",
    "early EOF",
    "hung up",
    "RPC failed",
    "unexpected disconnect",
    "returned error: 5",
    "returned error: 429",
    "HTTP 5",
    "SSL",
    "TLS",
    "gnutls",
    "kex_exchange",
    "unable to access",
    "Empty reply",
    "Broken pipe",
    "bad line length",
    "invalid index-pack output",
    "unpack failed",
)
_SIGNING = (
    "failed to sign",
    "gpg failed",
    "ssh-keygen",
    "Couldn't load public key",
    "No private key found",
    "either user.signingkey",
    "signing failed",
    "Load key",
)


class RaceError(GitError):
    """Somebody else wrote the branch first: fetch, and try again."""


class TransportError(GitError):
    """The connection or the server failed: try again."""


class ShallowError(GitError):
    """The server gives no part of a history."""


class AbsentError(GitError):
    """There is no such repository, or this login does not see it."""


@dataclass(frozen=True, kw_only=True)
class _Meaning:
    """What one kind of failure is recognized by, and how people are told of it."""

    error: type[GitError]
    signs: tuple[str, ...]
    """Any of them in what was printed."""
    text: str
    """With `{where}` for the repository and `{said}` for git's own words."""
    hint: str
    whole: bool = False
    """Show all of what was printed, too."""


_MEANINGS = (
    _Meaning(
        error=GitError,
        signs=("No space left on device", "Disk quota exceeded"),
        text="the disk of {where} or that of its work tree here is full: {said}",
        hint="make room there, or SERVEGEN_CACHE_DIR=FOLDER on another disk; nothing was pushed",
        whole=True,
    ),
    _Meaning(
        error=GitAuthError,
        signs=_LOGIN,
        text="{where} wants a login, or refuses this one{expired}: {said}",
        hint="SERVEGEN_GIT_TOKEN=TOKEN, a credential helper of git, or a key in ssh-agent; "
        "the login must be allowed to read and write",
        whole=True,
    ),
    _Meaning(
        error=ProtectedBranchError,
        signs=_PROTECTED,
        text="{where} does not let this login push to the branch: {said}",
        hint="--mode pr makes a branch to review, --mode auto does so where it must",
        whole=True,
    ),
    _Meaning(
        error=GitError,
        # It looks like a race, as the reference cannot be locked.
        signs=("' exists; cannot create '",),
        text="{where} has another branch that leaves no room for this name: {said}",
        hint="rename or delete that branch: a and a/b cannot both be branches",
        whole=True,
    ),
    _Meaning(error=RaceError, signs=_RACE, text="{where} was written meanwhile: {said}", hint="run it again"),
    _Meaning(
        error=AbsentError,
        signs=_ABSENT,
        text="{where} is no repository, or this login does not see it: {said}",
        hint="check the URL; SERVEGEN_GIT_TOKEN or a credential helper for one that is private",
    ),
    _Meaning(
        error=ShallowError,
        signs=_SHALLOW,
        text="{where} gives no part of a history: {said}",
        hint="run it again",
    ),
    _Meaning(
        error=GitAuthError,
        signs=_READ_ONLY,
        text="{where} cannot be written by this login: {said}",
        hint="ask for the right to push there",
        whole=True,
    ),
    _Meaning(
        error=SigningError,
        signs=_SIGNING,
        text="the commit cannot be signed: {said}",
        hint="check user.signingkey, gpg.format and the agent, or --no-sign",
        whole=True,
    ),
    _Meaning(
        error=TransportError,
        signs=_TRANSPORT,
        text="{where} does not answer: {said}",
        hint="check the network; try again",
    ),
)
"""The first that fits counts: what a server says comes along with what git makes of it."""


def failure(printed: str, *, where: str, what: str) -> GitError:
    """The error for what was `printed` by `what`, about the repository `where`."""
    said = said_by(printed)
    expired = " (it says that it expired)" if "expire" in printed.lower() else ""
    for one in _MEANINGS:
        if any(sign in printed for sign in one.signs):
            text = one.text.format(where=where, said=said, expired=expired)
            return one.error(text, hint=one.hint, details=printed.strip() if one.whole else "")
    return GitError(
        f"{what} failed: {said}",
        hint="run with -v to see every git command",
        details=printed.strip() if printed.count("\n") > 2 else "",
    )


def said_by(text: str) -> str:
    """The line of git's output that says most."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    # What git adds of its own where ssh, a hook or the server has told the reason already.
    reasons = [line for line in lines if not _ADDED.search(line)]
    telling = [line for line in reasons if _TELLING.match(line)]
    chosen = (telling or reasons or lines or ["it said nothing"])[0]
    return re.sub(r"^(fatal|error|remote): ", "", chosen).replace("\t", " ")[:300]
