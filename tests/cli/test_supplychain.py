"""`servegen sbom` and `servegen verify-image`, as typed."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from servegen import errors
from servegen.attest import PROVENANCE, SBOM, Wanted, attest, publish
from servegen.values.attestation import BuildRun
from tests.attest.conftest import client, fake, image, key, lock, make_layer, recorder, store, stored

__all__ = ["client", "fake", "image", "key", "lock", "make_layer", "recorder", "store", "stored"]


@pytest.fixture
def published(stored, lock, key, client, recorder):
    types = frozenset({SBOM, PROVENANCE})
    attest(stored, lock, Wanted(types=types, parameters={}, run=BuildRun()))
    publish(stored, types, key, client, recorder)
    return f"{stored.image.ref.name}:3"


@pytest.fixture
def typed(tmp_path):
    """What a command prints and ends with, on a machine that has nothing of the image."""

    def run(*arguments):
        env = {**os.environ, "SERVEGEN_CACHE_DIR": str(tmp_path / "own")}
        argv = [sys.executable, "-m", "servegen", *arguments]
        return subprocess.run(argv, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)

    return run


def test_the_bill_of_materials_is_a_list_or_the_document(published, typed):
    rows = [line.split() for line in typed("sbom", published).stdout.splitlines()]
    assert ["python", "numpy", "2.4.6"] in rows
    assert ["debian", "libcrypt1", "1:4.4.33-2"] in rows
    assert ["machine-learning-model", "iris", "3"] in rows
    assert json.loads(typed("sbom", published, "--json").stdout)["specVersion"] == "1.6"


def test_an_image_without_one_is_an_error(stored, typed):
    done = typed("sbom", f"{stored.image.ref.name}:3")
    assert done.returncode == errors.ImageNotFoundError.exit_code
    assert "has no SBOM" in done.stderr


def test_a_signed_image_is_confirmed(published, stored, key, typed, tmp_path):
    pem = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (tmp_path / "key.pub").write_bytes(pem)
    done = typed("verify-image", published, "--key", "key.pub")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(stored.image.ref.pinned)
    found = json.loads(typed("verify-image", published, "--key", "key.pub", "--json").stdout)
    assert found["image"] == stored.image.ref.pinned
    assert sorted(found["documents"]) == ["SBOM", "provenance"]


def test_an_unsigned_image_has_an_exit_code_of_its_own(stored, key, typed, tmp_path):
    pem = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (tmp_path / "key.pub").write_bytes(pem)
    done = typed("verify-image", f"{stored.image.ref.name}:3", "--key", "key.pub")
    assert done.returncode == errors.UnsignedError.exit_code
    assert done.stdout == ""


def test_a_key_that_cannot_be_used_is_known_before_the_model_is_looked_at(typed):
    done = typed("package", "./absent", "--tag", "127.0.0.1:9/x", "--push", "--sign-key", "absent.pem")
    assert done.returncode == errors.ConfigError.exit_code
    assert "absent.pem cannot be read" in done.stderr


def test_a_key_without_a_push_is_a_usage_error(typed):
    assert typed("package", "./absent", "--sign-key", "absent.pem").returncode == 2
