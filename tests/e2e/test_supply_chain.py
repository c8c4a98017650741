"""SBOM, provenance and signature of the iris image, checked by syft, openssl and skopeo."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from packageurl import PackageURL

from servegen import errors
from servegen.attest import PROVENANCE, SBOM
from tests.e2e.conftest import program
from tests.e2e.repositories import Workshop
from tests.e2e.workspace import Workspace

pytest_plugins = ("tests.e2e.workspace",)
pytestmark = pytest.mark.e2e

SYFT = Path(sys.executable).with_name("syft")
NEW_KEY = ("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out")
PASSWORD = {"SERVEGEN_SIGN_PASSWORD": "correct horse"}


@pytest.fixture(scope="module")
def place(
    trained: Path, cache: Path, docker_registry: str, tmp_path_factory: pytest.TempPathFactory
) -> Workspace:
    """A folder of its own with the model, and a registry without the referrers API."""
    folder = tmp_path_factory.mktemp("supply")
    shutil.copy(trained / "mlflow.db", folder)
    if (trained / "servegen.lock").exists():
        # Other tests made it, and the layers that go with it.
        shutil.copy(trained / "servegen.lock", folder)
    place = Workspace(folder=folder, variables={"SERVEGEN_CACHE_DIR": str(cache)})
    place.configure(model="models:/iris@champion", image=f"{docker_registry}/iris")
    password = f"pass:{PASSWORD['SERVEGEN_SIGN_PASSWORD']}"
    openssl(folder, *NEW_KEY, "key.pem", "-aes256", "-pass", password)
    openssl(folder, "pkey", "-in", "key.pem", "-passin", password, "-pubout", "-out", "key.pub")
    return place


def openssl(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        [program("openssl"), *arguments], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def packaged(place: Workspace) -> str:
    """Reference of the signed image."""
    return place.ok("package", "--push", "--sign-key", "key.pem", **PASSWORD).strip()


def get(packaged: str, rest: str) -> bytes:
    """A manifest or blob of the image's repository."""
    host, _, name = packaged.partition("@")[0].partition("/")
    accept = "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json"
    request = urllib.request.Request(f"http://{host}/v2/{name}/{rest}", headers={"Accept": accept})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return bytes(answer.read())


def attached(packaged: str, artifact_type: str) -> dict[str, Any]:
    """The document that the fallback tag lists."""
    digest = packaged.partition("@")[2]
    entries = json.loads(get(packaged, f"manifests/{digest.replace(':', '-')}"))["manifests"]
    (entry,) = (each for each in entries if each["artifactType"] == artifact_type)
    manifest = json.loads(get(packaged, f"manifests/{entry['digest']}"))
    assert manifest["subject"]["digest"] == digest
    document: dict[str, Any] = json.loads(get(packaged, f"blobs/{manifest['layers'][0]['digest']}"))
    return document


def packages(document: dict[str, Any]) -> set[tuple[str, str | None, str, str | None]]:
    """Type, namespace, name and version of the packages in a CycloneDX document."""
    purls = [PackageURL.from_string(c["purl"]) for c in document["components"] if c.get("purl")]
    return {(p.type, p.namespace, p.name, p.version) for p in purls}


def test_syft_finds_the_packages_of_our_sbom_and_none_more(packaged: str, place: Workspace) -> None:
    argv = [str(SYFT), "scan", f"registry:{packaged}", "-q", "-o", "cyclonedx-json"]
    found = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
    ours = {p for p in packages(json.loads(place.ok("sbom", packaged, "--json"))) if p[0] != "mlflow"}
    assert packages(json.loads(found.stdout)) == ours
    assert {kind for kind, *_ in ours} == {"deb", "pypi"}


def test_the_registry_holds_what_the_commands_print(packaged: str, place: Workspace) -> None:
    assert attached(packaged, SBOM) == json.loads(place.ok("sbom", packaged, "--json"))
    statement = attached(packaged, PROVENANCE)
    assert f"sha256:{statement['subject'][0]['digest']['sha256']}" == packaged.partition("@")[2]


def test_nothing_of_this_machine_is_in_the_documents(packaged: str, place: Workspace) -> None:
    text = json.dumps([attached(packaged, SBOM), attached(packaged, PROVENANCE)])
    known = (
        "https://servegen.dev/",
        "https://slsa.dev/",
        "https://in-toto.io/",
        "models:/",
        "http://cyclonedx.org/",
    )
    for address in known:
        text = text.replace(address, "")
    assert "://" not in text
    assert str(place.folder) not in text


def test_a_second_run_sends_nothing(packaged: str, place: Workspace) -> None:
    done = place.run("package", "--push", "--sign-key", "key.pem", **PASSWORD)
    assert done.stdout.strip() == packaged
    assert not [word for word in ("sent", "attached", "signed") if word in done.stderr]


