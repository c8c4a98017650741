import shlex
from dataclasses import replace

import pytest

from servegen.builders import BuildInputs
from servegen.builders.dockerfile import quoted, steps, text, write_context
from servegen.errors import BuildError
from servegen.oci.known import KnownLayers
from servegen.oci.store import Store
from servegen.oci.tar import Entry, write_layer
from servegen.progress import Silent
from servegen.uv import Indexes
from servegen.values.image import Base, ImagePlan, LayerPlan, Platform
from servegen.values.lock import EnvironmentLock, LockedPackage
from servegen.values.model import TreeFile

BASE = Base(
    name="debian:bookworm",
    digest="sha256:" + "1" * 64,
    interpreter="/usr/bin/python3.11",
    python="3.11",
    build="3.11.2",
    layers=("base-key",),
)
PLAN = ImagePlan(
    platform=Platform.parse("linux/amd64"),
    python="3.11",
    layers=(
        LayerPlan(name="base", key="base-key"),
        LayerPlan(name="dep:numpy", key="numpy-key", packages=("numpy",)),
        LayerPlan(name="code", key="code-key"),
        LayerPlan(name="model", key="model-key"),
    ),
    env=(("LANG", "C.UTF-8"), ("ODD", "$HOME")),
    entrypoint=("/usr/bin/python3.11", "-m", "servegen.server"),
    labels=(("dev.servegen.example", '{"x": "it\'s \\"5 $\\""}'),),
)


@pytest.fixture
def inputs(tmp_path, model):
    """A plan whose layers are all in the store but the model's, which is a folder."""
    store = Store(tmp_path / "store")
    files = {
        "base-key": Entry(path="usr/bin/python3.11", data=b"python", mode=0o755),
        "numpy-key": Entry(path="opt/servegen/site-packages/numpy/__init__.py", data=b"numpy"),
        "code-key": Entry(path="srv/app/servegen/server/app.py", data=b"app"),
    }
    for key, entry in files.items():
        with store.scratch() as temporary:
            blob = write_layer([entry], temporary)
            store.commit(temporary, blob.digest)
        store.record_layer(key, blob)
    saved = tmp_path / "saved"
    saved.mkdir()
    (saved / "MLmodel").write_text("flavors: {}")
    (saved / "MLmodel").chmod(0o600)
    package = LockedPackage(name="numpy", version="2.4.6", file="n.whl", size=1, sha256="c" * 64)
    lock = EnvironmentLock(
        platform="linux/amd64",
        python="3.11",
        target="x86_64-manylinux_2_36",
        exclude_newer="2026-11-23T00:00:00Z",
        inputs="i",
        packages=(package,),
    )
    return BuildInputs(
        plan=PLAN,
        model=replace(model, path=saved, files=(TreeFile(path="MLmodel", size=11, sha256="d" * 64),)),
        lock=lock,
        base=BASE,
        code=(),
        reference="iris:1",
        indexes=Indexes(),
        store=store.path,
        scratch=tmp_path / "scratch",
        known=KnownLayers.none(store, Silent()),
        compiler=None,
        compression="zstd",
    )


def written(inputs, folder):
    folder.mkdir()
    write_context(inputs, folder, Silent())
    return {p.relative_to(folder).as_posix(): p for p in folder.rglob("*") if p.is_file()}


def test_the_context_holds_everything_and_names_no_address(inputs, tmp_path):
    files = written(inputs, tmp_path / "context")
    assert set(files) == {
        ".dockerignore",
        "Dockerfile",
        "app/servegen/server/app.py",
        "layers/00-base.tar",
        "layers/01-dep-numpy.tar",
        "model/MLmodel",
        "requirements.txt",
    }
    assert f"numpy==2.4.6 --hash=sha256:{'c' * 64}" in files["requirements.txt"].read_text()
    assert not [name for name, file in files.items() if b"://" in file.read_bytes()]


def test_a_wheel_of_the_model_is_named_by_its_place_and_not_as_if_an_index_had_it(inputs, tmp_path):
    own = replace(inputs.lock.packages[0], name="own", path="wheels/own.whl")
    lock = replace(inputs.lock, packages=(own,))
    files = written(replace(inputs, lock=lock), tmp_path / "context")
    assert f"./model/wheels/own.whl --hash=sha256:{'c' * 64}\n" in files["requirements.txt"].read_text()


def test_neither_the_umask_nor_the_time_of_the_build_shows(inputs, tmp_path):
    for path in written(inputs, tmp_path / "context").values():
        assert path.stat().st_mode & 0o777 == 0o644
        assert path.stat().st_mtime == 0
        assert path.parent.stat().st_mode & 0o777 == 0o755


def test_a_registry_base_is_named_by_digest_and_not_copied(inputs, tmp_path):
    base = replace(BASE, name="ghcr.io/me/python:3.11")
    files = written(replace(inputs, base=base), tmp_path / "context")
    assert f"FROM ghcr.io/me/python:3.11@{BASE.digest}\n" in files["Dockerfile"].read_text()
    assert "layers/00-base.tar" not in files
    assert "layers/00-dep-numpy.tar" in files


def test_the_steps_say_what_the_plan_says():
    lines = text(steps(PLAN, None, ["layers/00-base.tar"])).splitlines()
    assert lines[1:5] == [
        "FROM scratch",
        "ADD layers/00-base.tar /",
        "COPY --chown=0:0 app/ /srv/app/",
        "COPY --chown=0:0 model/ /srv/model/",
    ]
    assert "USER 10001:0" in lines
    assert 'ENTRYPOINT ["/usr/bin/python3.11", "-m", "servegen.server"]' in lines
    assert lines.index("USER 10001:0") > lines.index("WORKDIR /srv/app"), "a folder it makes belongs to root"


@pytest.mark.parametrize("value", ['{"a": "b\\n"}', "it's", "both ' and \" and \\ and $HOME", "", "a b", "#"])
def test_a_value_survives_its_quotes(value):
    # Quotes mean in a Dockerfile what they mean in a shell, of which shlex reads all but the escaped dollar.
    assert [word.replace("\\$", "$") for word in shlex.split(quoted(value))] == [value]


def test_a_value_of_several_lines_is_refused():
    with pytest.raises(BuildError, match="more than one line"):
        quoted("a\nb")
