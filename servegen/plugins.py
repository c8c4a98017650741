"""Plugins: a module of one of our packages, or an entry point of another distribution, called by its name.

A package names the modules that are no plugins in `HELPERS`.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil
import sys
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


def load_all(package: str, attribute: str) -> tuple[Any, ...]:
    """What every plugin of `package` defines as `attribute`, in the order of their names."""
    found = {name: point.load() for name, point in _foreign(package).items()}
    own = {name: getattr(importlib.import_module(f"{package}.{name}"), attribute) for name in _own(package)}
    return tuple(made for _, made in sorted({**found, **own}.items()))


def _own(package: str) -> tuple[str, ...]:
    folder = importlib.import_module(package).__path__
    helpers = getattr(importlib.import_module(package), "HELPERS", ())
    return tuple(m.name for m in pkgutil.iter_modules(folder) if m.name not in helpers)


def _foreign(package: str) -> dict[str, EntryPoint]:
    return {point.name: point for point in _entry_points(package, tuple(sys.path))}


@functools.lru_cache
def _entry_points(package: str, _path: tuple[str, ...]) -> tuple[EntryPoint, ...]:
    # Python reads a file of every distribution on the path for each question; hundreds of models ask often.
    return tuple(entry_points(group=package))
