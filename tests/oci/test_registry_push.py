from __future__ import annotations

import re
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from servegen.errors import BuildError, ImageNotFoundError, RegistryAuthError, RegistryError
from servegen.oci.auth import Credential, CredentialFiles
from servegen.oci.descriptor import Descriptor
from servegen.oci.image import assemble_index, read_image
from servegen.oci.push import Pusher
from servegen.oci.registry import Registry, RegistryOptions
from servegen.oci.repository import Repository
from servegen.oci.store import Store
from servegen.oci.transport import Transport
from servegen.oci.upload import UploadLimits
from servegen.oci.workers import Approval, StoppedError
from servegen.values.image import ImageRef, Platform
from tests.oci.conftest import AMD64, FAST, MakeImage, Recorder
from tests.oci.fake_registry import FakeRegistry, Fault

SMALL = UploadLimits(single=1000, chunk=40_000)
UPLOAD = "/blobs/uploads/"


def ref_in(fake: FakeRegistry, name: str = "team/iris", tag: str = "1") -> ImageRef:
    return ImageRef(registry=fake.host, repository=name, tag=tag)


@pytest.fixture
def push_in_chunks(fake: FakeRegistry, store: Store, recorder: Recorder) -> Callable[..., str]:
    """Pushes with small chunks, as a push of gigabytes would with big ones."""

    def push(image: Descriptor, limits: UploadLimits = SMALL) -> str:
        transport = Transport(fake.host, RegistryOptions(network=FAST), recorder)
        repository = Repository(transport, "team/iris", action="pull,push")
        return Pusher(repository, store, recorder, limits=limits).push(image, "1")

    return push


def test_a_pushed_image_is_all_there(
    fake: FakeRegistry, client: Registry, store: Store, make_image: MakeImage
) -> None:
    image = make_image(100, 5000)
    assert client.push(store, image, ref_in(fake)) == image.digest
    assert fake.manifests["team/iris"]["1"][1] == store.read(image.digest)
    assert image.digest in fake.manifests["team/iris"]
    manifest, _ = read_image(store, image)
    assert set(fake.blobs["team/iris"]) == {
        manifest.config.digest,
        *(layer.digest for layer in manifest.layers),
    }
    assert client.manifest_digest(ref_in(fake)) == image.digest


def test_an_image_that_the_tag_names_already_is_not_sent_again(
    fake: FakeRegistry, client: Registry, store: Store, make_image: MakeImage
) -> None:
    image = make_image(100)
    client.push(store, image, ref_in(fake))
    fake.log.clear()
    assert client.push(store, image, ref_in(fake)) == image.digest
    assert fake.log == [("GET", "/v2/team/iris/manifests/1")]


def test_only_the_changed_layer_is_sent_and_the_others_are_not_even_asked_for(
    fake: FakeRegistry, client: Registry, store: Store, make_image: MakeImage
) -> None:
    client.push(store, make_image(3000, 2000), ref_in(fake))
    fake.log.clear()
    fake.uploaded = 0
    image = make_image(3000, 1000)
    client.push(store, image, ref_in(fake))
    manifest, _ = read_image(store, image)
    assert fake.uploaded == manifest.layers[1].size + manifest.config.size
    assert fake.count("HEAD", "/blobs/") == 4, "before and after each of the two uploads"
    assert fake.count("POST") == 2


def test_the_tag_moves_last(
    fake: FakeRegistry, client: Registry, store: Store, make_image: MakeImage
) -> None:
    old, new = make_image(100, seed=1), make_image(100, 200, 300, seed=2)
    client.push(store, old, ref_in(fake))
    fake.faults.append(Fault("PUT", UPLOAD, status=405, skip=2))
    with pytest.raises(RegistryError, match="HTTP 405"):
        client.push(store, new, ref_in(fake))
    assert client.manifest_digest(ref_in(fake)) == old.digest
    assert new.digest not in fake.manifests["team/iris"]
    client.push(store, new, ref_in(fake))
    assert client.manifest_digest(ref_in(fake)) == new.digest
    puts = [path for method, path in fake.log if method == "PUT"]
    assert puts[-1].endswith("/manifests/1")
    assert puts[-2].endswith(f"/manifests/{new.digest}")


