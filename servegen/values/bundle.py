"""Rendered files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """Files of one rendered deployment: relative path to text, in a fixed order."""

    files: tuple[tuple[str, str], ...]
    obsolete: tuple[tuple[str, str], ...] = ()
    """Paths that an earlier render of this deployment may have left, each with a line that marks it."""
    starters: tuple[tuple[str, str], ...] = ()
    """Files to begin with: they are the user's as soon as they exist, and are not written again."""

    @classmethod
    def of(
        cls,
        files: Mapping[str, str],
        *,
        obsolete: Mapping[str, str] | None = None,
        starters: Mapping[str, str] | None = None,
    ) -> Bundle:
        """The bundle of `files`, in the order given; raises ValueError for a path that leaves the folder."""
        obsolete, starters = obsolete or {}, starters or {}
        for path in (*files, *obsolete, *starters):
            parts = path.split("/")
            if path.startswith("/") or "\\" in path or any(part in ("", ".", "..") for part in parts):
                msg = f"{path!r} is not a path inside a bundle"
                raise ValueError(msg)
        return cls(
            files=tuple(files.items()), obsolete=tuple(obsolete.items()), starters=tuple(starters.items())
        )

    @property
    def paths(self) -> tuple[str, ...]:
        """The paths in the bundle's order."""
        return tuple(path for path, _ in self.files)

    def text(self, path: str) -> str:
        """The text of the file `path`; raises KeyError when the bundle has no such file."""
        return dict(self.files)[path]
