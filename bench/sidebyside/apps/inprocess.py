"""The model without a server: one line of JSON with milliseconds a row and rows a second.

python inprocess.py FOLDER SECONDS        FOLDER as models.py writes it
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

BATCH = 32


def main(folder: Path, seconds: float) -> dict[str, float]:
    """Milliseconds of `pyfunc.predict` with one row, and rows a second with 32."""
    import mlflow.pyfunc
    import numpy as np
    import pandas as pd

    cases = json.loads((folder / "cases.json").read_text())
    rows = cases["rows"]
    model = mlflow.pyfunc.load_model(str(folder / "model"))

    def made(part: list[list[Any]]) -> Any:
        if cases["columns"] is None:
            return np.array(part, dtype=np.float32)
        return pd.DataFrame(part, columns=cases["columns"])

    one = timed(model, [made([row]) for row in rows], seconds)
    batch = timed(model, [made((rows * BATCH)[i : i + BATCH]) for i in range(BATCH)], seconds)
    return {
        "one_p50": statistics.median(one) * 1e3,
        "one_p99": statistics.quantiles(one, n=100)[-1] * 1e3,
        "batch_p50": statistics.median(batch) * 1e3,
        # Of the median, as a busy machine would lower the limit and flatter every server.
        "batch_rows": BATCH / statistics.median(batch),
    }


def timed(model: Any, inputs: list[Any], seconds: float) -> list[float]:
    """Seconds of each call, after a fifth of the time as warm-up."""
    times: list[float] = []
    begin = time.perf_counter()
    warm = begin + seconds / 5
    while time.perf_counter() < begin + seconds:
        for one in inputs:
            start = time.perf_counter()
            model.predict(one)
            end = time.perf_counter()
            if start > warm:
                times.append(end - start)
    return times


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), float(sys.argv[2]))))
