"""No accepted request is lost when a server leaves under load.

Accepted is a request that was sent completely over a connection that the server had not closed yet.
"""

import asyncio
import random
from pathlib import Path

import pytest

from tests.e2e.leaving import RUNTIMES, save_model, terminate

ROUNDS = 6


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("models"))


@pytest.mark.parametrize("number", range(ROUNDS))
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_every_request_is_answered_until_the_port_closes(
    model: Path, tmp_path: Path, runtime: str, number: int
):
    after = random.Random(number).uniform(0.05, 0.5)
    outcome = asyncio.run(terminate(model, tmp_path / "log", runtime=runtime, after=after, seed=number))
    assert outcome.lost == []
    assert outcome.wrong == []
    assert outcome.status == 0
    assert outcome.statuses[200] > 100
