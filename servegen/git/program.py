"""The git program by argument list."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from servegen.errors import GitError
from servegen.git.failures import failure
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
        return failure(text, where=self.remote or str(self.folder), what=what)
