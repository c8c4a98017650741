"""Modules that a model may have brought, asked for without importing them."""

from __future__ import annotations

import sys
from typing import Any


def imported(name: str) -> Any:
    """The module `name` where it has been imported whole, else None.

    Another thread may be in the middle of importing it, in `sys.modules` already but without its classes;
    then nobody here can hold an object of them. `_initializing` is how importlib itself knows.
    """
    module = sys.modules.get(name)
    if module is None or getattr(module.__spec__, "_initializing", False):
        return None
    return module
