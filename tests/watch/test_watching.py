"""The watcher against a registry and a place that are plain dictionaries here."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest

from servegen.config import Config, environment
from servegen.errors import BuildError, ModelStoreError
from servegen.job import Job
from servegen.sources.aliases import Meaning
from servegen.sources.uri import RegistryURI
from servegen.watch.polling import (
    FIRST_RETRY,
    LONGEST_RETRY,
    Known,
    Watched,
    is_due,
    pause,
    retry_seconds,
    wake,
)
from servegen.watch.running import Runner
from servegen.watch.watching import Ended, Watcher
from servegen.watch.webhooks import Event
from tests.recorder import Recorder

STORE = "http://mlflow.example.com"
CHAMPION = RegistryURI(name="iris", alias="champion")


def watched(name="iris", environment_name=None, uri=CHAMPION, store=STORE) -> Watched:
    job = Job(
        config=Config(model=f"models:/{uri.name}@{uri.alias}"),
        environment=environment({"HOME": "/"}),
        lock_file=None,
    )
    return Watched(
        name=name, environment=environment_name, uri=uri, tracking_uri=store, registry_uri=None, job=job
    )


@dataclass
class World:
    """A registry, what is deployed, and a watcher between them."""

    models: list[Watched]
    aliases: dict[str, str | None] = field(default_factory=lambda: {"iris": "1"})
    deployed: dict[str, str] = field(default_factory=dict)
    silent: set[str] = field(default_factory=set)
    broken: set[str] = field(default_factory=set)
    runs: list[tuple[str, str]] = field(default_factory=list)
    ended: list[Ended] = field(default_factory=list)
    now: float = 0.0
    during: Callable[[], None] = lambda: None

    def __post_init__(self) -> None:
        self.progress = Recorder()
        self.restart()

    def restart(self) -> None:
        self.watcher = Watcher(
            find=lambda: self.models,
            ask=self.ask,
            act=self.act,
            told=self.ended.append,
            progress=self.progress,
            workers=4,
            clock=lambda: self.now,
        )

    def ask(self, uris, tracking_uri, registry_uri):
        if tracking_uri in self.silent:
            raise ModelStoreError(f"{tracking_uri} does not answer", hint="is it up?")
        return {
            uri: Meaning(uri=uri, version=self.aliases.get(uri.name), why="the alias is not set")
            for uri in uris
        }

    def act(self, one, meaning, progress):
        if self.deployed.get(one.label) == meaning.pin:
            return Ended(watched=one, version=meaning.version, result="unchanged", pin=meaning.pin)
        self.runs.append((one.label, meaning.version))
        self.during()
        if meaning.version in self.broken:
            raise BuildError(f"version {meaning.version} cannot be packaged", hint="log it again")
        self.deployed[one.label] = meaning.pin
        return Ended(watched=one, version=meaning.version, result="deployed", pin=meaning.pin)

    def look(self) -> None:
        self.watcher.look()
        assert self.watcher._runner.wait(10)


@pytest.fixture
def world() -> World:
    return World(models=[watched()])


def test_what_moved_is_deployed_once(world):
    for _ in range(3):
        world.look()
    world.aliases["iris"] = "2"
    for _ in range(3):
        world.look()
    world.aliases["iris"] = "1"
    world.look()
    assert world.runs == [("iris", "1"), ("iris", "2"), ("iris", "1")]


def test_a_restart_deploys_what_moved_meanwhile_and_nothing_else(world):
    world.look()
    world.restart()
    world.look()
    assert world.runs == [("iris", "1")]
    assert [one.result for one in world.ended] == ["deployed", "unchanged"]
    world.aliases["iris"] = "2"
    world.restart()
    world.look()
    assert world.runs[1:] == [("iris", "2")]


def test_what_people_brought_back_by_hand_is_left_until_the_alias_moves(world):
    world.aliases["iris"] = "2"
    world.look()
    world.deployed["iris"] = "models:/iris/1"
    world.look()
    assert world.runs == [("iris", "2")]


def test_an_alias_that_is_gone_changes_nothing_and_is_told_once(world):
    world.look()
    world.aliases["iris"] = None
    for _ in range(3):
        world.look()
    assert world.runs == [("iris", "1")]
    (warning,) = world.progress.warnings
    assert "the alias is not set; nothing is changed" in warning


def test_a_failure_is_tried_again_later_and_a_new_version_at_once(world):
    world.broken = {"1", "2"}
    world.look()
    world.look()
    assert len(world.runs) == 1
    world.now += FIRST_RETRY
    world.look()
    assert world.runs == [("iris", "1")] * 2
    world.now += FIRST_RETRY
    world.look()
    assert len(world.runs) == 2
    world.aliases["iris"] = "2"
    world.look()
    world.broken = set()
    world.now += FIRST_RETRY
    world.look()
    assert world.runs[2:] == [("iris", "2")] * 2
    assert [one.result for one in world.ended] == ["failed"] * 3 + ["deployed"]


def test_a_mistake_of_ours_is_a_failure_of_one_model_only(world):
    def surprise() -> None:
        world.during = lambda: None
        raise ZeroDivisionError("no version is zero")

    world.during = surprise
    world.look()
    assert str(world.ended[0].error) == "no version is zero"
    world.now += FIRST_RETRY
    world.look()
    assert world.deployed == {"iris": "models:/iris/1"}


def test_what_moves_during_a_run_is_dealt_with_after_it_and_only_the_newest():
    world = World(models=[watched()])
    going, go = threading.Event(), threading.Event()

    def slow() -> None:
        going.set()
        assert go.wait(10)

    world.during = slow
    world.watcher.look()
    assert going.wait(10)
    for version in ("2", "3", "4"):
        world.aliases["iris"] = version
        world.watcher.look()
    assert world.runs == [("iris", "1")]
    go.set()
    world.look()
    assert world.runs == [("iris", "1"), ("iris", "4")]
    assert world.deployed == {"iris": "models:/iris/4"}


def test_environments_of_a_model_take_turns_and_models_do_not():
    names = [("iris", "staging"), ("iris", "production"), ("wine", None)]
    world = World(models=[watched(name, place) for name, place in names])
    together, most, lock = [0, 0], [0], threading.Lock()
    both = threading.Barrier(2)

    def counted() -> None:
        with lock:
            together[0] += 1
            most[0] = max(most[0], together[0])
        # Passes only with two at a time: one of either model.
        if len(world.runs) <= 2:
            both.wait(10)
        with lock:
            together[0] -= 1

    world.during = counted
    world.look()
    assert sorted(one for one, _ in world.runs) == ["iris (production)", "iris (staging)", "wine"]
    assert most == [2]


def test_a_silent_registry_keeps_no_other_waiting_and_fails_a_single_look():
    other = replace(watched("wine", uri=RegistryURI(name="wine", alias="live")), tracking_uri="http://other")
    world = World(models=[watched(), other], aliases={"iris": "1", "wine": "5"}, silent={STORE})
    with pytest.raises(ModelStoreError):
        world.watcher.once()
    assert world.runs == [("wine", "5")]
    # Who catches the error tells it.
    assert world.progress.warnings == []


def test_an_event_has_its_model_looked_at_and_no_other(world):
    world.models.append(watched("wine", uri=RegistryURI(name="wine", alias="live")))
    world.aliases["wine"] = "1"
    world.watcher.tell(Event(model="iris", text="alias champion set to 1"))
    world.watcher.tell(Event(model="iris", text="alias champion\n\x1b[31m set to 1"))
    assert world.progress.steps[-1] == "iris: alias champion??[31m set to 1"
    world.watcher.look(world.watcher._gather(5))
    world.watcher._runner.wait()
    assert world.runs == [("iris", "1")]


def test_stopping_drops_what_waits_and_lets_end_what_runs():
    runner, going, go, done = Runner(1), threading.Event(), threading.Event(), []

    def slow() -> None:
        going.set()
        assert go.wait(10)
        done.append("slow")

    runner.submit("a", "", slow)
    assert going.wait(10)
    runner.submit("b", "", lambda: done.append("b"))
    assert not runner.stop(0.01)
    go.set()
    assert runner.stop(10)
    runner.submit("c", "", lambda: done.append("c"))
    assert done == ["slow"]


def test_a_reader_of_the_results_who_leaves_ends_it():
    world = World(models=[watched()])

    def gone(ended: Ended) -> None:
        raise BrokenPipeError

    world.watcher._told = gone
    with pytest.raises(BrokenPipeError):
        world.watcher.once()


def test_pauses_grow_to_a_limit_and_are_spread():
    assert [retry_seconds(n) for n in (1, 2, 3, 99)] == [30, 60, 120, LONGEST_RETRY]
    assert [pause(60, n, lambda: 0.5) for n in (0, 1, 2, 99)] == [60, 120, 240, 600]
    assert pause(7200, 9, lambda: 0.5) == 7200
    assert (pause(60, 0, lambda: 0.0), pause(60, 0, lambda: 1.0)) == (54, 66)


def test_the_next_look_is_for_the_first_retry_that_is_still_to_come():
    assert wake([None, 50, 70], asked=10, until=60) == 50
    assert wake([70], asked=10, until=60) == 60
    # Or a retry that could not be made would be made without a pause.
    assert wake([5, 10], asked=10, until=60) == 60


def test_a_version_is_due_when_it_is_new_or_its_time_has_come():
    two = Meaning(uri=CHAMPION, version="2")
    assert is_due(two, Known(), 0)
    assert is_due(two, Known(version="1"), 0)
    assert not is_due(two, Known(version="2"), 0)
    failed = Known(version="1").after("2", failed=True, now=100)
    assert (is_due(two, failed, 129), is_due(two, failed, 130)) == (False, True)
    assert not is_due(Meaning(uri=CHAMPION, version=None), Known(), 0)
