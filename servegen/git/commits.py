"""Commits on a tree, and pushes that never overwrite what others wrote."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from servegen.errors import ConfigError, GitError, IdentityError, SigningError
from servegen.git.worktree import Tree
from servegen.redact import redacted

_LONGEST = 500
_URL = re.compile(r"^remote:.*?(https?://\S+)", re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class Style:
    """How commits are made."""

    sign: bool | None = None
    """None: as git is configured."""
    signoff: bool = False


def check_identity(tree: Tree) -> None:
    """IdentityError where git would have to invent whose commits these are."""
    for name in ("GIT_AUTHOR_IDENT", "GIT_COMMITTER_IDENT"):
        done = tree.git.run("-c", "user.useConfigOnly=true", "var", name)
        if done.status:
            msg = "git does not know whose commits these are: user.name and user.email are not set"
            raise IdentityError(
                msg,
                hint='git config --global user.name "NAME"; git config --global user.email ADDRESS; '
                "or GIT_AUTHOR_NAME, GIT_AUTHOR_EMAIL, GIT_COMMITTER_NAME and GIT_COMMITTER_EMAIL",
            )


def message(subject: str, paragraphs: Sequence[str], trailers: Mapping[str, str | None]) -> str:
    """A commit message; raises ConfigError for a value with a line break."""
    known = {key: value for key, value in trailers.items() if value}
    for value in (subject, *known.values()):
        if re.search(r"[\x00-\x1f\x7f\x85\u2028\u2029]", value):
            msg = f"{value[:80]!r} has a line break or control character, which no commit message may have"
            raise ConfigError(msg, hint="name the model otherwise")
    lines = [f"{key}: {redacted(value)[:_LONGEST]}" for key, value in known.items()]
    return "\n\n".join([redacted(subject)[:_LONGEST], *paragraphs, "\n".join(lines)]) + "\n"


def stage(tree: Tree, paths: Sequence[str]) -> bool:
    """Put `paths` into the index; whether that differs from the head."""
    # Also those that .gitignore leaves out: they are meant to be there.
    tree.git.output("add", "-A", "-f", "--", *paths)
    if tree.head is None:
        return True
    done = tree.git.run("diff", "--cached", "--quiet", tree.head)
    if done.status not in (0, 1):
        raise tree.git.failure(done, "git diff")
    return done.status == 1


def content(tree: Tree, path: str) -> str:
    """A name for all that the index has below the folder `path`."""
    return tree.git.output("write-tree", f"--prefix={path}/")


def commit(tree: Tree, paths: Sequence[str], text: str, style: Style) -> str | None:
    """The id of a commit of what was staged, which the files are those of; None where a hook left nothing.

    Hooks run. What one changes in `paths` is taken over once; one that refuses is shown whole.
    """
    done = tree.git.run(*_command(style), stdin=text, login=False)
    if done.status and stage_again(tree, paths):
        if tree.head is not None and tree.git.ok("diff", "--cached", "--quiet", tree.head):
            return None
        done = tree.git.run(*_command(style), stdin=text, login=False)
    if done.status:
        error = tree.git.failure(done, "git commit")
        if isinstance(error, (IdentityError, SigningError)):
            raise error
        said = f"{done.stdout}\n{done.stderr}".strip()
        msg = "a hook of the repository refuses the commit" if said else "git commit failed"
        raise GitError(msg, hint="mend what it says; nothing was pushed", details=said)
    # What a hook did to the files and not to the commit, or the other way round, is seen then.
    tree.git.output("reset", "-q", "--hard", "HEAD")
    return tree.git.output("rev-parse", "HEAD")


def stage_again(tree: Tree, paths: Sequence[str]) -> bool:
    """Whether a hook changed files of `paths`; they are in the index then."""
    if tree.git.ok("diff", "--quiet", "--", *paths):
        return False
    tree.git.output("add", "-A", "-f", "--", *paths)
    return True


def push(tree: Tree, commit_id: str, branch: str, *, seen: str | None = None) -> str | None:
    """Push a commit to `branch`; the address that the server answered with, if it did.

    With `seen` the branch is overwritten, but only where it is still that commit. Raises RaceError and
    TransportError for what may go better next time.
    """
    lease = (f"--force-with-lease=refs/heads/{branch}:{seen}",) if seen else ()
    options = ("--porcelain", "--no-follow-tags", "--recurse-submodules=no", *lease)
    done = tree.git.run("push", *options, "origin", f"{commit_id}:refs/heads/{branch}")
    if done.status:
        raise tree.git.failure(done, "git push")
    found = _URL.search(done.stderr)
    return found[1] if found else None


def contains(tree: Tree, commit_id: str) -> bool:
    """Whether the remote branch, as it was last fetched, has the commit."""
    return tree.head is not None and tree.git.ok("merge-base", "--is-ancestor", commit_id, tree.head)


def trailers(tree: Tree, commit_id: str) -> dict[str, str]:
    """The trailers of a commit; of a key that is there twice, the last."""
    text = tree.git.output("show", "-s", "--format=%(trailers:only,unfold)", commit_id)
    pairs = (line.partition(": ") for line in text.splitlines())
    return {key: value for key, _, value in pairs if value}


def last(tree: Tree, paths: Sequence[str]) -> str:
    """The newest commit that changed one of `paths`, as `ID by AUTHOR on DATE`."""
    tree.complete()
    head = tree.head or "HEAD"
    return tree.git.output("log", "-1", "--format=%h by %an on %as", head, "--", *paths)


def _command(style: Style) -> tuple[str, ...]:
    sign = {None: (), True: ("--gpg-sign",), False: ("--no-gpg-sign",)}[style.sign]
    signoff = ("--signoff",) if style.signoff else ()
    encoding = ("-c", "i18n.commitEncoding=UTF-8")
    return (*encoding, "commit", "-q", "--cleanup=whitespace", *sign, *signoff, "-F", "-")
