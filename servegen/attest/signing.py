"""Signatures over digests that cosign understands: simple signing, ECDSA P-256 with SHA-256."""

from __future__ import annotations

import base64
import binascii
import json

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import (
    ECDSA,
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
)
from cryptography.hazmat.primitives.hashes import SHA256

from servegen.oci.descriptor import canonical
from servegen.oci.repository import Repository
from servegen.oci.signatures import Signature, add_signature, signatures
from servegen.oci.store import Store

TYPE = "cosign container image signature"


def sign(name: str, digest: str, key: EllipticCurvePrivateKey) -> Signature:
    """A signature of the manifest `digest` in the repository `name`."""
    payload = canonical(
        {
            "critical": {
                "identity": {"docker-reference": name},
                "image": {"docker-manifest-digest": digest},
                "type": TYPE,
            },
            "optional": None,
        }
    )
    value = key.sign(payload, ECDSA(SHA256()))
    return Signature(payload=payload, value=base64.b64encode(value).decode())


def is_made_with(signature: Signature, key: EllipticCurvePublicKey) -> bool:
    """Whether the signature over its payload is by this key."""
    try:
        key.verify(base64.b64decode(signature.value, validate=True), signature.payload, ECDSA(SHA256()))
    except (InvalidSignature, binascii.Error):
        return False
    return True


def signed_digest(signature: Signature) -> str | None:
    """The digest that the payload is about; None for a payload of another form."""
    try:
        critical = json.loads(signature.payload)["critical"]
        return str(critical["image"]["docker-manifest-digest"]) if critical["type"] == TYPE else None
    except (ValueError, KeyError, TypeError):
        return None


def is_signed(repository: Repository, digest: str, key: EllipticCurvePublicKey) -> bool:
    """Whether the registry has a signature of `digest` by this key."""
    return any(
        signed_digest(each) == digest and is_made_with(each, key) for each in signatures(repository, digest)
    )


def sign_digest(
    name: str, digest: str, key: EllipticCurvePrivateKey, repository: Repository, store: Store
) -> bool:
    """Sign `digest` in the registry unless this key did before; returns whether it was signed now."""
    public = key.public_key()

    def is_ours(signature: Signature) -> bool:
        return signed_digest(signature) == digest and is_made_with(signature, public)

    return add_signature(repository, store, digest, lambda: sign(name, digest, key), is_ours)
