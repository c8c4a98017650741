"""MLflow's own client against the server as a process, on both runtimes."""

from pathlib import Path

import mlflow
import pandas as pd
import pytest
from mlflow.pyfunc.scoring_server.client import ScoringServerClient

from tests.server.test_process import RUNTIMES, started


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_mlflows_client_waits_asks_and_reads_predictions(models: Path, tmp_path: Path, runtime: str):
    with started(models / "linear", tmp_path, runtime=runtime) as server:
        client = ScoringServerClient("127.0.0.1", server.port)
        client.wait_server_ready(timeout=60, scoring_server_proc=server.process)
        assert client.get_version() == mlflow.__version__
        answer = client.invoke(pd.DataFrame({"x1": [2.0, 0.0], "x2": [1.0, 0.0]}))
        assert answer.get_predictions().to_numpy().tolist() == [[8.0], [1.0]]


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_mlflows_client_passes_params_on(models: Path, tmp_path: Path, runtime: str):
    with started(models / "params", tmp_path, runtime=runtime) as server:
        client = ScoringServerClient("127.0.0.1", server.port)
        client.wait_server_ready(timeout=60, scoring_server_proc=server.process)
        answer = client.invoke(pd.DataFrame({"a": [2.0]}), params={"k": 0.25})
        assert answer["predictions"]["params"] == [
            "dict",
            {"k": ["float", "0.25"], "l": ["list", [["int", "1"]]]},
        ]
