from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from servegen.planning.image import group, plan
from servegen.values.image import Base
from servegen.values.lock import EnvironmentLock, LockedPackage
from servegen.values.model import TreeFile

CODE = (TreeFile(path="servegen/server/app.py", size=1, sha256="c" * 64),)
BASE = Base(
    name="debian:bookworm",
    digest="sha256:" + "d" * 64,
    interpreter="/usr/bin/python3.11",
    python="3.11",
    build="3.11.2-6",
    layers=("base-key",),
    env=(("SSL_CERT_FILE", "/etc/ssl/certs/ca-certificates.crt"),),
)


def package(name: str, size: int, sha256: str = "") -> LockedPackage:
    return LockedPackage(
        name=name, version="1", file=f"{name}-1-py3-none-any.whl", size=size, sha256=sha256 or name
    )


def environment(*packages: LockedPackage) -> EnvironmentLock:
    return EnvironmentLock(
        inputs="i",
        platform="linux/amd64",
        python="3.11",
        target="x86_64-manylinux_2_28",
        exclude_newer="2026-11-23T00:00:00Z",
        packages=packages,
    )


PACKAGES = tuple(package(f"p{i}", 1000 - i) for i in range(40))


def keys(built):
    return {layer.name: layer.key for layer in built.layers}


def test_the_same_values_give_the_same_plan(model):
    one = plan(model, environment(*PACKAGES), BASE, "uvicorn", CODE, "zstd")
    two = plan(model, environment(*PACKAGES[::-1]), BASE, "uvicorn", CODE[:], "zstd")
    assert one == two


def test_a_new_model_changes_the_model_layer_only(model):
    before = keys(plan(model, environment(*PACKAGES), BASE, "uvicorn", CODE, "zstd"))
    other = replace(model, files=(TreeFile(path="MLmodel", size=1, sha256="9" * 64),))
    after = keys(plan(other, environment(*PACKAGES), BASE, "uvicorn", CODE, "zstd"))
    assert {name for name in before if before[name] != after[name]} == {"model"}


def test_a_bumped_package_changes_its_own_layer_only(model):
    bumped = (*PACKAGES[:30], package("p30", 970, "other"), *PACKAGES[31:])
    before = keys(plan(model, environment(*PACKAGES), BASE, "uvicorn", CODE, "zstd"))
    after = keys(plan(model, environment(*bumped), BASE, "uvicorn", CODE, "zstd"))
    assert len({name for name in before if before[name] != after[name]}) == 1


@pytest.mark.parametrize("change", [{"build": "3.11.3"}, {"layers": ("other",)}])
def test_another_interpreter_or_base_is_seen(model, change):
    before = keys(plan(model, environment(*PACKAGES), BASE, "uvicorn", CODE, "zstd"))
    after = keys(plan(model, environment(*PACKAGES), replace(BASE, **change), "uvicorn", CODE, "zstd"))
    assert before != after
    assert before["model"] == after["model"]


def test_the_image_runs_as_a_number_and_from_an_absolute_interpreter(model):
    built = plan(model, environment(*PACKAGES), BASE, "uvicorn", CODE, "zstd")
    assert built.user == "10001:0"
    assert built.entrypoint[0] == "/usr/bin/python3.11"
    assert dict(built.env)["SSL_CERT_FILE"]


def test_labels_tell_the_pin_and_nothing_of_the_build_machine(model):
    local = replace(model, pin=replace(model.pin, uri="/home/me/saved", resolved="/home/me/saved"))
    labels = dict(plan(local, environment(*PACKAGES), BASE, "uvicorn", CODE, "zstd").labels)
    assert labels["dev.servegen.pin"] == "saved"
    assert "/home/me" not in str(labels)
    assert (
        dict(plan(model, environment(), BASE, "uvicorn", CODE, "zstd").labels)["dev.servegen.pin"]
        == "models:/iris/3"
    )


def test_a_long_example_is_left_out_of_the_labels(model):
    long = replace(model, serving_example='{"inputs": [' + "1.0, " * 2000 + "1.0]}")
    assert "dev.servegen.example" not in dict(plan(long, environment(), BASE, "uvicorn", CODE, "zstd").labels)


@given(
    st.lists(st.text("abcdefghij", min_size=1, max_size=6), unique=True, max_size=60),
    st.text("xyz", min_size=1),
)
def test_every_package_is_in_one_layer_and_adding_one_moves_no_other_between_buckets(names, added):
    packages = [package(name, len(name)) for name in names]
    before = dict(group(packages))
    after = dict(group([*packages, package(added, 0)]))
    assert sorted(p.name for g in before.values() for p in g) == sorted(names)
    for layer, members in before.items():
        assert {p.name for p in members} <= {p.name for p in after[layer]}


def test_settings_of_the_server_change_its_environment_and_no_layer(model):
    plain = plan(model, environment(*PACKAGES), BASE, "uvicorn", CODE, "zstd")
    tuned = plan(
        model, environment(*PACKAGES), BASE, "uvicorn", CODE, "zstd", [("SERVEGEN_BATCH_MAX_ROWS", "1")]
    )
    assert keys(tuned) == keys(plain)
    assert set(tuned.env) - set(plain.env) == {("SERVEGEN_BATCH_MAX_ROWS", "1")}


def test_the_port_for_grpc_is_in_environment_and_labels(model):
    settings = [("SERVEGEN_GRPC_PORT", "9000")]
    made = plan(model, environment(*PACKAGES), BASE, "uvicorn", CODE, "zstd", settings)
    assert settings[0] in made.env
    assert dict(made.labels)["dev.servegen.grpc-port"] == "9000"


def test_tests_are_a_matter_of_the_layers_that_would_have_them(model):
    lock = environment(*PACKAGES, package("scipy", 2000), package("one-with-tests", 1999))
    lean = plan(model, lock, BASE, "uvicorn", CODE, "zstd")
    whole = plan(model, lock, BASE, "uvicorn", CODE, "zstd", keep_tests=True)
    assert {n for n in keys(lean) if keys(lean)[n] != keys(whole)[n]} == {"dep:scipy"}
    assert whole.untested == ()
    assert "scipy" in lean.untested
