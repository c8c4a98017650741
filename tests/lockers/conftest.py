"""A model folder, an index of its own for what serves it, and the lock of both."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from servegen.config import Config, environment
from servegen.job import Job, check, serving
from servegen.lockers import lock, merged_requirements
from servegen.locking import lock_options
from servegen.progress import Silent
from servegen.sources import StoreOptions, resolve
from servegen.values.lock import EnvironmentLock
from servegen.values.model import Model
from tests.distributions import wheel
from tests.package_index import PackageIndex
from tests.package_index import serving as served

SERVED = {
    "httptools": "0.6",
    "mlflow_skinny": "3.17.2",
    "numpy": "2.0",
    "orjson": "3.10",
    "pandas": "3.1.1",
    "prometheus_client": "0.20",
    "uvicorn": "0.30",
    "uvloop": "0.20",
}
"""What every image holds, made by hand."""


@pytest.fixture
def distributions(tmp_path: Path) -> Path:
    """A folder with a wheel of each package that serving takes."""
    folder = tmp_path / "distributions"
    for name, version in SERVED.items():
        wheel(folder, name, version)
    return folder


@pytest.fixture
def index(distributions: Path) -> Iterator[PackageIndex]:
    with served(PackageIndex(folder=distributions)) as found:
        yield found


class Folder:
    """A model folder that is changed and locked."""

    def __init__(self, path: Path, cache: Path) -> None:
        self.path, self.cache = path, cache

    def write(self, name: str, text: str) -> None:
        (self.path / name).parent.mkdir(parents=True, exist_ok=True)
        (self.path / name).write_text(text, encoding="utf-8")

    def model(self) -> Model:
        options = StoreOptions(tracking_uri=None, registry_uri=None, cache=self.cache)
        return resolve(str(self.path), options, Silent())

    def job(self, env: dict[str, str] | None = None, **values: Any) -> Job:
        variables = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.cache / "home"),
            "UV_CACHE_DIR": str(self.cache / "uv"),
            "SERVEGEN_CACHE_DIR": str(self.cache),
        }
        config = Config(**{"runtime": "uvicorn", **values})
        job = Job(config=config, environment=environment(variables | (env or {})), lock_file=None)
        check(job)
        return job

    def lock(self, env: dict[str, str] | None = None, **values: Any) -> EnvironmentLock:
        job, model = self.job(env, **values), self.model()
        requirements = merged_requirements(model, serving(job.config))
        return lock(requirements, model, lock_options(job, model), Silent())


@pytest.fixture
def folder(model_folder: Path, tmp_path: Path) -> Folder:
    found = Folder(model_folder, tmp_path / "cache")
    found.write("requirements.txt", "mlflow==3.17.2\npandas==3.1.1\n")
    return found


@pytest.fixture
def versions() -> Callable[[EnvironmentLock], dict[str, str]]:
    return lambda found: {p.name: p.version for p in found.packages}
