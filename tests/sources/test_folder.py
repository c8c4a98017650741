import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from servegen.errors import ModelError
from servegen.progress import Silent
from servegen.sources import StoreOptions, resolve
from servegen.sources.tree import hash_files, list_files, tree_digest


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


def also(text):
    """Put a key into MLmodel instead of the one of that name."""

    def change(folder):
        key = text.splitlines()[-1].partition(":")[0]
        kept = yaml.safe_load((folder / "MLmodel").read_text())
        kept.pop(key, None)
        (folder / "MLmodel").write_text(f"{yaml.safe_dump(kept)}{text}\n")

    return change


BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{this}: &{this} [{', '.join([f'*{before}'] * 9)}]\n"
    for before, this in zip("abcdefgh", "bcdefghi", strict=True)
)
"""Nine to the power of nine times `x`, when written out."""


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
        (lambda f: (f / "link").symlink_to("link"), "is a link to"),
        (lambda f: os.mkfifo(f / "pipe"), "no regular file"),
        (lambda f: (f / "MLmodel").unlink(), "holds no MLmodel file"),
        (damage("MLmodel", "[" * 5000), "no YAML"),
        (damage("MLmodel", "created: 2020-99-99"), "no YAML"),
        (also("signature: {inputs: 2020-01-01}"), "signature in the MLmodel file"),
        (also("signature: [1]"), "signature in the MLmodel file"),
        (also(f"{BOMB}signature: *i"), "signature in the MLmodel file"),
        (also(f"{BOMB}signature: {{inputs: *i}}"), "signature in the MLmodel file"),
        (also(f"{BOMB}run_id: *i"), "in the place of a text"),
        (also(f"{BOMB}mlflow_version: *i"), "in the place of a text"),
        (also(f"{BOMB}flavors: {{python_function: {{}}, x: {{x_version: *i}}}}"), "in the place of a text"),
        (damage("serving_input_example.json", "[" * 100_000), "is no JSON"),
        (lambda f: (f / "requirements.txt").write_bytes(b"numpy\xff"), "is not UTF-8"),
        (damage("requirements.txt", "-r requirements.txt"), "includes it in turn"),
        (lambda f: (f / os.fsdecode(b"odd\xff")).write_text(""), "is not UTF-8"),
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


def test_a_folder_that_cannot_be_listed_is_not_passed_over(tmp_path):
    with pytest.raises(ModelError, match="cannot be read"):
        list_files(tmp_path / "gone")


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


@pytest.mark.parametrize("text", ['{"files":[1]}', '{"files":[{"path": 3}]}', "[]", "[" * 100_000])
def test_a_damaged_entry_of_the_cache_is_made_again(model_folder, options, text):
    old = time.time_ns() - 10**11
    for path in model_folder.iterdir():
        os.utime(path, ns=(old, old))
    first = resolve(str(model_folder), options, Silent())
    (listing,) = (options.cache / "models").glob("*.json")
    listing.write_text(text)
    assert resolve(str(model_folder), options, Silent()) == first


def test_a_file_name_of_any_script_is_read_whatever_the_locale(model_folder, tmp_path):
    """Python is told to take the C locale at its word."""
    (model_folder / "Détection 检测").write_text("x")
    code = (
        "import sys\nfrom pathlib import Path\n"
        "from servegen.sources.tree import hash_files, stat_fingerprint\n"
        "root = Path(sys.argv[1]); stat_fingerprint(root.iterdir()); print(len(hash_files(root)))"
    )
    env = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    argv = [sys.executable, "-c", code, str(model_folder)]
    done = subprocess.run(argv, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) == len(list(model_folder.iterdir()))
