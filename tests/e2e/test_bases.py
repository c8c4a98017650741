"""Bases and platforms with real packages: libraries that are added, other platforms, a swapped base."""

from __future__ import annotations

import json
import subprocess
import tarfile
import uuid
import zipfile
from pathlib import Path

import pytest

from servegen import errors
from tests.e2e.conftest import program
from tests.e2e.test_package import push_base, save
from tests.e2e.workspace import Workspace

pytest_plugins = ("tests.e2e.kubernetes", "tests.e2e.workspace")
pytestmark = pytest.mark.e2e
LEAN = ("--runtime", "uvicorn")


def raw(reference: str) -> dict:
    argv = ["skopeo", "inspect", "--raw", "--tls-verify=false", f"docker://{reference}"]
    return json.loads(subprocess.run(argv, check=True, capture_output=True, text=True).stdout)


def labels(reference: str) -> dict[str, str]:
    argv = ["skopeo", "inspect", "--tls-verify=false", f"docker://{reference}"]
    return json.loads(subprocess.run(argv, check=True, capture_output=True, text=True).stdout)["Labels"]


def layers(manifest: dict) -> dict[str, str]:
    """Digest by layer name."""
    return {each["annotations"]["dev.servegen.layer.name"]: each["digest"] for each in manifest["layers"]}


@pytest.fixture(scope="module")
def needy_wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel `needy`, whose library needs libatomic.so.1 and brings it not."""
    folder = tmp_path_factory.mktemp("needy")
    (folder / "empty.c").write_text("int needy(void) { return 7; }\n")
    stub = ["-shared", "-nostdlib", "-Wl,-soname,libatomic.so.1", "-o", "libatomic.so", "empty.c"]
    for arguments in (
        stub,
        ["-shared", "-Wl,--no-as-needed", "-o", "needy.so", "empty.c", "-L.", "-latomic"],
    ):
        subprocess.run([program("gcc"), *arguments], cwd=folder, check=True)
    info, tag = "needy-1.0.dist-info", "cp311-abi3-manylinux_2_28_x86_64"
    wheel = folder / "wheels" / f"needy-1.0-{tag}.whl"
    wheel.parent.mkdir()
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.write(folder / "needy.so", "needy/needy.so")
        archive.writestr("needy/__init__.py", "")
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: needy\nVersion: 1.0\n")
        archive.writestr(
            f"{info}/WHEEL", f"Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: false\nTag: {tag}\n"
        )
        names = [*archive.namelist(), f"{info}/RECORD"]
        archive.writestr(f"{info}/RECORD", "".join(f"{name},,\n" for name in names))
    return wheel.parent


@pytest.fixture(scope="module")
def tiny(cache: Path, test_registry: str, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A folder with a model of few packages, whose layers all tests here share."""
    folder = tmp_path_factory.mktemp("tiny")
    saved = save(folder, "1.0")
    place = Workspace(folder=folder, variables={"SERVEGEN_CACHE_DIR": str(cache)})
    place.configure(model=str(saved), image=f"{test_registry}/tiny-{uuid.uuid4().hex[:8]}", runtime="uvicorn")
    return place


@pytest.fixture(scope="module")
def registry_base(tiny: Workspace, test_registry: str) -> str:
    """An image with Python alone, in the registry."""
    return push_base(tiny.ok("package", "--push", "--no-verify").strip(), tiny, test_registry)


NEEDS = "float(__import__('ctypes').CDLL(__import__('needy').__path__[0] + '/needy.so').needy())"


