"""What a bundle changes, found without writing."""

import pytest

from servegen.errors import EditedError, GitError
from servegen.gitops import files
from servegen.gitops.layouts import layout
from servegen.values.bundle import Bundle
from tests.kube.deployments import deployment


def test_writing_what_was_found_leaves_nothing_to_find(tmp_path):
    for name in ("kustomize", "helm", "manifests"):
        bundle, folder = layout(name).bundle(deployment(environment="prod")), tmp_path / name
        found = files.changes(bundle, folder)
        assert {one.action for one in found} == {"created"}
        assert "+++ b/apps/" in files.diff(files.below({"apps": bundle}, tmp_path / "other"))
        files.write(found, folder)
        again = files.changes(bundle, folder)
        assert {one.action for one in again} == {"unchanged"}
        assert files.diff(again) == ""


def test_what_an_earlier_release_left_is_deleted_and_what_is_the_users_stays(tmp_path):
    bundle = Bundle.of({"a.yaml": "a: 1\n"}, obsolete={"b.yaml": "mark: x"}, starters={"c.yaml": "c: 1\n"})
    (tmp_path / "b.yaml").write_text("mark: x\n")
    (tmp_path / "c.yaml").write_text("mine: true\n")
    found = files.changes(bundle, tmp_path)
    assert {one.path: one.action for one in found} == {
        "a.yaml": "created",
        "b.yaml": "deleted",
        "c.yaml": "unchanged",
    }
    files.write(found, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.yaml", "c.yaml"]


def test_a_chart_file_of_an_older_servegen_is_replaced_and_an_edited_one_is_not(tmp_path):
    bundle = layout("helm").bundle(deployment())
    files.write(files.changes(bundle, tmp_path), tmp_path)
    newer = Bundle.of(dict(bundle.files) | {"chart/templates/service.yaml": "newer\n"})
    found = files.changes(newer, tmp_path)
    files.refuse_edited(found)
    assert {one.path for one in found if one.action == "configured"} == {"chart/templates/service.yaml"}
    (tmp_path / "chart/templates/service.yaml").write_text("edited\n")
    with pytest.raises(EditedError, match="service") as caught:
        files.refuse_edited(files.changes(bundle, tmp_path))
    assert "-edited" in caught.value.details


def test_links_and_folders_are_no_files(tmp_path):
    (tmp_path / "a.yaml").symlink_to("/etc/hostname")
    (tmp_path / "b.yaml").mkdir()
    for path, match in (("a.yaml", "is a link"), ("b.yaml", "is no file")):
        with pytest.raises(GitError, match=match):
            files.changes(Bundle.of({path: "x: 1\n"}), tmp_path)