def test_an_empty_machine_makes_the_same_documents_without_a_layer(
    packaged: str, place: Workspace, tmp_path: Path
) -> None:
    for name in ("servegen.yaml", "servegen.lock", "mlflow.db"):
        shutil.copy(place.folder / name, tmp_path / name)
    other = Workspace(folder=tmp_path, variables={"SERVEGEN_CACHE_DIR": str(tmp_path / "cache")})
    assert other.ok("package", "--push", "--frozen", "--no-verify").strip() == packaged
    assert other.ok("sbom", packaged, "--json") == place.ok("sbom", packaged, "--json")
    fetched = sum(blob.stat().st_size for blob in (tmp_path / "cache/oci/blobs/sha256").iterdir())
    assert fetched < 1_000_000


def test_the_signature_is_verified_by_ourselves_and_by_openssl(packaged: str, place: Workspace) -> None:
    assert place.ok("verify-image", packaged, "--key", "key.pub").startswith(packaged)
    manifest = json.loads(get(packaged, f"manifests/{packaged.partition('@')[2].replace(':', '-')}.sig"))
    (layer,) = manifest["layers"]
    (place.folder / "payload").write_bytes(get(packaged, f"blobs/{layer['digest']}"))
    value = base64.b64decode(layer["annotations"]["dev.cosignproject.cosign/signature"])
    (place.folder / "signature").write_bytes(value)
    openssl(place.folder, "dgst", "-sha256", "-verify", "key.pub", "-signature", "signature", "payload")


def test_only_what_is_signed_and_answers_as_the_model_does_goes_on_to_production(
    packaged: str, place: Workspace, docker_registry: str, tmp_path: Path
) -> None:
    shop = Workshop.at(tmp_path / "git")
    remote = shop.bare()
    variables = {name: value for name, value in shop.variables.items() if name.startswith("GIT_")}
    desk = Workspace(folder=tmp_path, variables=place.variables | variables)
    environments = {"staging": {}, "production": {"git": {"mode": "commit"}}}
    desk.configure(model="models:/iris@champion", git={"repo": str(remote)}, environments=environments)
    deploy = ("deploy", "--target", "git", "--env", "staging")
    promote = ("promote", "iris", "--from", "staging", "--to", "production", "--no-cluster", "--require")
    key = str(place.folder / "key.pub")
    openssl(tmp_path, *NEW_KEY, "b.pem")
    openssl(tmp_path, "pkey", "-in", "b.pem", "-pubout", "-out", "b.pub")
    # The image without its signature, as a copy of other programs is.
    copy = f"{docker_registry}/unsigned/iris:1"
    argv = ["copy", "-q", "--preserve-digests", "--src-tls-verify=false", "--dest-tls-verify=false"]
    subprocess.run([program("skopeo"), *argv, f"docker://{packaged}", f"docker://{copy}"], check=True)
    desk.ok(*deploy, copy)
    code = errors.PromotionError.exit_code
    error, hint = desk.fails(code, *promote, "signed", "--key", key)
    assert error.endswith("signed: not by key.pub")
    assert "--sign-key" in hint
    desk.ok(*deploy, packaged)
    error, _ = desk.fails(code, *promote, "verified,signed", "--key", "b.pub")
    assert error.endswith("signed: not by b.pub")
    desk.fails(errors.ConfigError.exit_code, *promote, "signed", "--key", str(place.folder / "key.pem"))
    assert desk.run(*promote, "signed").returncode == 2
    assert len(shop.log(remote)) == 3
    commit = desk.ok(*promote, "verified,signed", "--key", key).strip()
    body = shop.git("show", "-s", "--format=%B", commit, at=remote)
    assert body.startswith("chore(iris/production): promote models:/iris/")
    assert "- signed: yes (by key.pub)" in body
    assert "- verified: yes (answers as the model does, run with " in body
    assert f"Servegen-Image: {packaged}" in body


def test_another_key_an_unsigned_image_and_a_wrong_password_are_told_apart(
    packaged: str, place: Workspace, docker_registry: str
) -> None:
    openssl(place.folder, *NEW_KEY, "b.pem")
    openssl(place.folder, "pkey", "-in", "b.pem", "-pubout", "-out", "b.pub")
    place.fails(errors.WrongKeyError.exit_code, "verify-image", packaged, "--key", "b.pub")
    # skopeo copies the image, and neither its documents nor its signature.
    copy = f"{docker_registry}/copied:1"
    argv = ["copy", "-q", "--preserve-digests", "--src-tls-verify=false", "--dest-tls-verify=false"]
    subprocess.run([program("skopeo"), *argv, f"docker://{packaged}", f"docker://{copy}"], check=True)
    place.fails(errors.UnsignedError.exit_code, "verify-image", copy, "--key", "key.pub")
    wrong = {"SERVEGEN_SIGN_PASSWORD": "wrong"}
    place.fails(errors.ConfigError.exit_code, "package", "--push", "--sign-key", "key.pem", **wrong)
