import os

import pytest

from servegen import targets
from servegen.errors import DeployError, RenderError
from servegen.progress import Silent
from servegen.targets.directory import Directory, write
from servegen.values.bundle import Bundle
from tests.kube.deployments import deployment


def actions(changes):
    return {change.name: change.action for change in changes}


def test_files_are_written_with_their_folders_and_told(tmp_path):
    bundle = Bundle.of({"a.yaml": "a\n", "templates/b.yaml": "é\n"})
    assert actions(write(bundle, tmp_path / "new")) == {"a.yaml": "created", "templates/b.yaml": "created"}
    assert (tmp_path / "new/templates/b.yaml").read_bytes() == "é\n".encode()
    assert (tmp_path / "new/a.yaml").stat().st_mode & 0o777 == 0o644


def test_a_second_write_touches_nothing_and_foreign_files_stay(tmp_path):
    bundle = Bundle.of({"a.yaml": "a\n", "b.yaml": "b\n"})
    write(bundle, tmp_path)
    (tmp_path / "b.yaml").write_text("edited\n")
    (tmp_path / "notes.txt").write_text("mine\n")
    os.utime(tmp_path / "a.yaml", ns=(1, 1))
    assert actions(write(bundle, tmp_path)) == {"a.yaml": "unchanged", "b.yaml": "configured"}
    assert (tmp_path / "a.yaml").stat().st_mtime_ns == 1
    assert (tmp_path / "notes.txt").read_text() == "mine\n"
    assert {path.name for path in tmp_path.iterdir()} == {"a.yaml", "b.yaml", "notes.txt"}


def test_a_folder_that_cannot_be_written_is_one_clear_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RenderError, match="cannot be written") as caught:
        write(Bundle.of({"a.yaml": "a"}), tmp_path / "file")
    assert "-o DIR" in caught.value.hint


@pytest.mark.parametrize("path", ["../a", "/a", "a/../b", "a//b", ".", "a\\b"])
def test_a_bundle_never_leaves_its_folder(path):
    with pytest.raises(ValueError, match="inside a bundle"):
        Bundle.of({path: ""})


def test_a_deployment_is_delivered_in_the_wanted_format(tmp_path):
    done = Directory(folder=tmp_path, format_name="helm").deliver(deployment(), progress=Silent())
    assert (tmp_path / "templates/tests/smoke.yaml").is_file()
    assert {change.name for change in done.changes} >= {"Chart.yaml", "values.yaml"}


def test_a_target_is_called_as_its_file():
    assert targets.target("directory") is Directory
    assert set(targets.targets()) >= {"directory", "k8s"}
    with pytest.raises(DeployError, match="'ftp'"):
        targets.target("ftp")
