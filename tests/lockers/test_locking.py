"""The stages lock and base together: what one has to know of the other."""

from __future__ import annotations

import pytest

from servegen.errors import BaseImageError, LockError
from servegen.job import known_layers, registry
from servegen.locking import lock_environment
from servegen.oci.image import ImageConfig, assemble
from servegen.oci.tar import Entry
from servegen.progress import Silent
from servegen.values.image import ImageRef
from tests.distributions import wheel
from tests.oci.conftest import AMD64, client, fake, make_layer, recorder, store
from tests.oci.elf_files import elf

__all__ = ["client", "fake", "make_layer", "recorder", "store"]


@pytest.fixture
def base(fake, client, store, make_layer):
    """Pushes a base with a Python and this glibc; gives its reference."""

    def push(glibc: str) -> str:
        files = {
            "usr/lib/x86_64-linux-gnu/libc.so.6": elf(soname="libc.so.6") + f"GLIBC_{glibc}\0".encode(),
            "usr/local/bin/python3.11": b"python",
        }
        layer = make_layer(*(Entry(path=path, data=data, mode=0o755) for path, data in files.items()))
        image = assemble(store, ImageConfig(platform=AMD64, env=(("PATH", "/usr/local/bin"),)), [layer])
        ref = ImageRef.parse(f"{fake.host}/python:{glibc}")
        client.push(store, image, ref)
        return str(ref)

    return push


@pytest.fixture
def locked(folder, index):
    """Locks the model on a base."""

    def lock(spec: str):
        job, model = folder.job(index_url=index.url, base=spec), folder.model()
        with registry(job, Silent()) as remote:
            known = known_layers(job, model.pin, remote, Silent())
            return lock_environment(job, model, remote, known, Silent())

    return lock


def test_wheels_of_the_model_may_ask_for_the_glibc_of_a_registry_base(folder, base, locked):
    own = wheel(folder.path / "wheels", "own", tag="cp311-abi3-manylinux_2_34_x86_64").name
    folder.write("requirements.txt", f"mlflow==3.17.2\nwheels/{own}\n")
    found, made = locked(base("2.36"))
    assert own in {package.file for package in found.environment.packages}
    assert made.glibc == (2, 36)
    assert dict(found.base)["digest"] == made.digest
    with pytest.raises(LockError, match=r"own 1\.0 has no wheel for x86_64-manylinux_2_31"):
        locked(base("2.31"))


def test_a_model_that_brings_no_wheel_gets_the_same_wheels_on_every_base(base, locked):
    assert {locked(base(glibc))[0].environment.target for glibc in ("2.31", "2.36")} == {
        "x86_64-manylinux_2_28"
    }


def test_a_python_that_the_base_has_not_is_said_before_anything_is_resolved(folder, locked):
    folder.write("python_env.yaml", "python: 2.7.18\n")
    with pytest.raises(BaseImageError, match=r"3\.11 and 3\.13, the model wants 2\.7"):
        locked("debian")
