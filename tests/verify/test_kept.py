"""The unpacked image that stays for the next run."""

import pytest

from servegen.oci.image import Layer
from servegen.oci.tar import LayerBlob
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


@pytest.fixture
def layer():
    """A layer with this name, whose content is told by one character."""

    def make(name, character):
        blob = LayerBlob(
            digest="sha256:" + "e" * 64, diff_id="sha256:" + character * 64, size=1, media_type="t"
        )
        return Layer(blob=blob, name=name, key=name)

    return make


@pytest.fixture
def with_model(tree):
    def make(text):
        folder = tree(text)
        (folder / "srv/model").mkdir(parents=True)
        (folder / "srv/model/MLmodel").write_text(text)
        return folder

    return make


def test_a_tree_of_the_same_layers_is_taken_over_without_its_model(tmp_path, with_model, layer):
    code, old, new = layer("code", "a"), layer("model", "b"), layer("model", "c")
    KeptTree(tmp_path / "kept", ONE).replace(with_model("one"), [code, old])
    target = tmp_path / "scratch" / "root"
    assert KeptTree(tmp_path / "kept", TWO).take_over([code, new], target) == 1
    assert (target / "file").read_text() == "one"
    assert not (target / "srv/model").exists()
    assert not KeptTree(tmp_path / "kept", ONE).take()


def test_a_tree_of_other_layers_stays_where_it_is(tmp_path, with_model, layer):
    KeptTree(tmp_path / "kept", ONE).replace(with_model("one"), [layer("code", "a"), layer("model", "b")])
    other = [layer("code", "f"), layer("model", "b")]
    assert KeptTree(tmp_path / "kept", TWO).take_over(other, tmp_path / "scratch" / "root") == 0
    assert KeptTree(tmp_path / "kept", ONE).take()


def test_a_tree_that_is_in_use_is_not_taken_over(tmp_path, with_model, layer):
    layers = [layer("code", "a"), layer("model", "b")]
    KeptTree(tmp_path / "kept", ONE).replace(with_model("one"), layers)
    running = KeptTree(tmp_path / "kept", ONE)
    assert running.take()
    assert KeptTree(tmp_path / "kept", TWO).take_over(layers, tmp_path / "scratch" / "root") == 0
    assert (running.root / "srv/model/MLmodel").read_text() == "one"
