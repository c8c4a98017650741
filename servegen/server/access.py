"""Access lines on stderr, written in one go for many requests."""

from __future__ import annotations

import asyncio
import sys

_INTERVAL = 0.1


class AccessLog:
    """Collects lines and writes them a tenth of a second later.

    A write for every request would cost more than parsing it.
    """

    def __init__(self) -> None:
        self._lines: list[str] = []

    def add(self, request_id: bytes, method: str, route: str, status: int, seconds: float) -> None:
        """Note one answered request."""
        if not self._lines:
            asyncio.get_running_loop().call_later(_INTERVAL, self.flush)
        self._lines.append(f"{method} {route} {status} {seconds * 1000:.1f}ms {request_id.decode()}\n")

    def flush(self) -> None:
        """Write what was collected."""
        lines, self._lines = self._lines, []
        sys.stderr.write("".join(lines))
        sys.stderr.flush()
