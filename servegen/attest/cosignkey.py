"""Private keys as `cosign generate-key-pair` writes them: PKCS 8 in a NaCl secretbox, its key by scrypt.

No package that we need anyway has XSalsa20; here are the few lines it takes to open one small box
(D. J. Bernstein, "Extending the Salsa20 nonce"). The box is authenticated by Poly1305 before it is opened.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import struct

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.poly1305 import Poly1305

_PEM = re.compile(
    rb"-----BEGIN ENCRYPTED (COSIGN|SIGSTORE) PRIVATE KEY-----(.+?)-----END ENCRYPTED \1 PRIVATE KEY-----",
    re.DOTALL,
)
_CONSTANTS = struct.unpack("<4I", b"expand 32-byte k")
_MEMORY = 256 << 20
"""Most that scrypt may take; cosign's parameters take 64 MiB."""
# Which four words each quarter-round mixes: the columns, then the rows.
_QUARTERS = (
    *((0, 4, 8, 12), (5, 9, 13, 1), (10, 14, 2, 6), (15, 3, 7, 11)),
    *((0, 1, 2, 3), (5, 6, 7, 4), (10, 11, 8, 9), (15, 12, 13, 14)),
)


def is_one(pem: bytes) -> bool:
    """Whether a file holds a key in cosign's form."""
    return _PEM.search(pem) is not None


def opened(pem: bytes, password: bytes) -> bytes:
    """The key as PKCS 8 in PEM form; ValueError for a wrong password or a damaged file."""
    match = _PEM.search(pem)
    try:
        box = json.loads(base64.b64decode(match[2] if match else b""))
        kdf, cipher = box["kdf"], box["cipher"]
        if (kdf["name"], cipher["name"]) != ("scrypt", "nacl/secretbox"):
            msg = "the key is encrypted by other means than cosign's"
            raise ValueError(msg)
        costs = {name.lower(): int(kdf["params"][name]) for name in ("N", "r", "p")}
        salt = base64.b64decode(kdf["salt"])
        key = hashlib.scrypt(password, salt=salt, maxmem=_MEMORY, dklen=32, **costs)
        nonce = base64.b64decode(cipher["nonce"])
        der = unboxed(base64.b64decode(box["ciphertext"]), nonce, key)
    except (KeyError, TypeError, struct.error, InvalidSignature) as exc:
        msg = "the password is wrong, or the key is damaged"
        raise ValueError(msg) from exc
    text = base64.encodebytes(der)
    return b"-----BEGIN PRIVATE KEY-----\n" + text + b"-----END PRIVATE KEY-----\n"


def unboxed(box: bytes, nonce: bytes, key: bytes) -> bytes:
    """What `crypto_secretbox` of NaCl put into `box`; InvalidSignature when the key is another one."""
    state = _mixed(_words(key, nonce[:16]))
    # HSalsa20: no words are added back, and these eight are the key of the stream.
    inner = struct.pack("<8I", *(state[i] for i in (0, 5, 10, 15, 6, 7, 8, 9)))
    tag, sealed = box[:16], box[16:]
    stream = b"".join(_block(inner, nonce[16:24], i) for i in range((len(sealed) + 32 + 63) // 64))
    Poly1305.verify_tag(stream[:32], sealed, tag)
    return bytes(a ^ b for a, b in zip(sealed, stream[32:], strict=False))


def _block(key: bytes, nonce: bytes, number: int) -> bytes:
    start = _words(key, nonce + struct.pack("<Q", number))
    mixed = _mixed(start)
    return struct.pack("<16I", *((a + b) & 0xFFFFFFFF for a, b in zip(start, mixed, strict=True)))


def _words(key: bytes, data: bytes) -> list[int]:
    k, n, c = struct.unpack("<8I", key), struct.unpack("<4I", data), _CONSTANTS
    return [c[0], *k[:4], c[1], *n, c[2], *k[4:], c[3]]


def _mixed(start: list[int]) -> list[int]:
    """Twenty rounds of Salsa20 over sixteen words."""
    x = list(start)
    for _ in range(10):
        for a, b, c, d in _QUARTERS:
            x[b] ^= _rotated(x[a] + x[d], 7)
            x[c] ^= _rotated(x[b] + x[a], 9)
            x[d] ^= _rotated(x[c] + x[b], 13)
            x[a] ^= _rotated(x[d] + x[c], 18)
    return x


def _rotated(value: int, bits: int) -> int:
    value &= 0xFFFFFFFF
    return (value << bits | value >> (32 - bits)) & 0xFFFFFFFF
