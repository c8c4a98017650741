"""Requirement files of a model folder: lines, constraints and indexes, read as pip reads them."""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from packaging.utils import InvalidWheelFilename, parse_wheel_filename

from servegen.errors import ModelError
from servegen.values.model import ModelIndexes, TreeFile

_ONE_LIST = "log the model with all requirements in one list"
_OPTION = re.compile(r"(?P<name>--[a-z-]+(?=[ =])|-[a-z])[ =]*(?P<value>.+)")
_SHORT = {"-r": "--requirement", "-c": "--constraint", "-i": "--index-url", "-f": "--find-links"}
_ALWAYS = ("--prefer-binary", "--only-binary", "--require-hashes")
"""Options that ask for what servegen does anyway."""
_WHEEL = re.compile(
    r"(?:(?P<name>[A-Za-z0-9._-]+)\s*(?P<extras>\[[^\]]*\])?\s*@\s*)?(?:file:)?(?P<path>[^;#\[\]@]+?\.whl)"
    r"(?P<more>\[[^\]]*\])?(?:#\S*)?\s*(?P<marker>;.*)?"
)


@dataclass(kw_only=True)
class Recorded:
    """What the requirement files of a model say; filled while they are read."""

    lines: list[str] = field(default_factory=list)
    """Requirements; a wheel of the model is `name @ path#sha256=…`. What cannot be used stays as it is."""
    constraints: list[str] = field(default_factory=list)
    index_url: str | None = None
    extra_index_urls: list[str] = field(default_factory=list)
    find_links: list[str] = field(default_factory=list)

    @property
    def indexes(self) -> ModelIndexes:
        """The indexes as a value."""
        return ModelIndexes(
            index_url=self.index_url,
            extra_index_urls=tuple(dict.fromkeys(self.extra_index_urls)),
            find_links=tuple(dict.fromkeys(self.find_links)),
        )


@dataclass(frozen=True, kw_only=True)
class Reader:
    """Reads the requirement files of the model in `root`, and none outside of it."""

    root: Path
    files: tuple[TreeFile, ...]
    uri: str

    def file(self, path: Path) -> Recorded:
        """The file with all that it includes; ModelError where one is not in the model or includes itself."""
        found = Recorded()
        self._read(path, found, found.lines, ())
        return found

    def texts(self, lines: Iterable[str], name: str) -> Recorded:
        """Lines that stand in the file `name` of another format."""
        found = Recorded()
        self._take(lines, self.root / name, found, found.lines, ())
        return found

    def _read(self, path: Path, found: Recorded, into: list[str], above: tuple[Path, ...]) -> None:
        try:
            text = path.read_text(encoding="utf-8-sig")
        except UnicodeDecodeError as exc:
            msg = f"{path.name} of model {self.uri} is not UTF-8"
            raise ModelError(
                msg, hint="log the model again, or copy it again from where it was saved"
            ) from exc
        self._take(text.replace("\\\n", " ").splitlines(), path, found, into, above)

    def _take(
        self, lines: Iterable[str], path: Path, found: Recorded, into: list[str], above: tuple[Path, ...]
    ) -> None:
        for raw in lines:
            line = re.sub(r"(^|\s)#.*$", "", raw).strip()
            option = _OPTION.fullmatch(line)
            name = _SHORT.get(option["name"], option["name"]) if option else line
            value = option["value"].strip().strip("\"'") if option else ""
            if name == "--requirement":
                other = self._included(path, value, above)
                self._read(other, found, into, (*above, path.resolve()))
            elif name == "--constraint":
                other = self._included(path, value, above)
                self._read(other, found, found.constraints, (*above, path.resolve()))
            elif name == "--index-url":
                found.index_url = value
            elif name == "--extra-index-url":
                found.extra_index_urls.append(value)
            elif name == "--find-links":
                found.find_links.append(self._links(path, value))
            elif line and name not in _ALWAYS:
                into.append(self._wheel(line) or line)

    def _included(self, path: Path, value: str, above: tuple[Path, ...]) -> Path:
        other = (path.parent / value).resolve()
        if not other.is_relative_to(self.root.resolve()) or not other.is_file():
            msg = f"{path.name} of model {self.uri} includes {value!r}, which is not in the model folder"
            raise ModelError(msg, hint=_ONE_LIST)
        if other in (*above, path.resolve()):
            msg = f"{path.name} of model {self.uri} includes {value!r}, which includes it in turn"
            raise ModelError(msg, hint=_ONE_LIST)
        return other

    def _links(self, path: Path, value: str) -> str:
        if re.match(r"https?://", value):
            return value
        folder = (self.root / value.removeprefix("file:")).resolve()
        if not folder.is_relative_to(self.root.resolve()) or not folder.is_dir():
            msg = f"{path.name} of model {self.uri} takes wheels from {value!r}, no folder of the model"
            raise ModelError(msg, hint="log the wheels with the model")
        return folder.relative_to(self.root.resolve()).as_posix()

    def _wheel(self, line: str) -> str | None:
        """The line for a wheel that lies in the model, None for every other line."""
        match = _WHEEL.fullmatch(line)
        if not match:
            return None
        path = PurePosixPath(urllib.parse.unquote(match["path"].strip()))
        file = next((f for f in self.files if f.path == str(path)), None)
        if file is None:
            return None
        try:
            name = parse_wheel_filename(path.name)[0]
        except InvalidWheelFilename:
            return None
        extras, marker = match["extras"] or match["more"] or "", match["marker"]
        reference = f"{match['name'] or name}{extras} @ {urllib.parse.quote(str(path))}#sha256={file.sha256}"
        return f"{reference} {marker}" if marker else reference
