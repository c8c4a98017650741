"""A work tree of one branch that nobody else uses: of a URL, or beside a checkout of the user's."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from servegen.errors import ConfigError, GitError
from servegen.git import credentials
from servegen.git.failures import AbsentError, ShallowError
from servegen.git.program import Git
from servegen.progress import Progress
from servegen.redact import redacted
from servegen.scratch import scratch_folder

REVIEW = "servegen/"
"""What the names of branches that wait for a review begin with."""
_PREFIX = "tree-"
_REMOTE = "origin"
_PARTIAL = ("--depth=1", "--filter=blob:none")
_LONGEST_PATH, _LONGEST_NAME = 1000, 200
_LISTED = re.compile(r"^worktree (.+)$", re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class Place:
    """Which branch of which repository."""

    repo: str
    """URL, or the folder of a checkout."""
    branch: str | None = None
    """None: the one that the repository names."""
    create: bool = False
    """Make the branch from the repository's own where it is missing."""


@dataclass(frozen=True, kw_only=True)
class Access:
    """What git is run with."""

    env: Mapping[str, str]
    scratch: Path
    """Folder for work trees."""
    token: str | None = None
    username: str = "x-access-token"


class Tree:
    """The files of the branch's head; commits are made on top of it and pushed."""

    def __init__(
        self,
        git: Git,
        branch: str,
        *,
        checkout: Path | None,
        empty: bool,
        url: str,
        elsewhere: frozenset[str] = frozenset(),
    ) -> None:
        self.git = git
        self.branch = branch
        self.elsewhere = elsewhere
        """The remote's other branches, and `HEAD` where that is one of them."""
        self.checkout = checkout
        """The folder of the user's, which stays as it is; None for a clone of ours."""
        self.head: str | None = None
        """Of the remote branch as it was last seen; None while the repository is empty."""
        self._partial = checkout is None
        self._empty = empty
        self._source = branch
        self._url = url

    @property
    def folder(self) -> Path:
        """Where its files are."""
        assert self.git.folder is not None  # noqa: S101 (every tree has one)
        return self.git.folder

    def begin_from(self, branch: str) -> None:
        """Fetch `branch` as long as the tree's own is not there."""
        self._source = branch

    def fetch(self) -> None:
        """Learn the remote branch's head, and have its files."""
        if self._empty and not self._remote_has(self._source):
            return
        self.head = self._fetched(self._source)
        self._empty = False
        self.reset()

    def reset(self) -> None:
        """Make the files those of the head, without whatever else there is."""
        if self.head is None:
            self.git.output("rm", "-r", "-q", "--cached", "--ignore-unmatch", ".")
        else:
            self.git.output("reset", "-q", "--hard", self.head)
        self.git.output("clean", "-q", "-f", "-f", "-d", "-x")

    def pushed(self, commit: str) -> None:
        """The remote branch's head is `commit` now."""
        self.head, self._empty, self._source = commit, False, self.branch

    def tip(self, branch: str) -> str | None:
        """The commit of another remote branch, with all of its history; None where there is none."""
        if not self._remote_has(branch):
            return None
        self.complete()
        return self._fetched(branch)

    def complete(self) -> None:
        """Have the whole history, as far as the remote gives it."""
        if self.git.output("rev-parse", "--is-shallow-repository") == "true" and not self.checkout:
            self.git.output("fetch", "-q", "--unshallow", "--no-tags", "--refmap=", _REMOTE, *self._heads())
            self._partial = False

    def _heads(self) -> tuple[str, ...]:
        return () if self._empty else (f"refs/heads/{self._source}",)

    def _remote_has(self, branch: str) -> bool:
        return bool(self.git.output("ls-remote", _REMOTE, f"refs/heads/{branch}"))

    def _fetched(self, branch: str) -> str:
        # The part is asked for once: what is new since then connects to it.
        part = _PARTIAL if self._partial and self.head is None else ()
        base = ("fetch", "-q", "--no-tags", "--refmap=", "--no-recurse-submodules")
        try:
            self.git.output(*base, *part, _REMOTE, f"refs/heads/{branch}")
        except ShallowError:
            self._partial = False
            # Else git would go on asking such a server for single files, without end.
            self.git.run("config", "--remove-section", f"remote.{_REMOTE}")
            self.git.output("remote", "add", "--", _REMOTE, self._url)
            self.git.output(*base, _REMOTE, f"refs/heads/{branch}")
        return self.git.output("rev-parse", "FETCH_HEAD")


