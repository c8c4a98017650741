"""The bill of materials: valid CycloneDX, the same bytes for the same image, and nothing of this machine."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from servegen.attest.sbom import rebased_sbom, sbom
from servegen.errors import RegistryError


@pytest.fixture
def document(image, lock):
    return json.loads(sbom(image, lock))


def test_it_lists_model_wheels_and_debian_packages(document):
    purls = {c["purl"] for c in document["components"] if "purl" in c}
    assert purls == {
        "pkg:mlflow/iris@3?run_id=r1",
        "pkg:pypi/numpy@2.4.6",
        "pkg:pypi/torch@2.9%2Bcpu",
        "pkg:deb/debian/libcrypt1@1:4.4.33-2?arch=amd64&distro=debian-12",
        "pkg:deb/debian/tzdata@2026f-0%2Bdeb12u1?arch=all&distro=debian-12",
    }


def test_the_model_has_its_digest_version_and_run(document):
    (model,) = (c for c in document["components"] if c["type"] == "machine-learning-model")
    assert (model["name"], model["version"]) == ("iris", "3")
    assert model["hashes"] == [{"alg": "SHA-256", "content": "a" * 64}]
    facts = {p["name"]: p["value"] for p in model["properties"]}
    assert facts["servegen:run-id"] == "r1"
    assert facts["servegen:mlflow-version"] == "3.17.2"


def test_a_wheel_has_the_hash_of_its_file(document):
    (numpy,) = (c for c in document["components"] if c["name"] == "numpy")
    assert numpy["hashes"] == [{"alg": "SHA-256", "content": "1" * 64}]


def test_the_image_depends_on_everything_in_it(document):
    edges = {d["ref"]: set(d.get("dependsOn", ())) for d in document["dependencies"]}
    assert edges[document["metadata"]["component"]["bom-ref"]] == {
        c["bom-ref"] for c in document["components"]
    }


def test_it_is_about_the_digest_and_told_at_no_time(document, image):
    assert document["metadata"]["component"]["version"] == image.ref.digest
    assert document["metadata"]["timestamp"].startswith("1970-01-01T00:00:00")
    assert document["serialNumber"].startswith("urn:uuid:")


def test_equal_inputs_give_equal_bytes_and_another_digest_another_number(image, lock, document):
    assert sbom(image, lock) == sbom(image, lock)
    other = replace(image, ref=image.ref.at("sha256:" + "9" * 64))
    assert json.loads(sbom(other, lock))["serialNumber"] != document["serialNumber"]


def test_the_name_of_the_repository_changes_nothing(image, lock):
    """The document is about a digest, wherever the image is copied to."""
    moved = replace(image, ref=replace(image.ref, registry="mirror.example.com", repository="x", tag="9"))
    assert sbom(moved, lock) == sbom(image, lock)


@pytest.mark.parametrize("kind", ["lock", "foreign"])
def test_it_is_valid_cyclonedx(image, kind, request):
    text = sbom(image, request.getfixturevalue(kind)).decode()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None


def test_a_base_whose_packages_are_unknown_is_one_component(image, foreign):
    labels = dict(image.labels) | {"org.opencontainers.image.base.name": "example.com/python:3.11"}
    components = json.loads(sbom(replace(image, labels=tuple(labels.items())), foreign))["components"]
    (base,) = (c for c in components if c["type"] == "container")
    assert (base["name"], base["version"]) == ("example.com/python:3.11", "sha256:" + "b" * 64)
    assert not [c for c in components if c.get("purl", "").startswith("pkg:deb")]


@pytest.fixture
def mixed(lock):
    """A lock with a wheel that the model brought and one that was built from source."""
    numpy, torch = lock.environment.packages
    own = replace(numpy, name="own", version="1.0", path="wheels/own-1.0-py3-none-any.whl")
    built = replace(torch, name="built", version="2.0", sdist="5" * 64)
    return replace(lock, environment=replace(lock.environment, packages=(own, built)))


def test_a_wheel_that_the_model_brought_is_not_taken_for_the_one_of_that_name_on_an_index(image, mixed):
    found = {c["name"]: c for c in json.loads(sbom(image, mixed))["components"]}
    assert found["own"]["purl"] == "pkg:generic/own@1.0"
    notes = {p["name"]: p["value"] for p in found["own"]["properties"]}
    assert notes == {"servegen:source": "the model", "servegen:path": "wheels/own-1.0-py3-none-any.whl"}


def test_a_wheel_that_was_built_here_says_of_which_source_distribution(image, mixed):
    found = {c["name"]: c for c in json.loads(sbom(image, mixed))["components"]}
    assert found["built"]["purl"] == "pkg:pypi/built@2.0"
    notes = {p["name"]: p["value"] for p in found["built"]["properties"]}
    assert notes == {"servegen:source": "built from source", "servegen:sdist-sha256": "5" * 64}


@pytest.mark.parametrize("kind", ["lock", "foreign"])
def test_on_another_base_it_is_what_packaging_on_that_base_would_have_given(image, mixed, kind, request):
    new = replace(mixed, base=request.getfixturevalue(kind).base)
    swapped = replace(image, ref=image.ref.at("sha256:" + "9" * 64))
    for old in (mixed, request.getfixturevalue("foreign")):
        before = sbom(image, replace(old, environment=mixed.environment))
        assert rebased_sbom(swapped, dict(new.base), before) == sbom(swapped, new)


@pytest.mark.parametrize("old", [b"{", b"[]", b"{}", b'{"components":[{"type":"library"}]}'])
def test_an_sbom_that_is_none_of_ours_cannot_be_carried_over(image, old):
    with pytest.raises(RegistryError, match="cannot be read"):
        rebased_sbom(image, {}, old)


def test_what_a_wheel_requires_and_the_image_lacks_is_told_and_stays_told(image, lock):
    written = sbom(image, lock)
    again = rebased_sbom(image, dict(lock.base), written)
    for document in map(json.loads, (written, again)):
        assert {"name": "servegen:left-out", "value": "protobuf==7.1.0"} in document["metadata"]["component"][
            "properties"
        ]
        assert "protobuf" not in {c["name"] for c in document["components"]}
