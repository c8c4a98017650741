"""An MLflow model, by `loader_module`, that streams without an end."""

from collections.abc import Iterator
from typing import Any


class Chatty:
    """Says a long word again and again."""

    def predict(self, model_input: Any, params: Any = None) -> Any:
        return "word"

    def predict_stream(self, model_input: Any, params: Any = None) -> Iterator[str]:
        while True:
            yield "word" * 50_000


def _load_pyfunc(path: str) -> Chatty:
    return Chatty()
