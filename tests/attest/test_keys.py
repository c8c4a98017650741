"""Private and public keys in the forms that openssl and cosign write."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from servegen.attest.cosignkey import opened, unboxed
from servegen.attest.keys import private_key, public_key
from servegen.config import environment
from servegen.errors import ConfigError

HERE = Path(__file__).parent


def pem(key, form=PrivateFormat.PKCS8, password: bytes | None = None) -> bytes:
    encryption = BestAvailableEncryption(password) if password else NoEncryption()
    return bytes(key.private_bytes(Encoding.PEM, form, encryption))


@pytest.mark.parametrize("form", [PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL])
def test_a_plain_key_needs_no_password_and_minds_none(tmp_path, key, form):
    file = tmp_path / "key.pem"
    file.write_bytes(pem(key, form))
    for password in (None, "of another key"):
        assert private_key(file, password).private_numbers() == key.private_numbers()


@pytest.mark.parametrize("form", [PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL])
def test_an_encrypted_key_is_opened_by_its_password_alone(tmp_path, key, form):
    file = tmp_path / "key.pem"
    file.write_bytes(pem(key, form, b"s3cret"))
    assert private_key(file, "s3cret").private_numbers() == key.private_numbers()
    for password in (None, "", "wrong"):
        with pytest.raises(ConfigError) as caught:
            private_key(file, password)
        assert "COSIGN_PASSWORD" in caught.value.hint
        assert "s3cret" not in str(caught.value)


def test_a_key_that_cosign_made_is_opened_by_its_password_alone():
    """cosign.key and cosign.pub were written by cosign 2.6.5, with the password `correct horse`."""
    key = private_key(HERE / "cosign.key", "correct horse")
    assert key.public_key() == public_key(HERE / "cosign.pub")
    with pytest.raises(ConfigError, match="with this password"):
        private_key(HERE / "cosign.key", "wrong horse")
    with pytest.raises(ConfigError, match="is encrypted"):
        private_key(HERE / "cosign.key", None)


def test_a_box_is_opened_as_nacl_says():
    """The example of "Cryptography in NaCl" (D. J. Bernstein), section 10."""
    key = bytes.fromhex("1b27556473e985d462cd51197a9a46c76009549eac6474f206c4ee0844f68389")
    nonce = bytes.fromhex("69696ee955b62b73cd62bda875fc73d68219e0036b7a0b37")
    box = bytes.fromhex(
        "f3ffc7703f9400e52a7dfb4b3d3305d98e993b9f48681273c29650ba32fc76ce48332ea7164d96a4476fb8c531a1186a"
        "c0dfc17c98dce87b4da7f011ec48c97271d2c20f9b928fe2270d6fb863d51738b48eeee314a7cc8ab932164548e526ae"
        "90224368517acfeabd6bb3732bc0e9da99832b61ca01b6de56244a9e88d5f9b37973f622a43d14a6599b1f654cb45a74"
        "e355a5"
    )
    plain = bytes.fromhex(
        "be075fc53c81f2d5cf141316ebeb0c7b5228c52a4c62cbd44b66849b64244ffce5ecbaaf33bd751a1ac728d45e6c6129"
        "6cdc3c01233561f41db66cce314adb310e3be8250c46f06dceea3a7fa1348057e2f6556ad6b1318a024a838f21af1fde"
        "048977eb48f59ffd4924ca1c60902e52f0a089bc76897040e082f937763848645e0705"
    )
    assert unboxed(box, nonce, key) == plain


def test_a_cosign_key_with_other_means_of_encryption_is_refused():
    box = {"kdf": {"name": "argon2"}, "cipher": {"name": "nacl/secretbox"}, "ciphertext": ""}
    text = base64.encodebytes(json.dumps(box).encode())
    start, end = (f"-----{word} ENCRYPTED SIGSTORE PRIVATE KEY-----\n".encode() for word in ("BEGIN", "END"))
    with pytest.raises(ValueError, match="other means"):
        opened(start + text + end, b"x")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "cannot be read"),
        (b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "cannot be read"),
        (pem(rsa.generate_private_key(65537, 2048)), "not an ECDSA key on the curve P-256"),
        (pem(ec.generate_private_key(ec.SECP384R1())), "not an ECDSA key on the curve P-256"),
    ],
)
def test_what_is_no_key_of_ours_is_refused(tmp_path, content, words):
    file = tmp_path / "key.pem"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=words):
        private_key(file, None)


def test_a_private_key_is_not_taken_for_a_public_one(tmp_path, key):
    file = tmp_path / "key.pem"
    file.write_bytes(pem(key))
    with pytest.raises(ConfigError, match="holds a private key"):
        public_key(file)
    file.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    assert public_key(file) == key.public_key()


def test_an_absent_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match="No such file"):
        private_key(tmp_path / "absent", None)


def test_the_password_reaches_no_program_that_is_started():
    found = environment({"COSIGN_PASSWORD": "two", "SERVEGEN_SIGN_PASSWORD": "one", "PATH": "/bin"})
    assert found.sign_password == "one"
    assert not set(found.variables) & {"COSIGN_PASSWORD", "SERVEGEN_SIGN_PASSWORD"}
    assert environment({"COSIGN_PASSWORD": ""}).sign_password == ""
    assert environment({}).sign_password is None
