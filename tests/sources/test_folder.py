import os
import time
from pathlib import Path

import pytest

from servegen.errors import ModelError
from servegen.progress import Silent
from servegen.sources import StoreOptions, resolve
from servegen.sources.tree import hash_files, tree_digest


@pytest.fixture
def options(tmp_path: Path) -> StoreOptions:
    return StoreOptions(tracking_uri=None, registry_uri=None, cache=tmp_path / "cache")


def test_a_folder_becomes_a_pinned_model(model_folder, options):
    model = resolve(str(model_folder), options, Silent())
    assert model.pin.digest == tree_digest(hash_files(model_folder))
    assert model.pin.run_id == "r1"
    assert model.python_minor == "3.11"
    assert model.requirements == ("mlflow==3.17.2", "scikit-learn==1.9.1", "pandas==3.1.1")
    assert [f.name for f in model.flavors] == ["python_function", "sklearn"]
    assert model.serving_example == '{"inputs": {"x": [1.0]}}'
    assert (model.path / "model.pkl").read_bytes() == b"not really a pickle"


def test_path_and_file_uri_give_the_same_digest(model_folder, options):
    by_path = resolve(str(model_folder), options, Silent())
    by_uri = resolve(f"file://{model_folder}", options, Silent())
    assert by_path.pin.digest == by_uri.pin.digest


def test_a_changed_file_gives_another_digest_even_with_the_old_time_stamp(model_folder, options):
    file = model_folder / "model.pkl"
    old = time.time_ns() - 10**11
    for path in model_folder.iterdir():
        os.utime(path, ns=(old, old))
    before = resolve(str(model_folder), options, Silent())
    file.write_bytes(b"NOT really a pickle")
    os.utime(file, ns=(old, old))
    assert resolve(str(model_folder), options, Silent()).pin.digest != before.pin.digest


def test_an_unchanged_folder_is_not_read_again(model_folder, options):
    old = time.time_ns() - 10**11
    for path in model_folder.iterdir():
        os.utime(path, ns=(old, old))
    steps = []

    class Recorder(Silent):
        def step(self, text):
            steps.append(text)

    first = resolve(str(model_folder), options, Recorder())
    assert steps == ["reading saved"]
    assert resolve(str(model_folder), options, Recorder()) == first
    assert steps == ["reading saved"]


def test_a_cached_copy_that_was_changed_is_not_used(model_folder, options):
    model = resolve(str(model_folder), options, Silent())
    (model.path / "model.pkl").write_bytes(b"tampered")
    again = resolve(str(model_folder), options, Silent())
    assert again.pin.digest == model.pin.digest
    assert (again.path / "model.pkl").read_bytes() == b"not really a pickle"


def damage(name, text):
    return lambda folder: (folder / name).write_text(text)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (damage("MLmodel", "flavors: {python_function: ["), "no YAML (line"),
        (damage("MLmodel", "- a list"), "not a mapping"),
        (damage("MLmodel", "flavors: 3"), "lists no flavors"),
        (damage("MLmodel", "flavors: {h2o: {}}"), "no flavor servegen can serve (found: h2o)"),
        (damage("serving_input_example.json", "{"), "is no JSON"),
        (damage("python_env.yaml", "a: ["), "is no YAML"),
        (damage("requirements.txt", "-r ../../etc/passwd"), "not in the model folder"),
        (lambda f: (f / "requirements.txt").unlink(), "no Python requirements"),
        (lambda f: (f / "link").symlink_to("/etc/passwd"), "is a link to"),
        (lambda f: (f / "link").symlink_to(f), "is a link to"),
        (lambda f: os.mkfifo(f / "pipe"), "no regular file"),
        (lambda f: (f / "MLmodel").unlink(), "holds no MLmodel file"),
    ],
)
def test_a_damaged_model_gives_one_line_and_a_hint(model_folder, options, change, message):
    change(model_folder)
    with pytest.raises(ModelError) as caught:
        resolve(str(model_folder), options, Silent())
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.hint


def test_a_failed_read_leaves_nothing_in_the_cache(model_folder, options):
    os.mkfifo(model_folder / "pipe")
    with pytest.raises(ModelError):
        resolve(str(model_folder), options, Silent())
    assert not any((options.cache / "models").iterdir()) if (options.cache / "models").exists() else True


def test_links_inside_the_model_become_copies(model_folder, options):
    (model_folder / "alias.pkl").symlink_to("model.pkl")
    model = resolve(str(model_folder), options, Silent())
    copied = model.path / "alias.pkl"
    assert not copied.is_symlink()
    assert copied.read_bytes() == b"not really a pickle"


def test_conda_requirements_count_when_there_is_no_requirements_file(model_folder, options):
    (model_folder / "requirements.txt").unlink()
    (model_folder / "conda.yaml").write_text("dependencies:\n- python=3.11.7\n- pip:\n  - mlflow==3.17.2\n")
    assert resolve(str(model_folder), options, Silent()).requirements == ("mlflow==3.17.2",)


def test_a_given_python_version_wins(model_folder, tmp_path):
    options = StoreOptions(tracking_uri=None, registry_uri=None, cache=tmp_path / "c", python="3.13")
    assert resolve(str(model_folder), options, Silent()).python_minor == "3.13"


def test_a_name_without_scheme_hints_at_the_registry(options):
    with pytest.raises(ModelError) as caught:
        resolve("iris", options, Silent())
    assert "models:/iris/latest" in caught.value.hint