@contextlib.contextmanager
def opened(place: Place, access: Access, progress: Progress) -> Iterator[Tree]:
    """The tree of `place`, fetched; it and all traces of it are gone at the end.

    Trees that killed runs left are removed first.
    """
    credentials.check(place.repo)
    _check_branch(place.branch)
    git = Git.start(access.env, progress)
    checkout = _checkout(place.repo, git)
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(scratch_folder(access.scratch, _PREFIX)) / "tree"
        if checkout is None:
            git = replace(
                git,
                remote=redacted(place.repo),
                login=credentials.login(place.repo, access.token, access.username, access.env),
            )
            folder.mkdir()
            git = git.at(folder)
            git.output("init", "-q")
            git.output("remote", "add", "--", _REMOTE, _absolute(place.repo))
        else:
            git = _beside(git.at(checkout), folder, access)
            stack.callback(_forget, git.at(checkout), folder)
        git = _quiet_ssh(git)
        tree = _of_branch(git, place, checkout)
        tree.fetch()
        if tree.head is None:
            # Else the first commit would be on whatever branch this machine begins with.
            git.output("symbolic-ref", "HEAD", f"refs/heads/{tree.branch}")
        yield tree


def _checkout(repo: str, git: Git) -> Path | None:
    """The top of the checkout that `repo` names; None for a URL and for a bare repository."""
    folder = Path(repo).expanduser()
    if "://" in repo or not folder.is_dir():
        return None
    done = git.at(folder).run("rev-parse", "--is-bare-repository", "--show-toplevel")
    lines = done.stdout.split("\n")
    if done.status and lines[0] != "true":
        msg = f"{repo} is no Git repository: {' '.join(done.stderr.split())[:200]}"
        raise GitError(msg, hint="--repo URL, or the folder of a checkout")
    return None if lines[0] == "true" else Path(lines[1])


def _absolute(repo: str) -> str:
    folder = Path(repo).expanduser()
    return str(folder.absolute()) if "://" not in repo and folder.exists() else repo


def _beside(git: Git, folder: Path, access: Access) -> Git:
    """A work tree of the user's repository in `folder`."""
    url = git.run("remote", "get-url", "--push", _REMOTE).stdout.strip()
    if not url:
        msg = f"{git.folder} has no remote called {_REMOTE} to push to"
        raise GitError(msg, hint=f"git remote add {_REMOTE} URL, or --repo URL")
    for left in _LISTED.findall(git.output("worktree", "list", "--porcelain")):
        path = Path(left)
        ours = path.parent.parent == access.scratch.resolve() and path.parent.name.startswith(_PREFIX)
        if ours and not path.exists():
            git.run("worktree", "remove", "--force", "--", left)
    if not git.ok("rev-parse", "--verify", "-q", "HEAD"):
        msg = f"{git.folder} has no commit yet"
        raise GitError(msg, hint=f"git pull, or name the remote itself: --repo {redacted(url)}")
    git.output("worktree", "add", "-q", "--detach", "--no-checkout", "--", str(folder), "HEAD")
    login = credentials.login(url, access.token, access.username, access.env)
    return replace(git.at(folder), remote=redacted(url), login=login)


def _forget(git: Git, folder: Path) -> None:
    git.run("worktree", "remove", "--force", "--", str(folder))


def _quiet_ssh(git: Git) -> Git:
    """Keep ssh from asking on the terminal, unless the user chose how it is started."""
    if {"GIT_SSH", "GIT_SSH_COMMAND"} & git.env.keys() or git.ok("config", "--get", "core.sshCommand"):
        return git
    return replace(git, env=dict(git.env) | {"GIT_SSH_COMMAND": "ssh -o BatchMode=yes"})


def _check_branch(branch: str | None) -> None:
    if branch is None:
        return
    shape = r"(?!-)(?!.*(?:\.\.|@\{|//|/\.|\.lock(?:/|$)))[^\x00-\x20\x7f~^:?*\[\\]+"
    if not re.fullmatch(shape, branch) or branch.endswith(("/", ".")) or branch.startswith(("/", ".")):
        msg = f"{branch!r} cannot be the name of a branch"
        raise ConfigError(msg, hint="--branch main")


