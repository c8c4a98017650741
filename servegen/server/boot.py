"""The first steps of a process, before anything is imported that reads the environment."""

from __future__ import annotations

import logging
import site
from collections.abc import Mapping
from typing import TYPE_CHECKING

from servegen import __version__
from servegen.server import environment, settings

if TYPE_CHECKING:
    from servegen.server.app import App


def boot(defaults: Mapping[str, str] | None = None) -> settings.Settings:
    """The settings of this process, once libraries will find what they need.

    The environment overrides `defaults`. Raises ValueError when a setting cannot be used.
    """
    chosen = settings.read(defaults or {})
    _log_to_stderr()
    settings.export(environment.defaults(settings.variables(), limit=environment.cpu_limit()))
    if chosen.site is not None:
        site.addsitedir(str(chosen.site))
    return chosen


def make_app(chosen: settings.Settings) -> App:
    """The application for the model of `chosen`, not loaded yet; raises ValueError when there is none."""
    # Only now may numpy be imported: its thread pools read the environment.
    from servegen.server import modelfile
    from servegen.server.app import App

    model = modelfile.read(chosen.model, name=chosen.model_name, version=chosen.model_version)
    return App(model, chosen, version=__version__)


def _log_to_stderr() -> None:
    log = logging.getLogger("servegen")
    if not log.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        log.addHandler(handler)
        log.setLevel(logging.INFO)
        log.propagate = False
