"""Two hundred faults and more: each ends well or in an error, and no tag ever names half an image."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from servegen.errors import RegistryError
from tests.oci.fake_registry import FakeRegistry
from tests.oci.fault_cases import ALWAYS, PUBLIC, Case, Trial, cases, run
from tests.oci.fault_kinds import CURABLE, FINISH, PRIVATE, Kind
from tests.oci.faulty import faulty


@pytest.fixture
def trial(fake: FakeRegistry, tmp_path: Path) -> Iterator[Trial]:
    with faulty(fake.host) as proxy:
        yield Trial(proxy, tmp_path)


OPERATIONS = ("push", "push over another image", "push in pieces", "push with mounts", "pull")
EACH = 50


@pytest.mark.parametrize("operation", OPERATIONS)
def test_no_fault_loses_an_image(operation: str, trial: Trial) -> None:
    """One or two faults in a row are cured; those that stay end in an error or are done without."""
    passing: Counter[str] = Counter()
    staying: Counter[str] = Counter()
    for case in cases(trial, operation, CURABLE, EACH, seed=1):
        (staying if case.times == ALWAYS else passing)[run(trial, case)] += 1
    assert passing.total() + staying.total() == EACH
    assert EACH * len(OPERATIONS) >= 200
    assert set(passing) == {"success"}
    assert staying["error"] > 0


@pytest.mark.parametrize("kind", PRIVATE, ids=lambda kind: kind.name)
def test_a_public_registry_leads_no_push_or_pull_into_a_private_net(kind: Kind, trial: Trial) -> None:
    name = trial.repository()
    trial.proxy.begin()
    trial.push_and_pull_from_public(name)
    whole = trial.proxy.log
    for skip in range(sum(1 for call in whole if re.search(kind.pattern, call))):
        name = trial.repository()
        trial.proxy.begin(*kind.faults(skip, 1))
        try:
            # Ends well where only a confirmation was led astray, which is asked for once more.
            trial.push_and_pull_from_public(name)
        except RegistryError as error:
            assert "sends us to the private address" in str(error)
        assert trial.proxy.hosts == {PUBLIC}
        assert trial.tagged(name) in (None, trial.new.digest)


def test_an_upload_that_always_breaks_on_a_used_connection_ends(trial: Trial) -> None:
    case = Case(
        operation="push",
        kind=Kind(name="reset", pattern=FINISH, act=lambda call: call.reset()),
        skip=0,
        times=ALWAYS,
    )
    assert run(trial, case) == "error"
