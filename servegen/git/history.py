"""What earlier commits of a tree say and hold."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from servegen.errors import GitError
from servegen.git.worktree import Tree

_STEPS = (64, 1024)
"""How many commits more are fetched at first and then, before all of them are."""
_FORMAT = "%x01%H%x02%ct%x02%an%x02%(trailers:only,unfold)%x02"


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One commit."""

    id: str
    time: float
    """Of the commit, in seconds since 1970."""
    author: str
    trailers: dict[str, str]
    """Of a key that is there twice, the last."""
    paths: tuple[str, ...]
    """Files that it changed, of those that were asked for; those of a merge belong to what it merged."""


def entries(tree: Tree, paths: Sequence[str], *, most: int | None = None) -> tuple[Entry, ...]:
    """Commits that changed one of `paths`, newest first, as far back as the tree's history is here.

    The commit at which a shallow history ends is left out: it seems to make all that is there.
    """
    if tree.head is None:
        return ()
    limit = () if most is None else (f"--max-count={most}",)
    # Renames are told apart by content, which a partial clone would have to fetch.
    options = ("--no-renames", "--name-only", "-z", f"--format={_FORMAT}", *limit)
    text = tree.git.output("log", *options, tree.head, "--", *paths)
    ends = _ends(tree)
    return tuple(one for part in text.split("\x01")[1:] if (one := _entry(part)).id not in ends)


def deepening(tree: Tree, paths: Sequence[str]) -> Iterator[Entry]:
    """As `entries`, one after the other, fetching more history while somebody goes on asking."""
    seen: set[str] = set()
    for step in (0, *_STEPS, None):
        if step != 0 and not shallow(tree):
            return
        if step is None:
            tree.complete()
        elif step:
            deepen(tree, step)
        for one in entries(tree, paths):
            if one.id not in seen:
                seen.add(one.id)
                yield one


def shallow(tree: Tree) -> bool:
    """Whether earlier commits exist that are not here."""
    return tree.git.output("rev-parse", "--is-shallow-repository") == "true"


def deepen(tree: Tree, commits: int) -> None:
    """Fetch so many commits more; a checkout of the user's stays as shallow as it is."""
    if tree.checkout is None and tree.head is not None and shallow(tree):
        options = ("-q", "--no-tags", "--refmap=", "--no-recurse-submodules", f"--deepen={commits}")
        tree.git.output("fetch", *options, "origin", f"refs/heads/{tree.branch}")


def find(tree: Tree, commit: str) -> str:
    """The full id of the commit that a user named; GitError for one that the branch does not have."""
    tree.complete()
    done = tree.git.run("rev-parse", "--verify", "-q", "--end-of-options", f"{commit}^{{commit}}")
    found = done.stdout.strip()
    if done.status or not found or not tree.git.ok("merge-base", "--is-ancestor", found, str(tree.head)):
        msg = f"branch {tree.branch} of {tree.git.remote} has no commit {commit}"
        hint = f"git log {tree.branch} shows those there are"
        if shallow(tree):
            hint += "; this checkout is shallow: git fetch --unshallow, or --repo URL"
        raise GitError(msg, hint=hint)
    return found


def bring_back(tree: Tree, commit: str, path: str) -> Path:
    """Make the files below `path` those of `commit`, until the tree is reset; its folder."""
    at_root = posixpath.normpath(path) == "."
    if not at_root and not tree.git.output("ls-tree", "-d", "--name-only", commit, "--", path):
        msg = f"commit {commit[:12]} has no folder {path}"
        raise GitError(msg, hint="name a commit that had a release there")
    tree.git.output("restore", f"--source={commit}", "--staged", "--worktree", "--", path)
    return tree.folder / path


def _ends(tree: Tree) -> frozenset[str]:
    """Commits whose parents are not here."""
    path = tree.folder / tree.git.output("rev-parse", "--git-path", "shallow")
    return frozenset(path.read_text().split()) if path.is_file() else frozenset()


def _entry(text: str) -> Entry:
    commit, time, author, trailers, names = text.split("\x02", 4)
    pairs = (line.partition(": ") for line in trailers.splitlines())
    return Entry(
        id=commit,
        time=float(time),
        author=author,
        trailers={key: value for key, _, value in pairs if value},
        paths=tuple(name for name in names.strip("\0\n").split("\0") if name.strip("\n")),
    )