def test_layers_that_only_the_registry_has_are_fine(
    fake: FakeRegistry, client: Registry, store: Store, make_image: MakeImage
) -> None:
    client.push(store, make_image(3000), ref_in(fake, tag="old"))
    image = make_image(3000, 10)
    store.blob(read_image(store, image)[0].layers[0].digest).unlink()
    assert client.push(store, image, ref_in(fake, tag="new")) == image.digest


def test_a_layer_that_nobody_has_is_an_error(
    fake: FakeRegistry, client: Registry, store: Store, make_image: MakeImage
) -> None:
    image = make_image(3000)
    store.blob(read_image(store, image)[0].layers[0].digest).unlink()
    with pytest.raises(ImageNotFoundError, match="neither on this machine nor in"):
        client.push(store, image, ref_in(fake))
    assert not fake.manifests.get("team/iris")


def test_blobs_of_another_repository_are_mounted(
    fake: FakeRegistry, client: Registry, store: Store, make_image: MakeImage
) -> None:
    image = make_image(3000, 10)
    client.push(store, image, ref_in(fake, "team/base"))
    fake.uploaded = 0
    client.push(store, image, ref_in(fake), mount_from=ref_in(fake, "team/base"))
    assert fake.uploaded == 0
    assert set(fake.blobs["team/iris"]) == set(fake.blobs["team/base"])


@pytest.mark.parametrize("refusal", ["upload instead", "an error"])
def test_a_refused_mount_becomes_an_upload(
    refusal: str, fake: FakeRegistry, client: Registry, store: Store, make_image: MakeImage
) -> None:
    image = make_image(3000)
    client.push(store, image, ref_in(fake, "team/base"))
    if refusal == "an error":
        fake.faults.append(Fault("POST", "mount=", status=405, times=99))
    else:
        fake.behaviour.mounts = False
    client.push(store, image, ref_in(fake), mount_from=ref_in(fake, "team/base"))
    assert set(fake.blobs["team/iris"]) == set(fake.blobs["team/base"])


def test_a_token_that_may_not_cover_the_source_is_done_without(
    fake: FakeRegistry, store: Store, make_image: MakeImage, recorder: Recorder
) -> None:
    image = make_image(3000)
    fake.behaviour.token_users = {"me": "pw"}
    fake.faults.append(Fault("GET", "^/token.*secret", status=403, times=99))
    login = CredentialFiles(given=Credential(username="me", secret="pw"))
    with Registry(RegistryOptions(network=FAST, credentials=login), recorder) as client:
        client.push(store, image, ref_in(fake), mount_from=ref_in(fake, "secret/base"))
    assert len(fake.blobs["team/iris"]) == 2


@pytest.mark.parametrize("absolute", [True, False])
def test_locations_are_followed_with_their_query(
    absolute: bool, fake: FakeRegistry, push_in_chunks: Callable[..., str], make_image: MakeImage
) -> None:
    fake.behaviour.absolute_locations = absolute
    image = make_image(200_000)
    assert push_in_chunks(image) == image.digest
    assert fake.count("PATCH") == 6


def test_an_upload_goes_on_where_it_broke(
    fake: FakeRegistry, store: Store, push_in_chunks: Callable[..., str], make_image: MakeImage
) -> None:
    fake.faults.append(Fault("PATCH", UPLOAD, skip=2, read=15_000))
    image = make_image(200_000)
    push_in_chunks(image)
    manifest, _ = read_image(store, image)
    assert fake.count("GET", UPLOAD) == 1
    assert fake.count("POST") == 2
    # What the broken request delivered was not sent again.
    assert fake.uploaded == manifest.layers[0].size + manifest.config.size - 15_000


def test_an_upload_that_the_registry_lost_begins_anew(
    fake: FakeRegistry, push_in_chunks: Callable[..., str], make_image: MakeImage
) -> None:
    fake.faults += [Fault("PATCH", UPLOAD, skip=2, status=503), Fault("GET", UPLOAD, status=404)]
    image = make_image(200_000)
    assert push_in_chunks(image) == image.digest
    assert fake.count("POST") == 3


