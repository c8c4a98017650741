"""Comparison with a reviewed file; `SERVEGEN_GOLDEN=write` in the environment rewrites it."""

from __future__ import annotations

import os
from pathlib import Path

import servegen


def assert_golden(path: Path, text: str) -> None:
    """`text`, the version of servegen aside, is what `path` holds."""
    neutral = text.replace(f'"{servegen.__version__}"', '"VERSION"')
    if os.environ.get("SERVEGEN_GOLDEN") == "write":
        path.write_text(neutral)
    assert neutral == path.read_text()
