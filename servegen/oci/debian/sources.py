"""Where Debian packages come from: mirrors that were named, or the apt sources of this machine."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from servegen.errors import BaseImageError

_ENDINGS = ("", "-updates", "-security")
_ONE_LINE = re.compile(r"^deb\s+(?:\[[^\]]*\]\s+)?(\S+)\s+(\S+)", re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class Source:
    """One suite on one mirror."""

    uri: str
    suite: str
    """Such as `bookworm-security`."""
    optional: bool = False
    """Whether the mirror may lack the suite."""


def mirror_sources(uris: Iterable[str], suite: str) -> list[Source]:
    """The suite, its updates and its security updates on each mirror; a mirror need not have all three."""
    return [
        Source(uri=uri.rstrip("/"), suite=suite + ending, optional=True)
        for uri in uris
        for ending in _ENDINGS
    ]


def apt_sources(suite: str, etc_dir: Path) -> list[Source]:
    """What apt on this machine would use for `suite`; `etc_dir` is its configuration, such as /etc/apt."""
    files = [etc_dir / "sources.list", *sorted((etc_dir / "sources.list.d").glob("*"))]
    wanted = {suite + ending for ending in _ENDINGS}
    found: dict[Source, None] = {}
    for file in files:
        if file.suffix not in (".list", ".sources") or not file.is_file():
            continue
        try:
            text = file.read_text()
        except (OSError, UnicodeDecodeError) as exc:
            msg = f"{file} cannot be read"
            raise BaseImageError(msg, hint="--debian-mirror URL") from exc
        pairs = _deb822(text) if file.suffix == ".sources" else _ONE_LINE.findall(text)
        for uri, name in pairs:
            # Other schemes (cdrom, mirror, tor) are apt's own.
            if name in wanted and uri.startswith(("http://", "https://", "file:")):
                found[Source(uri=uri.rstrip("/"), suite=name)] = None
    return list(found)


def checked(sources: Sequence[Source]) -> Sequence[Source]:
    """The sources when there are any; raises BaseImageError otherwise."""
    if not sources:
        msg = "no Debian mirror"
        raise BaseImageError(msg, hint="--debian-mirror URL, SERVEGEN_DEBIAN_MIRROR, or --base REF")
    return sources


def _deb822(text: str) -> list[tuple[str, str]]:
    out: list[tuple[str, str]] = []
    for paragraph in re.split(r"\n\s*\n", text):
        lines = "\n".join(line for line in paragraph.split("\n") if not line.startswith("#"))
        # A line that begins with white space goes on the field above it.
        joined = re.sub(r"\n[ \t]+", " ", lines)
        fields = {
            name.lower(): value
            for name, value in re.findall(r"^([A-Za-z-]+):[ \t]*(.*)$", joined, re.MULTILINE)
        }
        if "deb" in fields.get("types", "").split() and fields.get("enabled", "yes").strip().lower() != "no":
            out += [
                (uri, name)
                for uri in fields.get("uris", "").split()
                for name in fields.get("suites", "").split()
            ]
    return out
