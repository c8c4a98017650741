from pathlib import Path

import pytest

from servegen.server.modelfile import read


def test_the_facts_of_an_mlmodel_file_are_read(model_folder: Path):
    model = read(model_folder, name=None, version=None)
    assert (model.name, model.version, model.flavor, model.run_id) == ("saved", "1", "sklearn", "r1")
    assert model.example == b'{"inputs": {"x": [1.0]}}'
    assert [c.name for c in model.signature.columns or ()] == ["x"]
    assert model.threads == 1
    assert not model.streamable


def test_settings_name_the_model_before_its_folder_does(model_folder: Path):
    (model_folder / "registered_model_meta").write_text("model_name: iris\nmodel_version: '7'\n")
    registered = read(model_folder, name=None, version=None)
    assert (registered.name, registered.version) == ("iris", "7")
    chosen = read(model_folder, name="mine", version="8")
    assert (chosen.name, chosen.version) == ("mine", "8")


def test_a_folder_without_a_model_is_refused(tmp_path: Path):
    with pytest.raises(ValueError, match="no MLmodel file"):
        read(tmp_path, name=None, version=None)


def test_a_model_that_pyfunc_cannot_load_is_refused(tmp_path: Path):
    (tmp_path / "MLmodel").write_text("flavors:\n  spark: {}\n")
    with pytest.raises(ValueError, match=r"no python_function flavor \(found: spark\)"):
        read(tmp_path, name=None, version=None)


def test_metadata_sets_the_number_of_threads(tmp_path: Path):
    (tmp_path / "MLmodel").write_text("flavors:\n  python_function: {}\nmetadata:\n  servegen.threads: '4'\n")
    assert read(tmp_path, name=None, version=None).threads == 4
