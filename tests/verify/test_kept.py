"""The unpacked image that stays for the next run."""

import pytest

from servegen.verify.rootfs import KeptTree

ONE, TWO = "sha256:" + "1" * 64, "sha256:" + "2" * 64


@pytest.fixture
def tree(tmp_path):
    """A new unpacked image."""

    def make(text):
        folder = tmp_path / "scratch" / text
        folder.mkdir(parents=True)
        (folder / "file").write_text(text)
        return folder

    return make


def test_what_was_not_there_when_asked_for_can_be_kept_afterwards(tmp_path, tree):
    kept = KeptTree(tmp_path / "kept", ONE)
    assert not kept.take()
    kept.replace(tree("one"))
    again = KeptTree(tmp_path / "kept", ONE)
    assert again.take()
    assert (again.root / "file").read_text() == "one"


def test_only_the_last_one_stays(tmp_path, tree):
    KeptTree(tmp_path / "kept", ONE).replace(tree("one"))
    KeptTree(tmp_path / "kept", TWO).replace(tree("two"))
    assert not KeptTree(tmp_path / "kept", ONE).take()
    assert KeptTree(tmp_path / "kept", TWO).take()


def test_what_a_running_image_needs_is_not_replaced(tmp_path, tree):
    KeptTree(tmp_path / "kept", ONE).replace(tree("one"))
    running = KeptTree(tmp_path / "kept", ONE)
    assert running.take()
    KeptTree(tmp_path / "kept", TWO).replace(tree("two"))
    assert (running.root / "file").read_text() == "one"
