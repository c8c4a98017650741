"""The bill of materials: valid CycloneDX, the same bytes for the same image, and nothing of this machine."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from servegen.attest.sbom import sbom


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
