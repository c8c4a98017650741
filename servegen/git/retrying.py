"""Pauses between attempts: long enough for others to finish, and never the same for two of them."""

from __future__ import annotations

import random
import time

_FIRST = 0.5
_LONGEST = 15.0


def pause(attempt: int) -> None:
    """Wait before the attempt of that number, which is 2 or more; up to 15 s."""
    # Full jitter: of many writers that were refused at once, few come back at once.
    time.sleep(random.uniform(0, min(_LONGEST, _FIRST * 2 ** (attempt - 1))))  # noqa: S311