def test_a_registry_that_takes_no_pieces_gets_the_whole_in_one(
    fake: FakeRegistry, push_in_chunks: Callable[..., str], make_image: MakeImage
) -> None:
    fake.behaviour.chunks = False
    image = make_image(200_000)
    assert push_in_chunks(image) == image.digest
    assert fake.count("PATCH") == 2


def test_a_registrys_longest_chunk_is_kept(
    fake: FakeRegistry, push_in_chunks: Callable[..., str], make_image: MakeImage
) -> None:
    fake.behaviour.max_chunk = 150_000
    image = make_image(400_000)
    assert push_in_chunks(image, UploadLimits(single=1000, chunk=1 << 20)) == image.digest


def test_a_closing_request_whose_answer_got_lost_is_not_a_failure(
    fake: FakeRegistry, push_in_chunks: Callable[..., str], make_image: MakeImage
) -> None:
    fake.faults.append(Fault("PUT", "digest=", send=0))
    image = make_image(200_000)
    assert push_in_chunks(image) == image.digest


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_passing_trouble_is_waited_out(
    status: int, fake: FakeRegistry, client: Registry, store: Store, make_image: MakeImage
) -> None:
    headers = {"Retry-After": "0"}
    fake.faults += [
        Fault(method, "/v2/", status=status, headers=headers, skip=1) for method in ("HEAD", "POST", "PUT")
    ]
    image = make_image(3000, 2000)
    assert client.push(store, image, ref_in(fake)) == image.digest


def test_a_connection_that_drops_in_mid_upload_is_tried_again(
    fake: FakeRegistry, client: Registry, store: Store, make_image: MakeImage
) -> None:
    fake.faults.append(Fault("PUT", UPLOAD, read=100_000, times=2))
    image = make_image(3_000_000)
    assert client.push(store, image, ref_in(fake)) == image.digest


def test_trouble_that_stays_is_an_error_with_what_the_registry_said(
    fake: FakeRegistry, client: Registry, store: Store, make_image: MakeImage
) -> None:
    body = b'{"errors": [{"code": "TOOMANYREQUESTS", "message": "come\\nback"}]}'
    headers = {"RateLimit-Limit": "100;w=21600"}
    fake.faults.append(Fault("POST", UPLOAD, status=429, body=body, headers=headers, times=99))
    with pytest.raises(
        RegistryError, match=r"429: TOOMANYREQUESTS come back \(RateLimit-Limit: 100;w=21600\)"
    ) as error:
        client.push(store, make_image(10), ref_in(fake))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("method", "status", "kind", "said"),
    [
        ("PUT", 403, RegistryAuthError, "refuses push to team/iris: DENIED not you"),
        ("PUT", 413, RegistryError, "takes no upload of this size"),
        ("POST", 404, ImageNotFoundError, "has no team/iris"),
    ],
)
def test_a_refusal_is_not_tried_again(
    method: str,
    status: int,
    kind: type[RegistryError],
    said: str,
    fake: FakeRegistry,
    client: Registry,
    store: Store,
    make_image: MakeImage,
) -> None:
    body = b'{"errors": [{"code": "DENIED", "message": "not you"}]}'
    fake.faults.append(Fault(method, UPLOAD, status=status, body=body, times=99))
    with pytest.raises(kind, match=said):
        client.push(store, make_image(10), ref_in(fake))
    assert fake.count(method) <= 2, "one for each blob"


def test_a_registry_that_rewrites_manifests_is_found_out(
    fake: FakeRegistry, client: Registry, store: Store, make_image: MakeImage
) -> None:
    fake.behaviour.rewrites_manifests = True
    with pytest.raises(RegistryError, match="rewrites manifests"):
        client.push(store, make_image(10), ref_in(fake))
    assert "1" not in fake.manifests["team/iris"]


def test_an_immutable_tag_is_an_error_unless_it_got_this_image_meanwhile(
    fake: FakeRegistry, client: Registry, store: Store, make_image: MakeImage
) -> None:
    old, new = make_image(10, seed=1), make_image(10, seed=2)
    client.push(store, old, ref_in(fake))
    fake.behaviour.immutable_tags = True
    with pytest.raises(RegistryError, match="HTTP 409"):
        client.push(store, new, ref_in(fake))
    # The same race, won by another build of the same image.
    fake.faults.append(Fault("GET", "/manifests/1$", status=404))
    assert client.push(store, old, ref_in(fake)) == old.digest


