"""Documents about an image: what is in it, how it was made, and signatures over them."""

from servegen.attest.documents import (
    PROVENANCE,
    SBOM,
    Wanted,
    attest,
    attest_rebased,
    is_signed,
    publish,
    read_document,
    sign,
)

__all__ = [
    "PROVENANCE",
    "SBOM",
    "Wanted",
    "attest",
    "attest_rebased",
    "is_signed",
    "publish",
    "read_document",
    "sign",
]
