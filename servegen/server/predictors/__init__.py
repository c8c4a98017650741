"""What turns parsed input into the model's answer; one file a kind of model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

from servegen.server.inputs import Input, Params


class Predictor(Protocol):
    """A loaded model; called from worker threads."""

    def predict(self, data: Input, params: Params) -> Any:
        """The model's answer as it returned it; raises RefusedError when there is none."""

    def stream(self, data: Input, params: Params) -> Iterator[Any]:
        """The chunks of a streamed answer; must be iterated in one thread."""

    def complete(self) -> None:
        """Load what only unusual requests need; called once, when usual ones are answered already."""

    def interrupt(self) -> bool:
        """End the call that is being worked on, from another thread; False when that is impossible."""
