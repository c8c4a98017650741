"""The statement of how an image was made (SLSA provenance v1)."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from servegen.attest.provenance import provenance, rebase_provenance
from servegen.config import Config, environment
from servegen.job import Job, wanted_documents
from servegen.values.attestation import LOCAL, BuildRun


@pytest.fixture
def statement(image, lock):
    return json.loads(provenance(image, lock, {"runtime": "uvicorn"}, BuildRun()))


def test_its_subject_is_the_image(statement, image):
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    assert statement["predicateType"] == "https://slsa.dev/provenance/v1"
    digest = str(image.ref.digest).removeprefix("sha256:")
    assert statement["subject"] == [{"name": "iris", "digest": {"sha256": digest}}]


def test_it_names_what_was_asked_for_and_what_it_became(statement):
    definition = statement["predicate"]["buildDefinition"]
    assert definition["externalParameters"] == {
        "model": "models:/iris@champion",
        "options": {"runtime": "uvicorn"},
    }
    found = {d["uri"]: d["digest"]["sha256"] for d in definition["resolvedDependencies"]}
    assert found["models:/iris/3"] == "a" * 64
    assert found["debian:bookworm"] == "b" * 64
    assert found["pkg:pypi/numpy@2.4.6"] == "1" * 64
    assert found["pkg:deb/debian/tzdata@2026f-0%2Bdeb12u1?arch=all&distro=debian-12"] == "4" * 64


def test_a_base_from_a_registry_is_named_by_its_digest(image, foreign):
    labels = dict(image.labels) | {"org.opencontainers.image.base.name": "example.com/python:3.11"}
    moved = replace(image, labels=tuple(labels.items()))
    definition = json.loads(provenance(moved, foreign, {}, BuildRun()))["predicate"]["buildDefinition"]
    (base,) = (d for d in definition["resolvedDependencies"] if d["name"] == "base")
    assert base["uri"] == "pkg:oci/python@sha256:" + "b" * 64


def test_the_builder_is_the_ci_service_that_says_so(image, lock):
    run = environment(
        {
            "GITHUB_ACTIONS": "true",
            "GITHUB_SERVER_URL": "https://git.example.com",
            "GITHUB_REPOSITORY": "me/iris",
            "GITHUB_WORKFLOW_REF": "me/iris/.github/workflows/ship.yml@refs/heads/main",
            "GITHUB_RUN_ID": "7",
        }
    ).build_run
    details = json.loads(provenance(image, lock, {}, run))["predicate"]["runDetails"]
    builder = "https://git.example.com/me/iris/.github/workflows/ship.yml@refs/heads/main"
    assert details["builder"]["id"] == builder
    assert details["metadata"] == {"invocationId": "https://git.example.com/me/iris/actions/runs/7"}


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"USER": "me", "HOSTNAME": "laptop"}, BuildRun(builder=LOCAL)),
        (
            {
                "GITLAB_CI": "true",
                "CI_PROJECT_URL": "https://git.example.com/me/iris",
                "CI_RUNNER_ID": "4",
                "CI_JOB_URL": "https://git.example.com/me/iris/-/jobs/5",
            },
            BuildRun(
                builder="https://git.example.com/me/iris/-/runners/4",
                invocation="https://git.example.com/me/iris/-/jobs/5",
            ),
        ),
        (
            {"JENKINS_URL": "https://ci.example.com/", "BUILD_URL": "https://ci.example.com/job/iris/3/"},
            BuildRun(builder="https://ci.example.com/", invocation="https://ci.example.com/job/iris/3/"),
        ),
        ({"SERVEGEN_BUILDER_ID": "https://build.example.com"}, BuildRun(builder="https://build.example.com")),
    ],
)
def test_services_are_known_by_their_variables(variables, expected):
    assert environment(variables).build_run == expected


def test_no_place_of_a_requirement_is_told():
    lines = ("scipy>=1.10", "mine @ https://me:secret@wheels.example.com/mine-1.whl", "/home/me/own-2.whl")
    config = Config(requirements=lines, index_url="https://wheels.example.com/simple")
    job = Job(config=config, environment=environment({}), lock_file=None)
    parameters = wanted_documents(job).parameters
    assert parameters["requirements"] == ["scipy>=1.10", "mine", "own-2.whl"]
    assert "example.com" not in json.dumps(parameters)


def test_of_an_image_on_another_base_it_names_the_image_it_was_made_of(image, lock):
    old = replace(image.ref, digest="sha256:" + "8" * 64)
    statement = json.loads(rebase_provenance(image, dict(lock.base), old, {"base": "debian"}, BuildRun()))
    definition = statement["predicate"]["buildDefinition"]
    assert definition["buildType"].endswith("/rebase/v1")
    assert definition["externalParameters"] == {"image": "iris", "options": {"base": "debian"}}
    found = {d["name"]: d["digest"]["sha256"] for d in definition["resolvedDependencies"]}
    assert found["image"] == "8" * 64
    assert found["base"] == "b" * 64
    assert found["tzdata_2026f-0+deb12u1_all.deb"] == "4" * 64
    assert old.registry not in json.dumps(statement)
