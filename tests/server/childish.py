"""Predictors that are loaded in a child process, quickly."""

import os
import time
from typing import Any

import numpy as np

from servegen.server.errors import ModelFailedError, RefusedError


class Childish:
    """Answers with its input, or does what the input says."""

    def __init__(self, model: Any, settings: Any) -> None:
        if model.name == "broken":
            raise ValueError("the pickle is torn")
        if model.name == "deadly":
            os._exit(9)
        self._name = model.name

    def predict(self, data: Any, params: Any) -> Any:
        value = getattr(data, "value", None)
        what = value if isinstance(value, str) else ""
        if what == "die":
            os._exit(7)
        if what == "fail":
            raise ModelFailedError
        if what == "refuse":
            raise RefusedError(429, "RESOURCE_EXHAUSTED", "later", error_class="C", retry_after=3)
        if what == "secret":
            raise KeyError("secret")
        if what == "unsendable":
            return (n for n in range(3))
        if what == "foreign":
            return type("Foreign", (), {})
        if what == "pydantic":
            from pydantic import BaseModel

            class Answer(BaseModel):
                word: str

            return [Answer(word="one")]
        if what == "pid":
            return os.getpid()
        if what == "print":
            print("hello from the model")
            return None
        if what == "sleep":
            time.sleep(600)
        if what == "variable":
            return os.environ.get("OMP_NUM_THREADS")
        return {"name": self._name, "data": value, "params": params}

    def complete(self) -> None:
        pass

    def stream(self, data: Any, params: Any) -> Any:
        try:
            yield {"word": "one", "params": params}
            if data.value == "fail":
                raise ModelFailedError
            if data.value == "die":
                os._exit(7)
            if data.value == "endless":
                while True:
                    yield np.zeros(1000)
        finally:
            if data.value == "endless":
                from pathlib import Path

                Path(params["closed"]).touch()
