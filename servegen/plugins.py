"""Plugins: a module of one of our packages, or an entry point of another distribution, called by its name.

A package names the modules that are no plugins in `HELPERS`.
"""

from __future__ import annotations

import importlib
import pkgutil
from importlib.metadata import EntryPoint, entry_points
from typing import Any


def names(package: str) -> tuple[str, ...]:
    """Names of all plugins of `package`, such as `servegen.renderers`, sorted."""
    return tuple(sorted({*_own(package), *_foreign(package)}))


def load(package: str, name: str, attribute: str) -> Any:
    """What the plugin `name` defines as `attribute`; raises KeyError when there is no such plugin.

    An entry point of the group `package` names the object itself.
    """
    if name in _own(package):
        return getattr(importlib.import_module(f"{package}.{name}"), attribute)
    return _foreign(package)[name].load()


def _own(package: str) -> tuple[str, ...]:
    folder = importlib.import_module(package).__path__
    helpers = getattr(importlib.import_module(package), "HELPERS", ())
    return tuple(m.name for m in pkgutil.iter_modules(folder) if m.name not in helpers)


def _foreign(package: str) -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=package)}
