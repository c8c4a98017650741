"""Stages of the pipeline that touch a registry."""

from __future__ import annotations

from servegen.oci.image import ImageConfig, assemble
from servegen.oci.tar import Entry
from servegen.pipeline import base_repository, push
from servegen.values.image import Image, ImageRef, StoredImage
from tests.oci.conftest import AMD64, client, fake, make_layer, recorder, store

__all__ = ["client", "fake", "make_layer", "recorder", "store"]


def test_a_base_of_the_same_registry_is_mounted_and_not_uploaded(fake, client, store, make_layer, recorder):
    base = make_layer(Entry(path="base", data=b"base" * 1000), name="base")
    own = make_layer(Entry(path="own", data=b"own"), name="model")
    of_base = ImageRef.parse(f"{fake.host}/python:3.11")
    client.push(store, assemble(store, ImageConfig(platform=AMD64), [base]), of_base)
    descriptor = assemble(store, ImageConfig(platform=AMD64), [base, own])
    ref = ImageRef.parse(f"{fake.host}/team/iris:1")
    image = StoredImage(image=Image(ref=ref.at(descriptor.digest), platform=AMD64), store=store.path)
    push(image, client, recorder, mount_from=base_repository(str(of_base)))
    assert base.blob.digest in fake.blobs["team/iris"]
    sent = [path for method, path in fake.log if method == "PUT" and "digest=" in path]
    assert len([path for path in sent if base.blob.digest.removeprefix("sha256:") in path]) == 1


def test_the_built_in_base_is_of_no_registry():
    assert base_repository("debian") is None
