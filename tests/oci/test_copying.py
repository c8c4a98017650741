"""An image copied to another repository keeps its digest, its documents and their signatures."""

from __future__ import annotations

import pytest

from servegen.errors import ImageNotFoundError
from servegen.oci.copying import copy_image
from servegen.oci.image import assemble_index
from servegen.oci.referrers import Artifact, Referrers
from servegen.oci.signatures import Signature, add_signature, signatures
from servegen.oci.store import Store
from servegen.progress import Silent
from servegen.values.image import ImageRef
from tests.oci.conftest import AMD64
from tests.oci.fake_registry import running

SBOM = Artifact(media_type="application/vnd.cyclonedx+json", data=b'{"a": 1}', annotations=(("k", "v"),))


def signed(client, store, ref, digest, value):
    """Sign a digest in the repository of `ref`."""
    one = Signature(payload=digest.encode(), value=value)
    add_signature(client.repository(ref, write=True), store, digest, lambda: one, lambda each: each == one)
    return one


@pytest.mark.parametrize("has_api", [True, False])
@pytest.mark.parametrize("place", ["another registry", "with mounts", "without mounts"])
def test_a_copy_has_the_digest_the_documents_and_all_signatures(
    fake, client, store, make_image, tmp_path, place, has_api
):
    with running() as other:
        target = other if place == "another registry" else fake
        for one in (fake, target):
            one.behaviour.referrers, one.behaviour.mounts = has_api, place == "with mounts"
        image = make_image(1000, 2000)
        top = assemble_index(store, {AMD64: image})
        source = ImageRef(registry=fake.host, repository="dev/iris", tag="8").at(top.digest)
        ref = ImageRef(registry=target.host, repository="prod/iris", tag="8")
        client.push(store, top, source)
        document = SBOM.referrer(image).descriptor.digest
        Referrers(client.repository(source, write=True), store).attach(image, [SBOM])
        made = {digest: signed(client, store, source, digest, "c2ln") for digest in (top.digest, document)}
        theirs = signed(client, store, ref, top.digest, "b3RoZXI=")
        fresh = Store(tmp_path / "fresh")
        for _ in range(2):
            copy_image(source, ref, client, fresh, Silent())
            assert client.manifest_digest(ref) == top.digest
            assert client.manifest_digest(ref.at(image.digest)) == image.digest
            repository = client.repository(ref)
            assert signatures(repository, top.digest) == (theirs, made[top.digest])
            assert signatures(repository, document) == (made[document],)
            (listed,) = Referrers(repository, fresh).of(image.digest)
            assert Referrers(repository, fresh).read(listed) == SBOM.data
        layers = [digest for digest in fake.blobs["dev/iris"] if len(fake.blobs["dev/iris"][digest]) > 999]
        assert layers
        assert any(fresh.has(digest) for digest in layers) is (place != "with mounts")


def test_an_image_that_is_not_there_is_not_copied(fake, client, store):
    source = ImageRef(registry=fake.host, repository="dev/iris").at("sha256:" + "1" * 64)
    with pytest.raises(ImageNotFoundError, match="is not in the registry"):
        copy_image(source, ImageRef(registry=fake.host, repository="prod/iris"), client, store, Silent())
