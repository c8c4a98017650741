"""The git program by argument list, and what its failures mean."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from servegen.errors import GitAuthError, GitError, ProtectedBranchError, SigningError
from servegen.process import Completed, run
from servegen.progress import Progress

# Of a hook or an alias that started us; they would lead git into another repository.
_FOREIGN = (
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_COMMON_DIR",
    "GIT_DIR",
    "GIT_INDEX_FILE",
    "GIT_INTERNAL_SUPER_PREFIX",
    "GIT_NAMESPACE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_PREFIX",
    "GIT_QUARANTINE_PATH",
    "GIT_WORK_TREE",
)
_SETTINGS = {
    "GIT_TERMINAL_PROMPT": "0",
    # Else `git status` would write the index of the user's checkout.
    "GIT_OPTIONAL_LOCKS": "0",
    "GCM_INTERACTIVE": "never",
    "LC_ALL": "C",
    "GIT_LFS_SKIP_SMUDGE": "1",
    "GIT_TRACE_REDACT": "1",
    # A connection over which nothing comes for a minute is none.
    "GIT_HTTP_LOW_SPEED_LIMIT": "1",
    "GIT_HTTP_LOW_SPEED_TIME": "60",
}
_CONFIG = (
    *("-c", "gc.auto=0", "-c", "maintenance.auto=false", "-c", "advice.detachedHead=false"),
    *("-c", "core.quotePath=false"),
    # Of the user's checkout, from which our trees inherit it: they need files that it leaves out.
    *("-c", "core.sparseCheckout=false"),
    # We write lines as git keeps them, and git would refuse them where the user's end otherwise.
    *("-c", "core.safecrlf=false"),
)

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

_ADDED = re.compile("Could not read from remote repository|failed to push some refs|^To |^Pushing to ")
_TELLING = re.compile("fatal|error|remote: error|remote: fatal|!|remote: GH|ssh: ")


class RaceError(GitError):
    """Somebody else wrote the branch first: fetch, and try again."""


class TransportError(GitError):
    """The connection or the server failed: try again."""


class ShallowError(GitError):
    """The server gives no part of a history."""


class AbsentError(GitError):
    """There is no such repository, or this login does not see it."""


@dataclass(frozen=True, kw_only=True)
class Git:
    """The program in one folder, for one remote repository."""

    env: Mapping[str, str]
    progress: Progress
    folder: Path | None = None
    remote: str = ""
    """What errors call the remote repository: its URL without login."""
    login: Mapping[str, str] | None = None
    """Variables that hold a login; not for `commit`, which runs hooks of others."""

    @classmethod
    def start(cls, env: Mapping[str, str], progress: Progress) -> Git:
        """The program with the environment `env`, asking nobody for anything."""
        kept = {name: value for name, value in env.items() if name not in _FOREIGN}
        return cls(env=kept | _SETTINGS, progress=progress)

    def at(self, folder: Path) -> Git:
        """The same in `folder`."""
        return replace(self, folder=folder)

    def run(self, *arguments: str, stdin: str | None = None, login: bool = True) -> Completed:
        """What `git ARGUMENTS` gave, whether it failed or not; raises GitError where there is no git."""
        env = dict(self.env) | dict((login and self.login) or {})
        # An option and no variable: hooks of commits would get that, too.
        literal = ["--literal-pathspecs"] if "--" in arguments else []
        argv = ["git", *literal, *_CONFIG, *arguments]
        try:
            return run(argv, progress=self.progress, env=env, cwd=self.folder, stdin=stdin)
        except FileNotFoundError as exc:
            if self.folder is not None and not self.folder.is_dir():
                msg = f"the folder {self.folder} is gone"
                raise GitError(msg, hint="run the command again") from exc
            msg = "there is no git program here"
            raise GitError(msg, hint="install git 2.25 or newer, and have it on PATH") from exc

    def output(self, *arguments: str, stdin: str | None = None) -> str:
        """What `git ARGUMENTS` printed; raises the error that its failure means."""
        done = self.run(*arguments, stdin=stdin)
        if done.status:
            raise self.failure(done, f"git {arguments[0]}")
        return done.stdout.strip()

    def ok(self, *arguments: str) -> bool:
        """Whether `git ARGUMENTS` ended well."""
        return self.run(*arguments).status == 0

    def failure(self, done: Completed, what: str) -> GitError:
        """The error that says what the failure of `what` means."""
        text = f"{done.stdout}\n{done.stderr}"
        where = self.remote or str(self.folder)
        said = said_by(text)
        if _any(_LOGIN, text):
            expired = " (it says that it expired)" if "expire" in text.lower() else ""
            return GitAuthError(
                f"{where} wants a login, or refuses this one{expired}: {said}",
                hint="SERVEGEN_GIT_TOKEN=TOKEN, a credential helper of git, or a key in ssh-agent; "
                "the login must be allowed to read and write",
                details=text.strip(),
            )
        if _any(_PROTECTED, text):
            return ProtectedBranchError(
                f"{where} does not let this login push to the branch: {said}",
                hint="--mode pr makes a branch to review, --mode auto does so where it must",
                details=text.strip(),
            )
        if _any(_RACE, text):
            return RaceError(f"{where} was written meanwhile: {said}", hint="run it again")
        if _any(_ABSENT, text):
            return AbsentError(
                f"{where} is no repository, or this login does not see it: {said}",
                hint="check the URL; SERVEGEN_GIT_TOKEN or a credential helper for one that is private",
            )
        if _any(_SHALLOW, text):
            return ShallowError(f"{where} gives no part of a history: {said}", hint="run it again")
        if _any(_READ_ONLY, text):
            return GitAuthError(
                f"{where} cannot be written by this login: {said}",
                hint="ask for the right to push there",
                details=text.strip(),
            )
        if _any(_SIGNING, text):
            return SigningError(
                f"the commit cannot be signed: {said}",
                hint="check user.signingkey, gpg.format and the agent, or --no-sign",
                details=text.strip(),
            )
        if _any(_TRANSPORT, text):
            return TransportError(f"{where} does not answer: {said}", hint="check the network; try again")
        return GitError(
            f"{what} failed: {said}",
            hint="run with -v to see every git command",
            details=text.strip() if text.count("\n") > 2 else "",
        )


def said_by(text: str) -> str:
    """The line of git's output that says most."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    # What git adds of its own where ssh, a hook or the server has told the reason already.
    reasons = [line for line in lines if not _ADDED.search(line)]
    telling = [line for line in reasons if _TELLING.match(line)]
    chosen = (telling or reasons or lines or ["it said nothing"])[0]
    return re.sub(r"^(fatal|error|remote): ", "", chosen).replace("\t", " ")[:300]


def _any(signs: tuple[str, ...], text: str) -> bool:
    return any(sign in text for sign in signs)
