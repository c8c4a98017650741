"""An MLflow model, by `loader_module`, that takes as many seconds as each row says and notes what it saw."""

import time
from pathlib import Path
from typing import Any


class Slow:
    """Sleeps, and writes down for how long."""

    def __init__(self, notes: Path) -> None:
        self._notes = notes

    def predict(self, model_input: Any, params: Any = None) -> Any:
        seconds = [float(value) for value in model_input["seconds"]]
        with self._notes.open("a") as notes:
            notes.writelines(f"{value}\n" for value in seconds)
        time.sleep(max(seconds))
        return seconds


def _load_pyfunc(path: str) -> Slow:
    return Slow(Path(path) / "notes")
