"""Documents and signatures on their way to a registry, and what is found when they were changed."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from servegen.attest import PROVENANCE, SBOM, Wanted, attest, attest_rebased, publish, read_document, sign
from servegen.attest.checking import check_signed
from servegen.attest.documents import VERSION
from servegen.attest.sbom import sbom
from servegen.attest.signing import sign_digest
from servegen.errors import ImageNotFoundError, RegistryError, TamperedError, UnsignedError, WrongKeyError
from servegen.oci.descriptor import MANIFEST
from servegen.oci.image import ImageConfig, assemble, assemble_index
from servegen.oci.referrers import Artifact, Referrers, fallback_tag, kept
from servegen.oci.store import Store
from servegen.oci.tar import Entry
from servegen.values.attestation import BuildRun
from servegen.values.image import StoredImage
from tests.attest.conftest import AMD64
from tests.oci.fake_registry import Fault

BOTH = frozenset({SBOM, PROVENANCE})


def wanted(types=BOTH):
    return Wanted(types=types, parameters={}, run=BuildRun())


@pytest.fixture
def signed(stored, lock, key, client, recorder):
    """The image with both documents, all signed."""
    attest(stored, lock, wanted())
    publish(stored, BOTH, key, client, recorder)
    return stored.image.ref


@pytest.fixture
def check(client, key, store, recorder):
    def run(ref, by=key):
        return check_signed(ref, by.public_key(), client, store, recorder)

    return run


@pytest.fixture
def tags(fake):
    """Tag → the object behind it."""
    return lambda: {
        name: json.loads(data)
        for name, (_, data) in fake.manifests["team/iris"].items()
        if not name.startswith("sha256:")
    }


@pytest.mark.parametrize("has_api", [True, False])
def test_a_signed_image_is_found_in_order(fake, stored, lock, key, client, recorder, check, has_api):
    fake.behaviour.referrers = has_api
    attest(stored, lock, wanted())
    publish(stored, BOTH, key, client, recorder)
    found = check(replace(stored.image.ref, digest=None))
    assert found.image == stored.image.ref.pinned
    assert set(found.documents) == {"SBOM", "provenance"}
    assert found.blobs == 3


@pytest.mark.parametrize("has_api", [True, False])
def test_publishing_again_sends_nothing(fake, stored, lock, key, client, recorder, has_api):
    fake.behaviour.referrers = has_api
    attest(stored, lock, wanted())
    publish(stored, BOTH, key, client, recorder)
    steps, before = list(recorder.steps), fake.count("PUT") + fake.count("POST")
    attest(stored, lock, wanted())
    publish(stored, BOTH, key, client, recorder)
    assert fake.count("PUT") + fake.count("POST") == before
    assert recorder.steps == steps


def test_without_a_key_nothing_is_signed(stored, lock, client, recorder, tags):
    attest(stored, lock, wanted())
    publish(stored, BOTH, None, client, recorder)
    assert set(tags()) == {"3", fallback_tag(stored.image.ref.digest)}


def test_without_documents_only_the_image_is_signed(stored, lock, key, client, recorder, tags, check):
    attest(stored, lock, wanted(frozenset()))
    publish(stored, frozenset(), key, client, recorder)
    assert set(tags()) == {"3", fallback_tag(stored.image.ref.digest) + ".sig"}
    assert check(stored.image.ref).documents == ()


def test_a_document_that_is_not_wanted_any_more_stays_here(stored, lock, client, recorder, tags):
    attest(stored, lock, wanted())
    publish(stored, frozenset({SBOM}), None, client, recorder)
    entries = tags()[fallback_tag(stored.image.ref.digest)]["manifests"]
    assert [entry["artifactType"] for entry in entries] == [SBOM]


def test_a_document_is_made_once(stored, lock, store):
    attest(stored, lock, wanted(frozenset({SBOM})))
    (before,) = kept(store, stored.image.ref.digest)
    later = replace(wanted(), run=BuildRun(builder="https://ci.example.com"))
    attest(stored, lock, later)
    attest(stored, lock, replace(later, run=BuildRun()))
    after = {artifact.media_type: artifact for artifact in kept(store, stored.image.ref.digest)}
    assert after[SBOM] == before
    assert b"ci.example.com" in after[PROVENANCE].data


def test_a_signature_of_somebody_else_stays(signed, stored, client, recorder, check, key):
    other = ec.generate_private_key(ec.SECP256R1())
    publish(stored, BOTH, other, client, recorder)
    assert check(signed) == check(signed, other)


def test_a_signature_that_somebody_wrote_over_is_written_again(fake, stored, key, client, recorder, check):
    """The registry says that it stored ours, and has that of another writer."""
    fake.faults.append(Fault(method="PUT", path=r"manifests/sha256-.*\.sig", status=201))
    publish(stored, frozenset(), key, client, recorder)
    assert check(stored.image.ref).documents == ()


def test_a_document_is_read_from_the_store_or_else_the_registry(signed, stored, client, tmp_path):
    here = read_document(stored.image, SBOM, stored.store, client)
    assert here
    assert read_document(stored.image, SBOM, tmp_path / "other", client) == here
    unnamed = replace(stored.image, ref=replace(stored.image.ref, registry=""))
    assert read_document(unnamed, SBOM, tmp_path / "another", client) is None


def test_an_unsigned_image_is_refused(stored, check):
    with pytest.raises(UnsignedError, match="is not signed"):
        check(stored.image.ref)


def test_another_key_is_refused(signed, check):
    with pytest.raises(WrongKeyError, match="not with this key"):
        check(signed, ec.generate_private_key(ec.SECP256R1()))


def test_an_absent_image_is_no_tampering(signed, check):
    with pytest.raises(ImageNotFoundError):
        check(replace(signed, tag="9", digest=None))


def test_a_tag_that_was_moved_to_an_unsigned_image_is_refused(fake, signed, client, make_layer, store, check):

    other = assemble(store, ImageConfig(platform=AMD64), [make_layer(Entry(path="x", data=b"x"))])
    client.push(store, other, replace(signed, digest=None))
    with pytest.raises(UnsignedError):
        check(replace(signed, digest=None))
    # … also when it is given the signature of the image before.
    known = fake.manifests["team/iris"]
    known[fallback_tag(other.digest) + ".sig"] = known[fallback_tag(signed.digest) + ".sig"]
    with pytest.raises(TamperedError, match="carries the signature of"):
        check(replace(signed, digest=None))


@pytest.mark.parametrize("position", [0, 1, "config"])
def test_a_changed_blob_is_found(fake, signed, tags, check, position):
    manifest = tags()["3"]
    entry = manifest["config"] if position == "config" else manifest["layers"][position]
    data = fake.blobs["team/iris"][entry["digest"]]
    for changed in (data[:-1] + b"!", data + b"!", data[:-1]):
        fake.blobs["team/iris"][entry["digest"]] = changed
        with pytest.raises(TamperedError, match=entry["digest"]):
            check(signed)


def test_a_missing_layer_is_found(fake, signed, tags, check):
    digest = tags()["3"]["layers"][0]["digest"]
    del fake.blobs["team/iris"][digest]
    with pytest.raises(TamperedError, match=f"lacks the blob {digest}"):
        check(signed)


def test_a_changed_signature_is_no_signature_by_the_key(fake, signed, tags, check):
    tag = fallback_tag(signed.digest) + ".sig"
    manifest = tags()[tag]
    manifest["layers"][0]["annotations"]["dev.cosignproject.cosign/signature"] = "AAAA"
    fake.manifests["team/iris"][tag] = (MANIFEST, json.dumps(manifest).encode())
    with pytest.raises(WrongKeyError):
        check(signed)


@pytest.fixture
def forged(stored, lock, client, tmp_path):
    """Somebody attaches an SBOM of their own: same type, same mark, about the same image."""

    def attach():
        other = Store(tmp_path / "other")
        digest = stored.image.ref.digest
        for name in (digest, *_digests(stored)):
            other.add_bytes(Store(stored.store).read(name))
        attest(replace(stored, store=other.path), replace(lock, base=()), wanted(frozenset({SBOM})))
        referrers = Referrers(client.repository(stored.image.ref, write=True), other)
        referrers.attach(other.manifest(digest), kept(other, digest))

    return attach


def test_a_document_of_somebody_else_is_never_signed(forged, stored, lock, key, client, recorder, check):
    forged()
    attest(stored, lock, wanted())
    publish(stored, BOTH, key, client, recorder)
    assert set(check(stored.image.ref).documents) == {"SBOM", "provenance"}
    assert [text.partition(" of ")[0] for text in recorder.warnings] == ["1 more SBOM"]


def test_an_image_whose_only_sbom_is_not_signed_is_refused(forged, stored, key, client, recorder, check):
    publish(stored, frozenset(), key, client, recorder)
    forged()
    with pytest.raises(UnsignedError, match="the SBOM of"):
        check(stored.image.ref)


def test_a_later_run_elsewhere_leaves_the_signed_documents(
    fake, signed, stored, lock, key, client, recorder, tmp_path
):
    """Its own provenance would name another run, but the image was not built by that."""
    elsewhere = Store(tmp_path / "elsewhere")
    for name in (signed.digest, *_digests(stored)):
        elsewhere.add_bytes(Store(stored.store).read(name))
    again = replace(stored, store=elsewhere.path)
    attest(again, lock, replace(wanted(), run=BuildRun(builder="https://ci.example.com")))
    before = fake.count("PUT") + fake.count("POST")
    publish(again, BOTH, key, client, recorder)
    assert fake.count("PUT") + fake.count("POST") == before


def test_a_registry_that_takes_no_documents_is_said_with_the_way_out(fake, stored, lock, client, recorder):
    attest(stored, lock, wanted())
    fake.faults.append(Fault(method="PUT", path="manifests/sha256:", status=400, times=9))
    with pytest.raises(RegistryError, match="the image is pushed") as caught:
        publish(stored, BOTH, None, client, recorder)
    assert "--no-sbom" in caught.value.hint


def _digests(stored):
    manifest = json.loads(Store(stored.store).read(stored.image.ref.digest))
    return [manifest["config"]["digest"]]


def test_a_signed_document_about_another_image_is_refused(signed, stored, lock, key, client, recorder, check):
    """A document that the key signed for one image, attached to another one."""

    elsewhere = replace(stored.image, ref=stored.image.ref.at("sha256:" + "9" * 64))
    artifact = Artifact(media_type=SBOM, data=sbom(elsewhere, lock), annotations=((VERSION, "0"),))
    store, repository = Store(stored.store), client.repository(signed, write=True)
    subject = store.manifest(signed.digest)
    Referrers(repository, store).attach(subject, [artifact])
    sign_digest("x", artifact.referrer(subject).descriptor.digest, key, repository, store)
    with pytest.raises(TamperedError, match="is about sha256:9999"):
        check(signed)


def test_an_index_is_checked_with_every_image_in_it(fake, signed, client, key, store, recorder, check):

    index = assemble_index(store, {AMD64: store.manifest(signed.digest)})
    ref = replace(signed, tag="all", digest=None)
    client.push(store, index, ref)
    with pytest.raises(UnsignedError):
        check(ref)
    sign(ref, [index.digest], key, client, store, recorder)
    found = check(ref)
    assert (found.blobs, set(found.documents)) == (3, {"SBOM", "provenance"})
    del fake.manifests["team/iris"][signed.digest]
    with pytest.raises(TamperedError, match="lacks the image"):
        check(ref)


@pytest.fixture
def swapped(stored, store, make_layer, client) -> StoredImage:
    """The image on another base, pushed beside it."""
    labels = stored.image.labels
    layers = [make_layer(Entry(path=name, data=name.encode()), name=name) for name in ("base", "model")]
    descriptor = assemble(store, ImageConfig(platform=AMD64, labels=labels), layers)
    ref = replace(stored.image.ref, tag="4", digest=None)
    client.push(store, descriptor, ref)
    return StoredImage(image=replace(stored.image, ref=ref.at(descriptor.digest)), store=store.path)


@pytest.mark.parametrize("here", [True, False])
def test_an_image_on_a_new_base_gets_documents_of_its_own_made_of_the_old_ones(
    signed, stored, swapped, lock, foreign, key, client, recorder, check, tmp_path, here
):
    """Also on a machine that never saw the old ones."""
    if not here:
        other = Store(tmp_path / "other")
        client.pull(swapped.image.ref, AMD64, other)
        swapped = replace(swapped, store=other.path)
    assert attest_rebased(swapped, stored.image, dict(foreign.base), wanted(), client)
    publish(swapped, BOTH, key, client, recorder)
    assert set(check(swapped.image.ref).documents) == {"SBOM", "provenance"}
    document = read_document(swapped.image, SBOM, tmp_path / "none", client)
    assert document == sbom(swapped.image, replace(lock, base=foreign.base))


def test_without_an_sbom_of_the_old_image_there_is_none_of_the_new_one(stored, swapped, foreign, client):
    assert not attest_rebased(swapped, stored.image, dict(foreign.base), wanted(), client)
    store = Store(swapped.store)
    assert [a.media_type for a in kept(store, swapped.image.ref.digest)] == [PROVENANCE]
    assert attest_rebased(swapped, stored.image, {}, wanted(frozenset()), client), "none is wanted"


def test_an_image_that_is_on_the_new_base_already_takes_its_documents_along(
    signed, stored, client, tmp_path, foreign
):
    other = Store(tmp_path / "other")
    client.pull(stored.image.ref, AMD64, other)
    copied = replace(stored, store=other.path)
    assert attest_rebased(copied, stored.image, dict(foreign.base), wanted(), client)
    assert kept(other, stored.image.ref.digest) == kept(Store(stored.store), stored.image.ref.digest)
