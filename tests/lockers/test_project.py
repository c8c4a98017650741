"""A uv.lock that was logged with the model, made by the real uv against a package index on loopback."""

import os
import subprocess
import sys

import pytest

from servegen.errors import LockError
from servegen.uv import program
from tests.distributions import BACKEND, sdist, wheel

PROJECT = """\
[project]
name = "demo"
version = "0.1"
requires-python = ">=3.10"
dependencies = ["mlflow==3.17.2", "six"]
[project.optional-dependencies]
more = ["extra-only"]
[dependency-groups]
dev = ["dev-only"]
"""


@pytest.fixture
def project(folder, index):
    """The model folder with a uv.lock; called again, with that of another project."""
    flask = [f"{name}>=1" for name in ("flask_like", "numpy", "pandas")]
    wheel(index.folder, "mlflow", "3.17.2", requires=["mlflow_skinny==3.17.2", *flask])
    for name, version in (("flask_like", "1.0"), ("six", "1.0"), ("dev_only", "1.0"), ("extra_only", "1.0")):
        wheel(index.folder, name, version)

    def make(text: str = PROJECT) -> None:
        folder.write("pyproject.toml", text)
        env = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder.cache),
            "UV_CACHE_DIR": str(folder.cache / "uv"),
            "UV_DEFAULT_INDEX": index.url,
            "UV_NO_CONFIG": "1",
        }
        argv = [program(), "lock", "--quiet", "--python", sys.executable]
        subprocess.run(argv, cwd=folder.path, env=env, check=True)

    make()
    return make


def test_the_versions_of_uv_lock_stay_when_newer_ones_appear(folder, index, project, versions):
    wheel(index.folder, "six", "2.0"), wheel(index.folder, "numpy", "3.0")
    fresh = {"UV_CACHE_DIR": str(folder.cache / "fresh")}
    found = versions(folder.lock(fresh, index_url=index.url))
    assert (found["six"], found["numpy"]) == ("1.0", "2.0")


def test_the_skinny_mlflow_replaces_the_full_one_and_what_only_that_needs(folder, index, project, versions):
    found = versions(folder.lock(index_url=index.url))
    assert found["mlflow-skinny"] == "3.17.2"
    assert not {"mlflow", "flask-like", "dev-only", "demo"} & found.keys()
    assert {"mlflow", "flask-like"} <= versions(folder.lock(index_url=index.url, mlflow="full")).keys()


def test_what_an_extra_of_the_project_brought_is_kept(folder, index, project, versions):
    """MLflow writes it to requirements.txt and does not record the extra."""
    elsewhere = "six==0.9 ; python_full_version < '3.11'"
    text = f"mlflow==3.17.2\nflask-like==1.0\n{elsewhere}\nsix==1.0\nextra-only==1.0\n"
    folder.write("requirements.txt", text)
    found = versions(folder.lock(index_url=index.url))
    assert found["extra-only"] == "1.0"
    assert "flask-like" not in found


def test_a_version_that_serving_excludes_is_named_with_what_is_needed(folder, index, project):
    wheel(index.folder, "orjson", "3.5")
    project(PROJECT.replace('"six"', '"six", "orjson==3.5"'))
    with pytest.raises(LockError, match=r"has orjson==3\.5, and orjson>=3\.10 is needed") as caught:
        folder.lock(index_url=index.url)
    assert "uv add 'orjson>=3.10'" in caught.value.hint


def test_a_version_that_requirements_txt_excludes_is_named_with_it(folder, index, project):
    folder.write("requirements.txt", "mlflow==3.17.2\nsix==2.0\n")
    with pytest.raises(LockError, match=r"has six==1\.0, and six==2\.0 is needed") as caught:
        folder.lock(index_url=index.url)
    assert "--no-uv-lock" in caught.value.hint


def test_an_index_with_another_file_of_that_version_is_refused(folder, index, project):
    wheel(index.folder, "six", "1.0", files={"six.py": "planted = 1"})
    fresh = {"UV_CACHE_DIR": str(folder.cache / "fresh")}
    with pytest.raises(LockError, match=r"six 1\.0: the index has other files"):
        folder.lock(fresh, index_url=index.url)


def test_an_index_with_another_source_of_that_version_is_refused(folder, index, project):
    sdist(index.folder, "pure")
    project(PROJECT.replace('"six"', '"six", "pure"'))
    fresh = {"UV_CACHE_DIR": str(folder.cache / "fresh")}
    assert "pure" in {p.name for p in folder.lock(index_url=index.url).packages}
    sdist(index.folder, "pure", backend=f"{BACKEND}\nPLANTED = 1\n")
    with pytest.raises(LockError, match=r"pure 1\.0: the index has other files"):
        folder.lock(fresh, index_url=index.url)


def test_a_lock_for_another_python_is_refused(folder, index, project):
    folder.write("python_env.yaml", "python: 3.9.18\n")
    with pytest.raises(LockError, match=r"is for Python >=3\.10, and the image gets 3\.9"):
        folder.lock(index_url=index.url)


@pytest.mark.parametrize(
    "text", ["", "version = 1\n", "version = [", "version = 99\n", "[[package]]\nx = 1\n"]
)
def test_a_damaged_lock_is_refused_with_a_way_out(folder, index, project, text):
    folder.write("uv.lock", text)
    with pytest.raises(LockError, match=r"the uv\.lock of .* cannot be (read|exported)") as caught:
        folder.lock(index_url=index.url)
    assert "--no-uv-lock" in caught.value.hint


def test_a_package_from_a_folder_of_the_project_is_refused(folder, index, project):
    folder.write(
        "lib/pyproject.toml",
        '[project]\nname = "lib"\nversion = "1"\n[build-system]\nrequires = ["x"]\nbuild-backend = "x"\n',
    )
    source = '[tool.uv.sources]\nlib = {path = "lib", editable = true}\n'
    project(PROJECT.replace('"six"', '"six", "lib"') + source)
    with pytest.raises(LockError, match=r"-e \./lib"):
        folder.lock(index_url=index.url)


def test_without_the_project_file_or_when_told_so_requirements_txt_counts(folder, index, project):
    assert folder.model().uv_lock
    (folder.path / "pyproject.toml").unlink()
    assert not folder.model().uv_lock


def test_another_uv_lock_makes_another_lock(folder, index, project):
    first = folder.lock(index_url=index.url)
    project(PROJECT.replace('"six"', '"six", "extra-only"'))
    assert folder.lock(index_url=index.url).inputs != first.inputs
