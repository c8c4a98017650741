"""Keys for signatures: PEM files, plain, encrypted (PKCS 8) or as cosign writes them."""

from __future__ import annotations

from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
)
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key

from servegen.attest import cosignkey
from servegen.errors import ConfigError

_PASSWORD = "SERVEGEN_SIGN_PASSWORD or COSIGN_PASSWORD holds its password"  # noqa: S105 (no password)
_MAKE = "openssl ecparam -genkey -name prime256v1 -noout -out key.pem makes one, and so does cosign"


def private_key(path: Path, password: str | None) -> EllipticCurvePrivateKey:
    """The key to sign with; ConfigError when the file holds none that the password opens."""
    data = _read(path)
    secret = None if password is None else password.encode()
    if secret is None and b"ENCRYPTED" in data:
        msg = f"the key {path} is encrypted"
        raise ConfigError(msg, hint=_PASSWORD)
    try:
        if cosignkey.is_one(data):
            data, secret = cosignkey.opened(data, secret or b""), None
        elif b"ENCRYPTED" not in data:
            # The variable may be set for another key.
            secret = None
        key = load_pem_private_key(data, secret)
    except (ValueError, TypeError, UnsupportedAlgorithm) as exc:
        encrypted = secret is not None or b"ENCRYPTED" in data
        msg = f"the key {path} cannot be read" + (" with this password" if encrypted else "")
        raise ConfigError(msg, hint=_PASSWORD if encrypted else _MAKE) from exc
    if not isinstance(key, EllipticCurvePrivateKey) or not isinstance(key.curve, SECP256R1):
        msg = f"the key {path} is not an ECDSA key on the curve P-256"
        raise ConfigError(msg, hint=_MAKE)
    return key


def public_key(path: Path) -> EllipticCurvePublicKey:
    """The key to check with; ConfigError when the file holds none."""
    data = _read(path)
    try:
        key = load_pem_public_key(data)
    except (ValueError, UnsupportedAlgorithm) as exc:
        what = "holds a private key" if b"PRIVATE KEY" in data else "holds no public key in PEM form"
        msg = f"{path} {what}"
        raise ConfigError(msg, hint=f"openssl ec -in KEY -pubout -out {path.name}, or cosign.pub") from exc
    if not isinstance(key, EllipticCurvePublicKey) or not isinstance(key.curve, SECP256R1):
        msg = f"the key {path} is not an ECDSA key on the curve P-256"
        raise ConfigError(msg, hint="name the public half of the key that --sign-key had")
    return key


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as exc:
        msg = f"the key {path} cannot be read: {exc.strerror}"
        raise ConfigError(msg, hint="name a PEM file that this user may read") from exc
