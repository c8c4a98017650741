"""What a watcher follows, and when it has something to do; nothing here asks or does anything."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from servegen.job import Job
from servegen.sources.aliases import Meaning
from servegen.sources.uri import RegistryURI

FIRST_RETRY = 30.0
"""Seconds from the first failure to the next try; doubled with each further one."""
LONGEST_RETRY = 3600.0
_SPREAD = 0.1


@dataclass(frozen=True, kw_only=True)
class Watched:
    """One model in one environment."""

    name: str
    """The folder of its servegen.yaml."""
    environment: str | None
    uri: RegistryURI
    tracking_uri: str
    registry_uri: str | None
    job: Job

    @property
    def key(self) -> tuple[str, str | None]:
        """What tells it from the others."""
        return self.name, self.environment

    @property
    def label(self) -> str:
        """Its name for people."""
        return f"{self.name} ({self.environment})" if self.environment else self.name

    @property
    def store(self) -> tuple[str, str | None]:
        """The registry that is asked about it."""
        return self.tracking_uri, self.registry_uri


@dataclass(frozen=True, kw_only=True)
class Known:
    """What a watcher remembers of one model: only what saves work, as it begins with nothing."""

    version: str | None = None
    """The version that was dealt with last, with whatever result."""
    failures: int = 0
    """In a row, of that version."""
    retry_at: float | None = None
    """When it is tried again; None where it succeeded."""

    def after(self, version: str | None, *, failed: bool, now: float) -> Known:
        """What is known when `version` was tried at `now`."""
        failures = (self.failures if version == self.version else 0) + 1 if failed else 0
        return Known(
            version=version, failures=failures, retry_at=now + retry_seconds(failures) if failed else None
        )


def is_due(meaning: Meaning, known: Known, now: float) -> bool:
    """Whether to look at what is deployed: the version is a new one, or it is time to try it again."""
    if meaning.version is None:
        return False
    if meaning.version != known.version:
        return True
    return known.retry_at is not None and now >= known.retry_at


def retry_seconds(failures: int) -> float:
    """How long to wait after that many failures in a row."""
    return min(FIRST_RETRY * 2.0 ** min(failures - 1, 20), LONGEST_RETRY)


def wake(retries: Iterable[float | None], *, asked: float, until: float) -> float:
    """When to look again: at `until`, or for the first retry that was not due when was `asked` last.

    One that was due then and did not happen, as the registry was silent, waits for the next poll.
    """
    return min([until, *(one for one in retries if one is not None and one > asked)])


def pause(interval: float, silences: int, chance: Callable[[], float] = random.random) -> float:
    """Seconds until the registry is asked again, after it did not answer `silences` times in a row.

    Spread by a tenth, so that many watchers do not ask at the same moment.
    """
    longest = max(interval, LONGEST_RETRY / 6)
    return min(interval * 2.0 ** min(silences, 20), longest) * (1 + _SPREAD * (2 * chance() - 1))
