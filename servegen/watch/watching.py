"""The loop of a watcher: ask what names mean, let run what moved, wait for the next event or poll."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import groupby

from servegen.errors import ServegenError
from servegen.progress import Labelled, Progress
from servegen.sources.aliases import Meaning
from servegen.sources.uri import RegistryURI
from servegen.watch.counting import Counters
from servegen.watch.polling import FIRST_RETRY, Known, Watched, is_due, pause, wake
from servegen.watch.running import Runner
from servegen.watch.webhooks import Event

Ask = Callable[[Iterable[RegistryURI], str, str | None], Mapping[RegistryURI, Meaning]]
"""What names mean now, in the registry of a tracking and a registry URI."""
_GATHER_SECONDS = 0.2
"""Events that come together are answered together: registering a model makes several."""
_PATIENCE_SECONDS = 300.0
"""Between two turns of the loop: MLflow gives up on a silent registry in half of it."""
_STOP_SECONDS = 20.0
"""What runs may take when the watcher is told to end; Kubernetes kills after 30 s."""


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How it went with one model whose name means another version now."""

    watched: Watched
    version: str
    """What was wanted."""
    result: str
    """`deployed`, `unchanged` where it was deployed already, `held` after a rollback, or `failed`."""
    pin: str | None = None
    """The version that is deployed now: the newest one, should the name have moved on meanwhile."""
    error: ServegenError | None = None
    seconds: float = 0


class Watcher:
    """Keeps what is deployed as the registry says.

    It remembers nothing that matters: what is deployed is read where it is, so a restart loses nothing.
    """

    def __init__(
        self,
        *,
        find: Callable[[], Collection[Watched]],
        ask: Ask,
        act: Callable[[Watched, Meaning, Progress], Ended],
        told: Callable[[Ended], None],
        progress: Progress,
        workers: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.counters = Counters()
        self._find, self._ask, self._act, self._told = find, ask, act, told
        self._progress, self._clock = progress, clock
        self._runner = Runner(workers)
        self._known: dict[tuple[str, str | None], Known] = {}
        self._silent: dict[tuple[str, str | None], int] = {}
        self._absent: set[tuple[str, str | None]] = set()
        self._events = queue.SimpleQueue[Event]()
        self._lock = threading.Lock()
        self._beat = clock()

    def tell(self, event: Event) -> None:
        """Look at a model soon; for any thread."""
        # Names are anybody's who may register a model, and the log is for terminals.
        text = f"{event.model}: {event.text}"
        self._progress.step("".join(one if one.isprintable() else "?" for one in text))
        self._events.put(event)

    def alive(self) -> bool:
        """Whether the loop goes round."""
        return self._clock() - self._beat < _PATIENCE_SECONDS

    def once(self) -> None:
        """Look at all models once and wait for what that starts; ServegenError where a registry is silent."""
        silences = self.look()
        self._runner.wait()
        for silence in silences[1:]:
            self._warn(silence)
        if silences:
            raise silences[0]

    def run(self, interval: float) -> None:
        """Go on until the process is told to end, which KeyboardInterrupt says."""
        try:
            while True:
                began = self._clock()
                self._look_and_warn()
                self._wait(began, began + pause(interval, max(self._silent.values(), default=0)))
        except KeyboardInterrupt:
            self._progress.step("ending: what runs may finish, what waits is for the next start")
            if not self._runner.stop(_STOP_SECONDS):
                self._progress.warn(f"what runs did not end in {_STOP_SECONDS:.0f} s and is cut off")

    def _look_and_warn(self, models: Collection[str] | None = None) -> bool:
        """Whether all registries answered."""
        silences = self.look(models)
        for silence in silences:
            self._warn(silence)
        return not silences

    def _warn(self, silence: ServegenError) -> None:
        self._progress.warn(f"{silence} ({silence.hint})")

    def look(self, models: Collection[str] | None = None) -> list[ServegenError]:
        """Ask about all that is watched, or about `models`, and let run what is due.

        Returns the errors of registries that did not answer; the others' models are looked at all the same.
        """
        found = sorted(self._find(), key=lambda one: (one.tracking_uri, one.registry_uri or ""))
        self.counters.models.set(len(found))
        stores = {one.store for one in found}
        self._silent = {store: times for store, times in self._silent.items() if store in stores}
        wanted = [one for one in found if models is None or one.uri.name in models]
        silences: list[ServegenError] = []
        for store, group in groupby(wanted, key=lambda one: one.store):
            watched = list(group)
            try:
                meanings = self._ask([one.uri for one in watched], *store)
            except ServegenError as exc:
                silences.append(exc)
                self._silent[store] = self._silent.get(store, 0) + 1
                self.counters.polls.labels("no").inc()
                continue
            self._silent.pop(store, None)
            self.counters.polls.labels("yes").inc()
            for one in watched:
                self._consider(one, meanings[one.uri])
        return silences

    def _consider(self, watched: Watched, meaning: Meaning) -> None:
        key = watched.key
        if meaning.version is None:
            if key not in self._absent:
                self._progress.warn(
                    f"{watched.label}: {watched.job.config.model}: {meaning.why}; nothing is changed"
                )
            self._absent.add(key)
            return
        self._absent.discard(key)
        known = self._known.get(key, Known())
        if not is_due(meaning, known, self._clock()):
            return
        # Until it ended, the next polls leave it alone; a version that comes meanwhile is due again.
        with self._lock:
            self._known[key] = replace(known, version=meaning.version, retry_at=None)
        self._runner.submit(
            watched.name, watched.environment or "", lambda: self._deal(watched, meaning, known)
        )

    def _deal(self, watched: Watched, meaning: Meaning, known: Known) -> None:
        assert meaning.version is not None  # noqa: S101 (what is due means one)
        began = time.monotonic()
        try:
            ended = self._act(watched, meaning, Labelled(watched.label, self._progress))
        except ServegenError as exc:
            ended = Ended(watched=watched, version=meaning.version, result="failed", error=exc)
        except Exception as exc:  # noqa: BLE001 (one model must not end the watch over all others)
            error = ServegenError(str(exc) or type(exc).__name__, hint="this may be a bug; please report it")
            ended = Ended(watched=watched, version=meaning.version, result="failed", error=error)
        ended = replace(ended, seconds=round(time.monotonic() - began, 1))
        after = known.after(meaning.version, failed=ended.error is not None, now=self._clock())
        with self._lock:
            # Else a newer one waits, and is dealt with next.
            if self._known[watched.key].version == meaning.version:
                self._known[watched.key] = after
        self.counters.runs.labels(ended.result).inc()
        self._told(ended)

    def _wait(self, asked: float, until: float) -> None:
        """Until it is time for the next look at all, looking at what events ask for meanwhile."""
        while True:
            with self._lock:
                retries = [one.retry_at for one in self._known.values()]
            left = wake(retries, asked=asked, until=until) - self._clock()
            if left <= 0:
                return
            names = self._gather(left)
            if names and not self._look_and_warn(names):
                # Else what happened would be forgotten until the next poll.
                until = min(until, self._clock() + FIRST_RETRY)

    def _gather(self, seconds: float) -> set[str]:
        names: set[str] = set()
        self._runner.check()
        self._beat = self._clock()
        try:
            # In short turns, as Python sees SIGTERM only between them.
            names.add(self._events.get(timeout=min(seconds, 1)).model)
            while True:
                names.add(self._events.get(timeout=_GATHER_SECONDS).model)
        except queue.Empty:
            return names