def _of_branch(git: Git, place: Place, checkout: Path | None) -> Tree:
    """The tree of the branch that `place` names, else of the one that the remote names."""
    found = git.output("ls-remote", "--symref", _REMOTE, "HEAD", "refs/heads/*")
    default = next(iter(re.findall(r"^ref: refs/heads/(\S+)\tHEAD$", found, re.MULTILINE)), None)
    heads = re.findall(r"\trefs/heads/(\S+)$", found, re.MULTILINE)
    # A remote whose HEAD is of a branch that is not there, as a new one where main was pushed, names none.
    own = [head for head in heads if not head.startswith(REVIEW)]
    branch = place.branch or default or (own[0] if len(own) == 1 else None)
    url = _absolute(place.repo)
    if not heads:
        return Tree(git, branch or _first_branch(git, url), checkout=checkout, empty=True, url=url)
    others = frozenset(heads) - {branch} | ({"HEAD"} if default not in (None, branch) else frozenset())
    if branch in heads:
        return Tree(git, str(branch), checkout=checkout, empty=False, url=url, elsewhere=others)
    if branch and place.create and default in heads:
        tree = Tree(git, branch, checkout=checkout, empty=False, url=url, elsewhere=others)
        tree.begin_from(str(default))
        return tree
    msg = f"{git.remote} has no branch {branch}" if branch else f"{git.remote} names no branch of its own"
    some = ", ".join(sorted(heads)[:8])
    raise AbsentError(msg, hint=f"--branch NAME (there are: {some}), or --create-branch with it")


def _first_branch(git: Git, url: str) -> str:
    """What the empty repository `url` calls its own branch; only a clone is told."""
    probe = git.folder.parent / "probe" if git.folder else Path("probe")
    if git.ok("clone", "-q", "--bare", "--", url, str(probe)):
        named = git.at(probe).run("symbolic-ref", "--short", "HEAD").stdout.strip()
        if named:
            return named
    done = git.run("config", "--get", "init.defaultBranch")
    return done.stdout.strip() or "main"


def inside(folder: Path, path: str) -> Path:
    """`path` below `folder`; ConfigError where it, or a link in it, leads elsewhere."""
    parts = Path(path).parts
    bad = not path or path.startswith(("-", "/")) or "\\" in path or ".." in parts
    # Of what file systems take, with room for the files in it.
    bad = bad or len(path) > _LONGEST_PATH or any(len(part.encode()) > _LONGEST_NAME for part in parts)
    if bad or ".git" in (part.lower() for part in parts) or any(ord(c) < 32 for c in path):
        msg = f"{path[:80]!r} is no folder in a repository"
        raise ConfigError(msg, hint="--path apps/iris")
    found, root = folder / path, folder.resolve()
    real = Path(os.path.realpath(found))
    if real != root / os.path.normpath(path):
        msg = f"{path} leads through a link, to a place that is not its own"
        raise ConfigError(msg, hint="--path of the folder itself")
    return found


def check_obstacles(tree: Tree, paths: tuple[str, ...]) -> None:
    """GitError where one of `paths` is in a submodule, kept by LFS, or where a folder should be."""
    above = sorted({str(parent) for path in paths for parent in Path(path).parents if str(parent) != "."})
    if tree.head is not None and above:
        for line in tree.git.output("ls-tree", "-z", tree.head, "--", *above).split("\0"):
            mode, _, rest = line.partition(" ")
            name = rest.partition("\t")[2]
            # What is listed goes into folders of which a deeper one is asked for.
            if name not in above:
                continue
            if mode == "160000":
                msg = f"{name} is a submodule, whose files are in a repository of their own"
                raise GitError(msg, hint="--repo of that repository, or another --path")
            if mode in ("100644", "100755", "120000"):
                msg = f"{name} is a {'link' if mode == '120000' else 'file'}, so nothing can be in it"
                raise GitError(msg, hint="another --path")
    attributes = tree.git.output("check-attr", "-z", "filter", "--", *paths).split("\0")
    for path, value in zip(attributes[0::3], attributes[2::3], strict=False):
        if value == "lfs":
            msg = f"{path} would be kept by Git LFS, so that whoever applies it would get a pointer"
            raise GitError(msg, hint="take it out of .gitattributes, or another --path")
