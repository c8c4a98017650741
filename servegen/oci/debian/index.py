"""The package index of a suite: a signed release file, and from its hashes every package."""

from __future__ import annotations

import email.utils
import hashlib
import lzma
import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib.resources import files
from pathlib import Path

from servegen.errors import BaseImageError
from servegen.oci.debian.fetch import Mirror
from servegen.oci.debian.sources import Source
from servegen.oci.debian.version import order
from servegen.progress import Progress
from servegen.scratch import scratch_folder

_PACKAGE = re.compile(rb"^Package: (\S+)$", re.MULTILINE)
_FIELD = re.compile(r"^([A-Za-z0-9-]+): (.*)$", re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class Package:
    """One package as the index tells."""

    name: str
    version: str
    sha256: str
    size: int
    path: str
    """Of the archive, below the mirror."""
    depends: tuple[str, ...]
    """Clauses of Pre-Depends and Depends."""
    provides: tuple[str, ...]
    source: Source


def shipped_keyring() -> bytes:
    """The keys that Debian signs its releases with."""
    return (files("servegen.oci.debian") / "data" / "debian-archive-keyring.gpg").read_bytes()


def verified(signed: bytes, keyring: bytes, suite: str) -> str:
    """The text inside a clear-signed InRelease; BaseImageError without a good signature by a known key.

    Only what the signature covers comes back: lines around the signed part are dropped.
    """
    # Loading it takes longer than most commands that never need it.
    import pysequoia

    keys = pysequoia.Cert.split_bytes(keyring)
    try:
        # Signatures by keys that are not ours are passed over; without a single good one this raises.
        result = pysequoia.verify(bytes=signed, store=lambda _: keys)
        text, good = result.bytes, len(result.valid_sigs)
    except Exception as exc:  # the library promises no narrower class
        raise _unsigned(suite) from exc
    if not good or text is None:
        raise _unsigned(suite)
    return text.decode()


def _unsigned(suite: str) -> BaseImageError:
    return BaseImageError(f"{suite}: no good signature", hint="update the keyring (--debian-keyring)")


class Index:
    """The packages of several suites; where more than one has a package, its newest version counts."""

    def __init__(self, parts: Sequence[tuple[Source, bytes]]) -> None:
        self._parts = [
            (source, text, {match[1]: match.start() for match in _PACKAGE.finditer(text)})
            for source, text in parts
        ]

    def find(self, name: str) -> Package | None:
        """The newest version of a package, None when no suite has it."""
        found = [
            _package(_paragraph(text, starts[name.encode()]), source)
            for source, text, starts in self._parts
            if name.encode() in starts
        ]
        return max(found, key=lambda package: order(package.version)) if found else None

    def provider(self, virtual: str) -> Package | None:
        """The first package, by name, that provides a virtual one."""
        pattern = re.compile(
            rb"^Provides:.*(?<![\w.+-])" + re.escape(virtual.encode()) + rb"(?![\w.+-])", re.MULTILINE
        )
        names = set()
        for _, text, _ in self._parts:
            for match in pattern.finditer(text):
                head = text.rfind(b"\nPackage: ", 0, match.start())
                start = head + 1 if head >= 0 else 0
                names.add(_PACKAGE.match(text, start)[1].decode())  # type: ignore[index] # the search found one
        return self.find(min(names)) if names else None


def _paragraph(text: bytes, start: int) -> str:
    end = text.find(b"\n\n", start)
    return text[start : end if end >= 0 else len(text)].decode()


def _package(paragraph: str, source: Source) -> Package:
    fields = dict(_FIELD.findall(paragraph))
    clauses = [*fields.get("Pre-Depends", "").split(","), *fields.get("Depends", "").split(",")]
    provided = fields.get("Provides", "").split(",")
    try:
        return Package(
            name=fields["Package"],
            version=fields["Version"],
            sha256=fields["SHA256"],
            size=int(fields["Size"]),
            path=fields["Filename"],
            depends=tuple(clause.strip() for clause in clauses if clause.strip()),
            provides=tuple(re.sub(r"[\s(:].*", "", name.strip()) for name in provided if name.strip()),
            source=source,
        )
    except (KeyError, ValueError) as exc:
        msg = f"the index of {source.suite} lacks {exc} of a package"
        raise BaseImageError(msg, hint="try another --debian-mirror") from exc


def load(
    sources: Sequence[Source],
    architecture: str,
    *,
    keyring: bytes,
    mirror: Mirror,
    cache: Path | None,
    progress: Progress,
) -> Index:
    """The verified index of all suites; a package list in `cache` is used when the release names its hash."""

    def one(source: Source) -> tuple[Source, bytes] | None:
        return _suite(source, architecture, keyring=keyring, get=mirror.get, cache=cache, progress=progress)

    with ThreadPoolExecutor(len(sources)) as pool:
        parts = [part for part in pool.map(one, sources) if part]
    if not parts:
        msg = f"no mirror has {sources[0].suite} for {architecture}"
        raise BaseImageError(msg, hint="--debian-mirror takes the URL above dists/ and pool/")
    return Index(parts)


def _suite(
    source: Source,
    architecture: str,
    *,
    keyring: bytes,
    get: Callable[[str], bytes | None],
    cache: Path | None,
    progress: Progress,
) -> tuple[Source, bytes] | None:
    base = f"{source.uri}/dists/{source.suite}"
    signed = get(f"{base}/InRelease")
    if signed is None:
        if source.optional:
            return None
        msg = f"the mirror has no {source.suite}"
        raise BaseImageError(msg, hint="correct the apt sources, or --debian-mirror URL")
    release = verified(signed, keyring, source.suite)
    fields = dict(_FIELD.findall(release))
    if source.suite not in (fields.get("Codename"), fields.get("Suite")):
        # Validly signed, but for another suite: an older one, with holes that are known.
        msg = f"the mirror sent {fields.get('Codename')} as {source.suite}"
        raise BaseImageError(msg, hint="try another --debian-mirror")
    _warn_when_old(source, fields.get("Valid-Until"), progress)
    name = f"main/binary-{architecture}/Packages.xz"
    match = re.search(rf"^ ([0-9a-f]{{64}})\s+\d+ {re.escape(name)}$", release, re.MULTILINE)
    if not match:
        return None
    wanted = match[1]
    kept = cache / f"{wanted}.Packages.xz" if cache else None
    packed = kept.read_bytes() if kept and kept.is_file() else None
    if packed is None or hashlib.sha256(packed).hexdigest() != wanted:
        # By its hash it can be had even while the mirror is changing.
        packed = get(f"{base}/main/binary-{architecture}/by-hash/SHA256/{wanted}") or get(f"{base}/{name}")
        if packed is None or hashlib.sha256(packed).hexdigest() != wanted:
            msg = f"{source.suite}: Packages.xz does not match InRelease"
            raise BaseImageError(msg, hint="try again in some minutes")
        if kept:
            keep(kept, packed)
    return source, lzma.decompress(packed)


def keep(path: Path, data: bytes) -> None:
    """Writes a cache file at once; two processes may write the same one."""
    with scratch_folder(path.parent, "new-") as folder:
        (folder / "data").write_bytes(data)
        (folder / "data").replace(path)


def _warn_when_old(source: Source, until: str | None, progress: Progress) -> None:
    if not until:
        return
    end = email.utils.parsedate_to_datetime(until)
    if end.tzinfo is None:
        end = end.replace(tzinfo=timezone.utc)
    if end < datetime.now(timezone.utc):
        # A frozen mirror is a choice one may make, a mirror that hides updates is not: say it, go on.
        progress.warn(f"{source.suite} of the mirror was valid until {until}; it may lack security updates")
