"""A real MLflow store, made once, as MLflow takes seconds to make its tables."""

import shutil
from pathlib import Path

import mlflow
import pytest


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory) -> Path:
    """An SQLite file with MLflow's tables and nothing in them."""
    path = tmp_path_factory.mktemp("empty") / "mlflow.db"
    mlflow.MlflowClient(f"sqlite:///{path}").search_registered_models()
    return path


@pytest.fixture(scope="module")
def store_folder(empty_database: Path, tmp_path_factory) -> Path:
    """A folder with an empty store in `mlflow.db`."""
    folder = tmp_path_factory.mktemp("mlflow")
    shutil.copy(empty_database, folder / "mlflow.db")
    return folder
