"""Imports of a model's libraries, which are most of the time that a server takes to start."""

from __future__ import annotations

import contextlib
import gc
import sys
from collections.abc import Iterator, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

_POSTPONED = frozenset(("mlflow.gateway", "mlflow.genai"))
"""Packages that `import mlflow` loads, FastAPI with them, and no prediction needs."""
_THRESHOLDS = (100_000, 50, 1000)


class _Postponed(Loader):
    """Runs a package when something in it is looked at for the first time; submodules can be imported before.

    The standard library's LazyLoader runs it when a submodule is imported, in the middle of MLflow's import.
    """

    def __init__(self, loader: Loader) -> None:
        self._loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """The module that the real loader makes."""
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        """Leave `module` empty until somebody misses something in it (PEP 562)."""

        def look(name: str) -> Any:
            if name.startswith("__"):
                raise AttributeError(name)
            if vars(module).pop("__getattr__", None):
                self._loader.exec_module(module)
            return getattr(module, name)

        vars(module)["__getattr__"] = look


class _Finder(MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname not in _POSTPONED:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _Postponed(spec.loader)
        return spec


@contextlib.contextmanager
def hurried() -> Iterator[None]:
    """Import within it: what nobody needs comes later; garbage, as there is none, is seldom looked for."""
    before = gc.get_threshold()
    gc.set_threshold(*_THRESHOLDS)
    finder = _Finder()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        gc.set_threshold(*before)
