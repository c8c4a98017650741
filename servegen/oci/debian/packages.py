"""Which packages a base consists of, and what they depend on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from servegen.errors import BaseImageError
from servegen.oci.debian.index import Index, Package
from servegen.oci.debian.version import fulfils, parse_relation

_COMMON = """base-files netbase tzdata ca-certificates media-types libc6 libgcc-s1 libstdc++6 libgomp1 zlib1g
libbz2-1.0 liblzma5 libsqlite3-0 libuuid1 libncursesw6 libtinfo6 readline-common libcrypt1 libnsl2 libexpat1
libffi8 libtirpc-common libgssapi-krb5-2 libkrb5-3 libk5crypto3 libkrb5support0 libcom-err2 libkeyutils1"""


@dataclass(frozen=True, kw_only=True)
class Suite:
    """A Debian release with the one Python it has."""

    name: str
    number: int
    python: str
    libraries: tuple[str, ...]
    """Packages whose names are this release's own."""

    @property
    def packages(self) -> tuple[str, ...]:
        """What every base of this suite holds."""
        python = f"libpython{self.python}-minimal libpython{self.python}-stdlib python{self.python}-minimal"
        return (*_COMMON.split(), *self.libraries, *python.split())


SUITES = (
    Suite(
        name="bookworm",
        number=12,
        python="3.11",
        libraries=("gcc-12-base", "libssl3", "libdb5.3", "libreadline8", "libtirpc3"),
    ),
    Suite(
        name="trixie",
        number=13,
        python="3.13",
        libraries=(
            "gcc-14-base",
            "libssl3t64",
            "libdb5.3t64",
            "libreadline8t64",
            "libtirpc3t64",
            "libzstd1",
            "openssl-provider-legacy",
        ),
    ),
)

# Named by a Depends, but only for maintainer scripts, which never run here.
_NOT_NEEDED = frozenset(
    {
        "debconf",
        "debconf-2.0",
        "openssl",
        "awk",
        "mawk",
        "libc-bin",
        "dpkg",
        "init-system-helpers",
        "cdebconf",
    }
)


def suite_for(python: str) -> Suite:
    """The Debian release with this Python (major and minor version)."""
    for suite in SUITES:
        if suite.python == python:
            return suite
    have = " and ".join(suite.python for suite in SUITES)
    msg = f"the Debian base has Python {have}, the model wants {python}"
    raise BaseImageError(
        msg, hint=f"--base REF with Python {python} (on glibc), or log the model with another Python"
    )


def closure(names: Iterable[str], index: Index, suite: Suite) -> list[Package]:
    """The named packages and all that they depend on, sorted by name."""
    chosen: dict[str, Package] = {}
    provided: set[str] = set()
    waiting: list[Package] = []

    def choose(package: Package) -> None:
        if package.name not in chosen:
            chosen[package.name] = package
            provided.update(package.provides)
            waiting.append(package)

    for name in names:
        package = index.find(name)
        if package is None:
            msg = f"{name} is not in Debian {suite.number} ({suite.name})"
            raise BaseImageError(msg, hint="correct --apt, or use another --debian-mirror")
        choose(package)
    # Only after all named ones: an alternative must not be chosen when a later name meets the clause.
    for package in waiting:
        for clause in package.depends:
            relations = [parse_relation(text) for text in clause.split("|")]
            if any(_met(relation, chosen, provided) for relation in relations):
                continue
            if any(name in _NOT_NEEDED for name, _, _ in relations):
                continue
            choose(_first(relations, index, package, clause))
    return sorted(chosen.values(), key=lambda package: package.name)


def _met(
    relation: tuple[str, str | None, str | None], chosen: dict[str, Package], provided: set[str]
) -> bool:
    name, operator, version = relation
    if name in chosen:
        return fulfils(chosen[name].version, operator, version)
    return name in provided


def _first(
    relations: list[tuple[str, str | None, str | None]], index: Index, package: Package, clause: str
) -> Package:
    for name, operator, version in relations:
        found = index.find(name)
        if found and fulfils(found.version, operator, version):
            return found
    for name, _, _ in relations:
        provider = index.provider(name)
        if provider:
            return provider
    msg = f"{package.name} {package.version} needs {clause}, which no mirror has"
    raise BaseImageError(msg, hint="the mirror may be changing: try again in some minutes")
