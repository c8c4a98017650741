"""Two hundred faults, and more: a push or pull ends well or in an error, and a tag never names half an image."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from servegen.errors import RegistryError
from tests.oci.fake_registry import FakeRegistry
from tests.oci.fault_cases import ALWAYS, Trial, cases, run
from tests.oci.fault_kinds import CURABLE, PRIVATE
from tests.oci.faulty import faulty


@pytest.fixture
def trial(fake: FakeRegistry, tmp_path: Path) -> Iterator[Trial]:
    with faulty(fake.host) as proxy:
        yield Trial(proxy, tmp_path)


@pytest.mark.parametrize(
    "operation", ["push", "push over another image", "push in pieces", "push with mounts", "pull"]
)
def test_no_fault_loses_an_image(operation: str, trial: Trial) -> None:
    ended: Counter[str] = Counter()
    for case in cases(trial, operation, CURABLE, 50, seed=1):
        outcome = run(trial, case)
        ended["always: " + outcome if case.times == ALWAYS else outcome] += 1
    print(operation, dict(ended))
    assert sum(ended.values()) == 50