@pytest.fixture(scope="module")
def needy(needy_wheel: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A folder with a model that loads the library of that wheel."""
    folder = tmp_path_factory.mktemp("model")
    requirements = ["mlflow", "pandas", "numpy", "needy==1.0"]
    saved = save(folder, NEEDS, pip_requirements=requirements, input_example=None)
    (saved / "serving_input_example.json").write_text('{"inputs": {"x": [1.0]}}')
    variables = {"SERVEGEN_CACHE_DIR": str(cache), "UV_FIND_LINKS": str(needy_wheel)}
    place = Workspace(folder=folder, variables=variables)
    place.configure(model=str(saved), image="needy:1", runtime="uvicorn")
    return place


def test_a_library_that_no_wheel_brings_is_added_from_debian_and_locked(needy):
    done = needy.run("package")
    assert done.returncode == 0, done.stderr
    assert "adding libatomic1 to the base" in done.stderr
    base = json.loads((needy.folder / "servegen.lock").read_text())["base"]
    assert base["found"] == ["libatomic1"]
    assert {each["name"] for each in base["packages"]} >= {"libatomic1"}
    again = needy.run("package", "--frozen")
    assert again.stdout == done.stdout
    assert not {"resolving", "assembling", "installing", "adding"} & set(again.stderr.split())


def test_a_package_that_was_asked_for_is_in_the_base_and_another_list_another_base(needy, tmp_path):
    place = Workspace(folder=tmp_path, variables=needy.variables)
    model = str(needy.folder / "saved")
    asked = ("package", model, "--tag", "asked:1", *LEAN, "--no-verify", "--apt", "libatomic1")
    done = place.run(*asked)
    assert done.returncode == 0, done.stderr
    assert "adding" not in done.stderr
    other = place.ok(*asked, "--apt", "media-types", "--apt", "libnuma1")
    assert other != done.stdout


def test_what_buildah_builds_and_the_dockerfile_have_that_library_too(needy, engine_variables, tmp_path):
    place = Workspace(folder=tmp_path, variables={**needy.variables, **engine_variables})
    place.configure(model=str(needy.folder / "saved"), image="built:1", runtime="uvicorn")
    program("buildah")
    done = place.run("package", "--dockerfile-only", "context")
    assert done.returncode == 0, done.stderr
    assert "adding libatomic1 to the base" in done.stderr
    with tarfile.open(tmp_path / "context/layers/00-base.tar") as base:
        assert [name for name in base.getnames() if name.endswith("/libatomic.so.1")]
    done = place.run("package", "--builder", "buildah", "--no-verify", "--frozen")
    assert done.returncode == 0, done.stderr
    document = json.loads(place.ok("sbom", done.stdout.strip(), "--json"))
    assert "libatomic1" in {each["name"] for each in document["components"]}
    error, hint = place.fails(errors.ConfigError.exit_code, "rebase", "built:1", "--tag", "x:1")
    assert "was built by a container engine" in error
    assert "--builder embedded" in hint


def test_on_a_registry_base_a_missing_library_is_an_error(needy, registry_base, tmp_path):
    place = Workspace(folder=tmp_path, variables=needy.variables)
    arguments = ("package", str(needy.folder / "saved"), "--tag", "x:1", *LEAN, "--base", registry_base)
    error, hint = place.fails(errors.BuildError.exit_code, *arguments)
    assert "libatomic.so.1 is in no wheel and not in the base (needed by " in error
    assert "--allow-missing-library libatomic.so.1" in hint


def test_debian_13_carries_a_model_of_python_3_13(tiny, tmp_path):
    answer = "float(__import__('sys').version_info[:2] == (3, 13))"
    saved = save(tmp_path, answer, input_example=None)
    (saved / "serving_input_example.json").write_text('{"inputs": {"x": [1.0]}}')
    (saved / "python_env.yaml").write_text("python: 3.13.5\ndependencies:\n- -r requirements.txt\n")
    reference = tiny.ok("package", str(saved), "--tag", "m313:1")
    found = json.loads(tiny.ok("inspect", reference.strip(), "--json"))
    assert (found["python"], found["glibc"]) == ("3.13", "2.41")


@pytest.fixture(scope="module")
def both(tiny: Workspace, test_registry: str) -> str:
    """An index over the tiny model for two platforms, in the registry."""
    tag = f"{test_registry}/both:1"
    done = tiny.run("package", "--tag", tag, "--push", "--platform", "linux/arm64,linux/amd64")
    assert done.returncode == 0, done.stderr
    assert "linux/arm64 cannot be run here" in done.stderr
    return done.stdout.strip()


def test_two_platforms_are_one_index_whose_images_share_code_and_model(both):
    index = raw(both)
    assert [each["platform"]["architecture"] for each in index["manifests"]] == ["amd64", "arm64"]
    name = both.partition("@")[0]
    amd64, arm64 = (layers(raw(f"{name}@{each['digest']}")) for each in index["manifests"])
    shared = {layer for layer in amd64 if amd64[layer] == arm64.get(layer)}
    assert shared >= {"code", "model"}
    assert not shared & {"base", "dep:numpy", "dep:pandas"}


def test_a_lock_for_two_platforms_serves_each_of_them(both, tiny):
    lock = json.loads((tiny.folder / "servegen.lock").read_text())
    assert lock["image"] == both.partition("@")[2]
    assert lock["environment"]["platform"] == "linux/amd64"
    assert [each["environment"]["platform"] for each in lock["also"]] == ["linux/arm64"]
    assert any("aarch64" in each["file"] for each in lock["also"][0]["packages"])
    assert not any("aarch64" in each["file"] for each in lock["packages"])
    for platform in ("linux/arm64", "linux/amd64"):
        tiny.ok("lock", "--frozen", "--platform", platform)


def test_manifests_name_the_index_so_that_nodes_of_both_kinds_can_pull(both, tiny):
    assert f'"{both}"' in tiny.ok("render", both.partition("@")[0] + ":1")
    assert json.loads(tiny.ok("inspect", both, "--json"))["reference"] == both
    tiny.ok("verify", both)


def test_layout_and_archive_hold_the_index(both, tiny, tmp_path):
    arguments = ("package", "--tag", "both:1", "--platform", "linux/amd64,linux/arm64", "--no-verify")
    for output in (f"oci:{tmp_path}/layout", f"{tmp_path}/image.tar"):
        assert tiny.ok(*arguments, "-o", output).strip().partition("@")[2] == both.partition("@")[2]
    argv = ["skopeo", "inspect", "--raw", f"oci:{tmp_path}/layout:1"]
    assert json.loads(subprocess.run(argv, check=True, capture_output=True, text=True).stdout) == raw(both)
    subprocess.run(
        ["skopeo", "--override-arch", "arm64", "inspect", f"oci-archive:{tmp_path}/image.tar"],
        check=True,
        capture_output=True,
    )
    argv = ["skopeo", "inspect", "--config", f"docker-archive:{tmp_path}/image.tar"]
    config = json.loads(subprocess.run(argv, check=True, capture_output=True, text=True).stdout)
    assert config["architecture"] == "amd64"


def test_a_base_is_swapped_without_a_wheel_and_the_documents_with_it(
    tiny, registry_base, test_registry, tmp_path
):
    tag = f"{test_registry}/swapped:1"
    place = Workspace(folder=tmp_path, variables=tiny.variables)
    argv = ("package", str(tiny.folder / "saved"), "--tag", tag, *LEAN, "--base", registry_base, "--push")
    before = place.ok(*argv, "--no-verify").strip()
    empty = Workspace(folder=tmp_path, variables={"SERVEGEN_CACHE_DIR": str(tmp_path / "cache")})
    done = empty.run("rebase", tag, "--base", "debian", "--push", PATH=str(tmp_path))
    assert done.returncode == 0, done.stderr
    after = done.stdout.strip()
    assert raw(tag) == raw(after) != raw(before)
    old, new = raw(before)["layers"], raw(after)["layers"]
    assert [each["digest"] for each in old[1:]] == [each["digest"] for each in new[1:]]
    assert labels(before)["org.opencontainers.image.base.name"] == registry_base
    assert labels(after)["org.opencontainers.image.base.name"] == "debian:bookworm"
    purls = {c.get("purl", "") for c in json.loads(empty.ok("sbom", after, "--json"))["components"]}
    assert {purl.partition("/")[0] for purl in purls if purl} == {"pkg:deb", "pkg:pypi"}
    assert [purl for purl in purls if purl.startswith("pkg:pypi/numpy@")]
    again = empty.run("rebase", tag, "--push")
    assert again.stdout == done.stdout
    assert "on the newest debian:bookworm already" in again.stderr


def test_an_index_is_rebased_as_a_whole_and_a_stranger_is_refused(both, tiny, test_registry):
    assert (
        tiny.ok("rebase", both, "--tag", f"{test_registry}/both:2", "--push")
        .strip()
        .endswith(both.partition("@")[2])
    )
    base = push_base(both, tiny, test_registry)
    error, _ = tiny.fails(errors.ConfigError.exit_code, "rebase", base, "--tag", "x:1")
    assert "was not packaged by servegen" in error
    error, _ = tiny.fails(
        errors.BaseImageError.exit_code,
        "rebase",
        both,
        "--base",
        f"{test_registry}/both:1",
        "--tag",
        "x:1",
        "--base-python",
        "/usr/bin/python3",
    )
    assert "has Python at /usr/bin/python3" in error
