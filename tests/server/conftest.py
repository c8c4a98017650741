"""Saved models, once a test run."""

import warnings
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with every echo model and the linear one."""
    from tests.server.models import SIGNATURES, save_echo, save_linear

    folder = tmp_path_factory.mktemp("models")
    with warnings.catch_warnings():
        # MLflow has advice for authors of models.
        warnings.simplefilter("ignore")
        for name in SIGNATURES:
            save_echo(folder, name)
        save_linear(folder)
    return folder
