from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime

import pytest

from servegen.errors import RegistryError
from servegen.oci.auth import Credential, CredentialFiles
from servegen.oci.image import read_image
from servegen.oci.registry import Registry, RegistryOptions
from servegen.oci.store import Store
from tests.oci.conftest import FAST, MakeImage, Recorder
from tests.oci.fake_registry import FakeRegistry, Fault, running
from tests.oci.test_registry_push import UPLOAD, ref_in


@pytest.mark.parametrize(
    ("asked", "least", "most"),
    [("7", 7, 7), ("3600", 60, 60), ("{:+30}", 20, 31), ("{:-30}", 0, 0), ("soon", 0, 0.002)],
)
def test_a_registry_that_says_when_to_come_back_is_obeyed_for_a_minute_at_most(
    asked: str, least: float, most: float, fake: FakeRegistry, store: Store, make_image: MakeImage
) -> None:
    if asked.startswith("{"):
        moment = datetime.now(timezone.utc) + timedelta(seconds=int(asked[2:-1]))
        asked = format_datetime(moment, usegmt=True)
    fake.faults.append(Fault("POST", UPLOAD, status=429, headers={"Retry-After": asked}))
    slept: list[float] = []
    image = make_image(10)
    with Registry(RegistryOptions(network=replace(FAST, sleep=slept.append)), Recorder()) as client:
        assert client.push(store, image, ref_in(fake)) == image.digest
    assert len(slept) == 1
    assert least <= slept[0] <= most


def test_blobs_that_the_registry_lost_are_sent_again(
    fake: FakeRegistry, client: Registry, store: Store, make_image: MakeImage, recorder: Recorder
) -> None:
    client.push(store, make_image(3000, 2000), ref_in(fake))
    image = make_image(3000, 1000)
    lost = read_image(store, image)[0].layers[0].digest
    del fake.blobs["team/iris"][lost]
    assert client.push(store, image, ref_in(fake)) == image.digest
    assert lost in fake.blobs["team/iris"]
    assert any("lacks 1 blobs" in step for step in recorder.steps)


def test_a_tag_that_another_push_took_meanwhile_is_left_to_it(
    fake: FakeRegistry, client: Registry, store: Store, make_image: MakeImage
) -> None:
    mine, others = make_image(10, seed=1), make_image(20, seed=2)
    client.push(store, others, ref_in(fake, tag="2"))
    fake.lands = {"1": fake.manifests["team/iris"]["2"]}
    with pytest.raises(RegistryError, match="given to another image"):
        client.push(store, mine, ref_in(fake))
    assert client.manifest_digest(ref_in(fake)) == others.digest
    assert client.manifest_digest(ref_in(fake).at(mine.digest)) == mine.digest
    assert fake.count("PUT", "/manifests/1$") == 1


@pytest.mark.parametrize("status", [307, 308])
def test_an_upload_that_is_sent_elsewhere_goes_there_without_the_login(
    status: int, fake: FakeRegistry, store: Store, make_image: MakeImage, recorder: Recorder
) -> None:
    fake.behaviour.basic_users = {"me": "pw"}
    login = CredentialFiles(given=Credential(username="me", secret="pw"))
    image = make_image(10)
    with running() as storage, Registry(RegistryOptions(network=FAST, credentials=login), recorder) as client:
        elsewhere = {"Location": f"http://{storage.host}/v2/team/iris/blobs/uploads/"}
        fake.faults.append(Fault("POST", UPLOAD, status=status, headers=elsewhere, times=99))
        with pytest.raises(RegistryError, match="answered that it stored"):
            # This registry and its storage know nothing of each other.
            client.push(store, image, ref_in(fake))
        assert storage.count("PUT", UPLOAD) > 0
        assert set(storage.authorizations) == {""}
