"""What a bundle changes in a folder of a repository: found first, written afterwards."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from servegen.errors import EditedError, GitError
from servegen.gitops.layouts import seals
from servegen.values.bundle import Bundle
from servegen.values.delivery import Change


@dataclass(frozen=True, kw_only=True)
class FileChange:
    """One file, before and after; None where it is not there."""

    path: str
    before: str | None
    after: str | None
    edited: bool = False
    """Whether somebody changed what servegen wrote, or the file never was servegen's."""

    @property
    def action(self) -> str:
        """In a word."""
        if self.before == self.after:
            return "unchanged"
        if self.before is None:
            return "created"
        return "configured" if self.after is not None else "deleted"


def changes(bundle: Bundle, folder: Path) -> tuple[FileChange, ...]:
    """What the bundle makes of `folder`, without writing; raises GitError for what is no file.

    A file that only a formatter changed stays as it is.
    """
    found = []
    for path, text in bundle.files:
        before = _read(folder / path, path)
        same = before is not None and seals.same(before, text)
        found.append(
            FileChange(
                path=path,
                before=before,
                after=before if same else text,
                edited=before is not None and not same and not _ours(before, text, folder, path),
            )
        )
    for path, text in bundle.starters:
        before = _read(folder / path, path)
        found.append(FileChange(path=path, before=before, after=text if before is None else before))
    for path, mark in bundle.obsolete:
        before = _read(folder / path, path)
        if before is not None and mark in (line.strip() for line in before.splitlines()):
            found.append(
                FileChange(
                    path=path, before=before, after=None, edited=not _ours(before, before, folder, path)
                )
            )
    return tuple(found)


def below(bundles: Mapping[str, Bundle], root: Path) -> tuple[FileChange, ...]:
    """What bundles make of their folders below `root`; by paths from there. The empty folder is `root`."""
    return tuple(
        replace(one, path=f"{folder}/{one.path}" if folder else one.path)
        for folder, bundle in bundles.items()
        for one in changes(bundle, root / folder)
    )


def refuse_edited(found: Iterable[FileChange]) -> None:
    """EditedError, with what would be lost, where files that servegen owns hold what it did not write."""
    edited = [one for one in found if one.edited]
    if not edited:
        return
    names = ", ".join(one.path for one in edited)
    was = "was" if len(edited) == 1 else "were"
    msg = f"{names} {was} edited by hand, or not written by servegen"
    raise EditedError(
        msg,
        hint="move the change into servegen.yaml or the overlay; --adopt overwrites it",
        details=diff(edited),
    )


def check_committed(found: Iterable[FileChange]) -> None:
    """GitError where what was committed is not what was written, which hooks can do."""
    wrong = [one for one in found if one.action != "unchanged"]
    if wrong:
        names = ", ".join(one.path for one in wrong)
        msg = f"a hook of the repository changes what is released: {names}"
        raise GitError(msg, hint="let the hook leave out the model's folder", details=diff(wrong))


def write(found: Iterable[FileChange], folder: Path) -> None:
    """Make the files what they should be after the changes."""
    for one in found:
        path = folder / one.path
        if one.before == one.after:
            continue
        if one.after is None:
            path.unlink()
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(one.after.encode())


def diff(found: Iterable[FileChange]) -> str:
    """The changes as a unified diff; empty when there are none."""
    return "".join(
        "".join(
            difflib.unified_diff(
                _lines(one.before),
                _lines(one.after),
                f"a/{one.path}" if one.before is not None else "/dev/null",
                f"b/{one.path}" if one.after is not None else "/dev/null",
            )
        )
        for one in found
    )


def text_of(folder: Path, path: str) -> str:
    """A file below `folder`; EditedError where a link would lead to another one, maybe of this machine."""
    if (folder / path).resolve() != folder.resolve() / path:
        msg = f"{path} is a link, or behind one"
        raise EditedError(msg, hint="make it a file")
    return (folder / path).read_bytes().decode("utf-8", "replace")


def reported(found: Iterable[FileChange]) -> tuple[Change, ...]:
    """The changes as a delivery tells them."""
    return tuple(Change(kind="file", name=one.path, action=one.action) for one in found)


def _read(path: Path, name: str) -> str | None:
    if path.is_symlink() or (path.exists() and not path.is_file()):
        msg = f"{name} is {'a link' if path.is_symlink() else 'no file'} in the repository"
        raise GitError(msg, hint="make it a file, or choose another --path")
    return path.read_bytes().decode("utf-8", "replace") if path.exists() else None


def _ours(before: str, text: str, folder: Path, path: str) -> bool:
    """Whether a file holds what servegen wrote: sealed, listed, or by `render`, which writes no seals."""
    if seals.seal(before) is not None:
        return seals.OWNED in before and seals.intact(before)
    place, _, rest = path.partition("/")
    known = _read(folder / place / seals.SUMS, f"{place}/{seals.SUMS}") if rest else None
    if known is not None:
        return rest == seals.SUMS or seals.listed(before, rest, known)
    return before == text or seals.alike(before, text)


def _lines(text: str | None) -> list[str]:
    return [line if line.endswith("\n") else f"{line}\n" for line in (text or "").splitlines(keepends=True)]
