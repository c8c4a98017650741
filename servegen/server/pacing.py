"""How long a batch waits for further requests: never longer than merging them saves."""

from __future__ import annotations

_KEPT = 0.95
"""Weight of all earlier calls against the newest one."""
_SPREAD = 1e-3
"""Variance of the batch size below which its effect on the duration cannot be told."""
_GOOD, _NEWEST = 0.5, 0.25
_TRY_AGAIN = 32
"""A wait that seems not to pay is tried once in so many batches: clients change."""


class Pacer:
    """Learns what a call of the model costs and how many requests come together.

    A call of n rows takes about a + b·n seconds; the fit is a least-squares line with exponentially
    decaying weights. Merging two calls saves a, so a is the longest wait that can pay.
    """

    def __init__(self, *, max_wait: float) -> None:
        self._max_wait = max_wait
        self._weight = self._x = self._xx = self._y = self._xy = 0.0
        self._expected = 1
        self._luck = 1.0
        self._skipped = 0

    @property
    def fixed_cost(self) -> float:
        """Seconds of a call that do not depend on its rows; the whole call while that is not known."""
        if not self._weight:
            return 0.0
        x, y = self._x / self._weight, self._y / self._weight
        variance = self._xx / self._weight - x * x
        if variance < _SPREAD:
            return y
        slope = (self._xy / self._weight - x * y) / variance
        return max(0.0, y - max(0.0, slope) * x)

    @property
    def row_cost(self) -> float:
        """Seconds of the model for a recent row."""
        return self._y / self._x if self._x else 0.0

    def called(self, rows: int, seconds: float) -> None:
        """Learn from one call of the model."""
        self._weight = self._weight * _KEPT + 1
        self._x = self._x * _KEPT + rows
        self._xx = self._xx * _KEPT + rows * rows
        self._y = self._y * _KEPT + seconds
        self._xy = self._xy * _KEPT + rows * seconds

    def answered(self, present: int) -> None:
        """Learn that a batch ended while `present` requests were in the server, its own included.

        Clients that wait for an answer before they ask again come back together, so as many are expected.
        """
        self._expected = present

    def is_complete(self, present: int) -> bool:
        """Whether everyone expected is among the `present`."""
        return present >= self._expected

    def pause(self) -> float:
        """Seconds without a request after which a batch is complete; 0 when waiting has not paid lately."""
        if self._luck < _GOOD and self._skipped < _TRY_AGAIN:
            self._skipped += 1
            return 0.0
        self._skipped = 0
        return min(self._max_wait, self.fixed_cost)

    def waited(self, *, gained: bool) -> None:
        """Learn whether requests came during a wait."""
        self._luck += _NEWEST * (gained - self._luck)
