import os

import pytest

from servegen import targets
from servegen.errors import DeployError, RenderError
from servegen.renderers.manifests import Manifests
from servegen.targets.directory import check, write
from servegen.targets.k8s import Kubernetes
from servegen.values.bundle import Bundle
from servegen.values.deployment import AutoscalingSettings
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


def test_a_target_is_called_as_its_file():
    assert targets.target("k8s") is Kubernetes
    with pytest.raises(DeployError, match="'ftp'"):
        targets.target("ftp")


def test_a_folder_is_no_target_of_the_command_line():
    assert "directory" not in targets.targets()
    with pytest.raises(DeployError, match="no target 'directory'"):
        targets.target("directory")


def test_a_file_that_cannot_be_replaced_stops_all_and_is_named(tmp_path):
    (tmp_path / "b.yaml").mkdir()
    (tmp_path / "a.yaml").write_text("old\n")
    with pytest.raises(RenderError, match=f"{tmp_path}/b.yaml cannot be written"):
        write(Bundle.of({"a.yaml": "new\n", "b.yaml": "b\n"}), tmp_path)
    assert (tmp_path / "a.yaml").read_text() == "old\n"
    assert {path.name for path in tmp_path.iterdir()} == {"a.yaml", "b.yaml"}


def fixed(**settings):
    return Manifests().render(
        deployment(autoscaling=AutoscalingSettings(enabled=False), replicas=3, **settings)
    )


def test_an_autoscaler_of_an_earlier_render_is_deleted(tmp_path):
    write(Manifests().render(deployment()), tmp_path)
    changes = actions(write(fixed(), tmp_path))
    assert (changes["hpa.yaml"], changes["deployment.yaml"]) == ("deleted", "configured")
    assert not (tmp_path / "hpa.yaml").exists()


def test_an_autoscaler_of_another_deployment_stays(tmp_path):
    write(Manifests().render(deployment()), tmp_path)
    assert "hpa.yaml" not in actions(write(fixed(name="wine"), tmp_path))
    assert (tmp_path / "hpa.yaml").is_file()


def test_a_folder_is_checked_before_there_is_anything_to_write(tmp_path):
    check(tmp_path)
    check(tmp_path / "new" / "deeper")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_text("")
    for wrong in ("file", "file/deeper"):
        with pytest.raises(RenderError, match="is a file"):
            check(tmp_path / wrong)


def test_a_starter_is_written_once_and_then_kept(tmp_path):
    bundle = Bundle.of({"a.yaml": "a\n"}, starters={"own/b.yaml": "b\n"})
    assert actions(write(bundle, tmp_path)) == {"a.yaml": "created", "own/b.yaml": "created"}
    (tmp_path / "own/b.yaml").write_text("mine\n")
    assert actions(write(bundle, tmp_path)) == {"a.yaml": "unchanged", "own/b.yaml": "kept"}
    assert (tmp_path / "own/b.yaml").read_text() == "mine\n"


def test_a_starter_never_replaces_a_link(tmp_path):
    (tmp_path / "b.yaml").symlink_to(tmp_path / "elsewhere")
    assert actions(write(Bundle.of({}, starters={"b.yaml": "b\n"}), tmp_path)) == {"b.yaml": "kept"}
    assert (tmp_path / "b.yaml").is_symlink()
