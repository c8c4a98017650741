"""How planning says no."""

from __future__ import annotations

from typing import NoReturn

from servegen.errors import RenderError


def refuse(setting: str, message: str, hint: str) -> NoReturn:
    """Raise the RenderError that names `setting`, a key below `deploy`."""
    msg = f"deploy.{setting}: {message}"
    raise RenderError(msg, hint=hint)
