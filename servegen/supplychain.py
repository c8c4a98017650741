"""What may be asked of a packaged image by those who did not build it: its content, and who signed it."""

from __future__ import annotations

from pathlib import Path

from servegen.attest import SBOM, read_document
from servegen.attest.checking import Checked, check_signed
from servegen.attest.keys import public_key
from servegen.errors import ImageNotFoundError
from servegen.images import find_platform_image, image_reference
from servegen.job import Job, registry
from servegen.oci.store import Store
from servegen.progress import Progress


def check_image(text: str, key_file: Path, job: Job, progress: Progress) -> Checked:
    """What the owner of a public key signed of an image in its registry; nothing is run."""
    ref, key = image_reference(text), public_key(key_file)
    with registry(job, progress) as remote:
        return check_signed(ref, key, remote, Store(job.store), progress)


def find_sbom(text: str, job: Job, progress: Progress) -> bytes:
    """The bill of materials of a packaged image (CycloneDX), from the local store or the registry."""
    image = find_platform_image(text, job, progress)
    with registry(job, progress) as remote:
        document = read_document(image, SBOM, job.store, remote)
    if document is None:
        msg = f"{image.ref} has no SBOM"
        raise ImageNotFoundError(
            msg, hint="servegen package --push attaches one, unless --no-sbom forbids it"
        )
    return document
