from __future__ import annotations

from pathlib import Path

import pytest

from servegen.oci.image import ImageConfig, assemble, assemble_index
from servegen.oci.registry import Registry, RegistryOptions
from servegen.oci.store import Store
from servegen.oci.tar import Entry, write_layer
from servegen.progress import Silent
from servegen.values.image import ImageRef, Platform
from tests.oci.conftest import AMD64, FAST, MakeLayer
from tests.oci.fake_registry import FakeRegistry


class Tasks(Silent):
    """Remembers what was told of each task."""

    def __init__(self) -> None:
        self.told: dict[str, list[tuple[int, int]]] = {}

    def bytes(self, task: str, done: int, total: int) -> None:
        self.told.setdefault(task, []).append((done, total))


def test_each_layer_that_travels_is_a_task_of_its_own_and_ends(
    fake: FakeRegistry, store: Store, make_layer: MakeLayer, tmp_path: Path
) -> None:
    layers = [
        make_layer(Entry(path=name, data=name.encode() * 5000), name=name) for name in ("code", "model")
    ]
    image = assemble(store, ImageConfig(platform=AMD64), layers)
    ref = ImageRef.parse(f"{fake.host}/team/app:1")
    sizes = {layer.name: layer.blob.size for layer in layers}
    tasks = Tasks()
    with Registry(RegistryOptions(network=FAST), tasks) as client:
        client.push(store, image, ref)
        client.pull(ref, AMD64, Store(tmp_path / "other"))
    for name, size in sizes.items():
        for task in (f"upload {name}", f"download {name}"):
            assert tasks.told[task].count((size, size)) == 1, "it is what ends the task"
            assert tasks.told[task][-1] == (size, size)


def test_layers_of_one_name_in_the_images_of_an_index_are_tasks_of_their_own(
    fake: FakeRegistry, store: Store, make_layer: MakeLayer
) -> None:
    images, sizes = {}, {}
    for number, platform in enumerate((AMD64, Platform.parse("linux/arm64")), 1):
        layer = make_layer(Entry(path="numpy.so", data=b"x" * 9000 * number), name="dep:numpy")
        code = make_layer(Entry(path="code", data=b"code"), name="code")
        images[platform] = assemble(store, ImageConfig(platform=platform), [layer, code])
        sizes[f"upload dep:numpy ({layer.blob.digest[7:15]})"] = layer.blob.size
    tasks = Tasks()
    with Registry(RegistryOptions(network=FAST), tasks) as client:
        client.push(store, assemble_index(store, images), ImageRef.parse(f"{fake.host}/team/app:1"))
    assert "upload code" in tasks.told
    for task, size in sizes.items():
        assert tasks.told[task].count((size, size)) == 1
        assert {total for _, total in tasks.told[task]} == {size}


@pytest.mark.parametrize("data", [b"x" * 3_000_000, b""])
def test_writing_a_layer_ends_with_all_of_its_content(store: Store, data: bytes) -> None:
    told: list[tuple[int, int]] = []
    with store.scratch() as temporary:
        write_layer([Entry(path="a", data=data)], temporary, counted=lambda *both: told.append(both))
    assert told[-1] == (len(data), len(data))
    assert all(0 <= done <= total for done, total in told)