def test_a_registry_without_head_is_asked_otherwise(
    fake: FakeRegistry, client: Registry, store: Store, make_image: MakeImage
) -> None:
    fake.behaviour.head = False
    image = make_image(5000)
    client.push(store, image, ref_in(fake))
    fake.uploaded = 0
    client.push(store, image, ref_in(fake, tag="2"))
    assert fake.uploaded == 0
    assert client.manifest_digest(ref_in(fake)) == image.digest
    assert client.manifest_digest(ref_in(fake, tag="none")) is None


def test_an_index_is_pushed_after_its_images(
    fake: FakeRegistry, client: Registry, store: Store, make_image: MakeImage
) -> None:
    amd64, arm64 = make_image(10, seed=1), make_image(10, seed=2)
    index = assemble_index(store, {AMD64: amd64, Platform.parse("linux/arm64"): arm64})
    assert client.push(store, index, ref_in(fake)) == index.digest
    assert client.resolve(ref_in(fake), AMD64).digest == amd64.digest
    assert client.resolve(ref_in(fake), Platform.parse("linux/arm64")).digest == arm64.digest


def test_progress_ends_with_all_bytes_of_what_was_sent(
    fake: FakeRegistry, client: Registry, store: Store, make_image: MakeImage, recorder: Recorder
) -> None:
    image = make_image(3000, 2000)
    client.push(store, image, ref_in(fake))
    manifest, _ = read_image(store, image)
    total = manifest.config.size + sum(layer.size for layer in manifest.layers)
    assert recorder.counts[-1] == (total, total)
    assert recorder.counts.count((total, total)) == 1, "it is what ends the task"
    assert any(re.search("sent 3 blobs", step) for step in recorder.steps)


def test_a_push_without_a_tag_is_found_by_digest(
    fake: FakeRegistry, client: Registry, store: Store, make_image: MakeImage
) -> None:
    image = make_image(10)
    untagged = replace(ref_in(fake), tag=None)
    client.push(store, image, untagged)
    assert set(fake.manifests["team/iris"]) == {image.digest}
    assert client.manifest_digest(untagged.at(image.digest)) == image.digest


def test_a_layer_that_was_damaged_here_is_refused_there_and_made_again_next_time(
    fake: FakeRegistry, client: Registry, store: Store, make_image: MakeImage
) -> None:
    image = make_image(5000)
    (layer,) = read_image(store, image)[0].layers
    store.blob(layer.digest).write_bytes(bytes(layer.size))
    with pytest.raises(BuildError, match="removed from it"):
        client.push(store, image, ref_in(fake))
    assert "1" not in fake.manifests.get("team/iris", {})
    assert not store.has(layer.digest)


def test_a_name_without_a_registry_is_never_sent_to_docker_hub(
    client: Registry, store: Store, make_image: MakeImage
) -> None:
    with pytest.raises(RegistryError, match="names no registry"):
        client.push(store, make_image(10), ImageRef.parse("iris:1"))


def test_no_manifest_is_sent_before_the_approval_and_none_without_it(
    fake: FakeRegistry, client: Registry, store: Store, make_image: MakeImage
) -> None:
    image = make_image(3000, 2000)
    with ThreadPoolExecutor() as beside:
        with Approval() as approval:
            refused = beside.submit(client.push, store, image, ref_in(fake), None, approval)
            while len(fake.blobs.get("team/iris", ())) < 3:
                time.sleep(0.01)
        with pytest.raises(StoppedError):
            refused.result()
        assert fake.manifests.get("team/iris", {}) == {}
        with Approval() as approval:
            approval.give()
            client.push(store, image, ref_in(fake), None, approval)
        assert client.manifest_digest(ref_in(fake)) == image.digest


def test_a_withdrawn_approval_ends_a_push_in_the_middle_of_a_blob(
    fake: FakeRegistry, client: Registry, store: Store, make_image: MakeImage
) -> None:
    with Approval() as approval:
        pass
    with pytest.raises(StoppedError):
        client.push(store, make_image(3000), ref_in(fake), None, approval)
    assert fake.blobs.get("team/iris", {}) == {}
