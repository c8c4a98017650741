"""Documents beside an image: in registries with the referrers API and without, and in the store."""

from __future__ import annotations

import json

import pytest

from servegen.errors import RegistryError, TamperedError
from servegen.oci.descriptor import INDEX
from servegen.oci.referrers import EMPTY, Artifact, Referrers, fallback_tag, keep, kept
from servegen.values.image import ImageRef
from tests.oci.fake_registry import Fault

SBOM = Artifact(media_type="application/vnd.cyclonedx+json", data=b'{"a": 1}', annotations=(("k", "v"),))
OTHER = Artifact(media_type="application/vnd.in-toto+json", data=b'{"b": 2}')


@pytest.fixture
def image(fake, client, store, make_image):
    """An image in the registry."""
    made = make_image(1000)
    client.push(store, made, ImageRef(registry=fake.host, repository="team/iris", tag="1"))
    return made


@pytest.fixture
def referrers(fake, client, store):
    ref = ImageRef(registry=fake.host, repository="team/iris")
    return Referrers(client.repository(ref, write=True), store)


@pytest.mark.parametrize("has_api", [True, False])
def test_what_was_attached_is_listed_and_read(fake, referrers, image, has_api):
    fake.behaviour.referrers = has_api
    assert referrers.of(image.digest) == ()
    referrers.attach(image, [SBOM, OTHER])
    listed = {each.artifact_type: each for each in referrers.of(image.digest)}
    assert referrers.read(listed[SBOM.media_type]) == SBOM.data
    assert referrers.read(listed[OTHER.media_type]) == OTHER.data
    assert listed[SBOM.media_type] == SBOM.referrer(image)
    assert (fallback_tag(image.digest) in fake.manifests["team/iris"]) is not has_api


def test_the_manifest_is_what_oci_1_1_asks_for(fake, referrers, image):
    referrers.attach(image, [SBOM])
    digest = SBOM.referrer(image).descriptor.digest
    manifest = json.loads(fake.manifests["team/iris"][digest][1])
    assert manifest["subject"]["digest"] == image.digest
    assert manifest["artifactType"] == SBOM.media_type
    assert manifest["config"] == EMPTY.to_json()
    assert fake.blobs["team/iris"][EMPTY.digest] == b"{}"


@pytest.mark.parametrize("has_api", [True, False])
def test_attaching_again_changes_nothing(fake, referrers, image, has_api):
    fake.behaviour.referrers = has_api
    referrers.attach(image, [SBOM])
    before = dict(fake.manifests["team/iris"])
    referrers.attach(image, [SBOM])
    assert fake.manifests["team/iris"] == before


def test_entries_of_others_stay_in_the_list(fake, referrers, image):
    theirs = {
        "mediaType": INDEX,
        "digest": "sha256:" + "1" * 64,
        "size": 3,
        "artifactType": "x",
        "data": "e30=",
    }
    index = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": [theirs]}).encode()
    fake.put_image("team/iris", fallback_tag(image.digest), index, INDEX)
    referrers.attach(image, [SBOM])
    entries = json.loads(fake.manifests["team/iris"][fallback_tag(image.digest)][1])["manifests"]
    assert entries[0] == theirs
    assert [each.artifact_type for each in referrers.of(image.digest)] == ["x", SBOM.media_type]


def test_a_list_that_somebody_replaced_meanwhile_is_added_to_again(fake, referrers, image):
    """The registry says that it stored our list, and has that of another writer."""
    tag = fallback_tag(image.digest)
    fake.faults.append(Fault(method="PUT", path=f"manifests/{tag}", status=201))
    referrers.attach(image, [SBOM])
    assert [each.artifact_type for each in referrers.of(image.digest)] == [SBOM.media_type]


def test_a_list_that_never_keeps_ours_is_an_error(fake, referrers, image):
    tag = fallback_tag(image.digest)
    fake.faults.append(Fault(method="PUT", path=f"manifests/{tag}", status=201, times=100))
    with pytest.raises(RegistryError, match="keep replacing"):
        referrers.attach(image, [SBOM])


def test_a_registry_that_takes_the_tag_for_the_digest_has_no_list(fake, referrers, image):
    """As GitLab does: the answer is the image itself."""
    known = fake.manifests["team/iris"]
    known[fallback_tag(image.digest)] = known[image.digest]
    assert referrers.of(image.digest) == ()


def test_a_page_for_people_is_no_list(fake, referrers, image):
    page = Fault(method="GET", path="/referrers/", status=200, body=b"<html>", times=9)
    page.headers["Content-Type"] = "text/html"
    fake.faults.append(page)
    referrers.attach(image, [SBOM])
    assert [each.artifact_type for each in referrers.of(image.digest)] == [SBOM.media_type]


def test_a_document_that_was_changed_is_refused(fake, referrers, image):
    referrers.attach(image, [SBOM])
    fake.blobs["team/iris"][SBOM.blob.digest] = b'{"a": 2}'
    with pytest.raises(TamperedError, match=SBOM.blob.digest):
        referrers.read(SBOM.referrer(image))


def test_the_store_keeps_one_document_of_a_type(store, make_image):
    image = make_image(10)
    assert kept(store, image.digest) == ()
    keep(store, image, [SBOM, OTHER])
    newer = Artifact(media_type=SBOM.media_type, data=b"new")
    keep(store, image, [newer])
    assert set(kept(store, image.digest)) == {OTHER, newer}


def test_a_document_that_was_removed_from_the_store_is_not_kept(store, make_image):
    image = make_image(10)
    keep(store, image, [SBOM, OTHER])
    store.blob(SBOM.blob.digest).unlink()
    assert kept(store, image.digest) == (OTHER,)
