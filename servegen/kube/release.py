"""What `deploy` remembers in the cluster: the ConfigMap `<instance>-release`.

It lists the objects of the last deployment whose pods answered, and holds the last five deployments
whole, each as gzipped JSON, so that `rollback` brings back everything and not the pods alone.
"""

from __future__ import annotations

import base64
import gzip
import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

from servegen.errors import DeployError
from servegen.kube import Object, metadata
from servegen.kube.client import Cluster
from servegen.kube.refusal import RefusalError

KEPT = 5
LIMIT = 900 * 1024
"""Bytes of all bundles together, as base64; the API server takes one MiB with everything around them."""
_KIND = ("v1", "ConfigMap")


@dataclass(frozen=True, kw_only=True)
class Release:
    """A deployment whose pods answered."""

    number: int
    """Counts up; one that is rolled back to gets a new number."""
    time: str
    """When its pods were first seen to answer: RFC 3339, UTC."""
    version: str
    """Of the model."""
    image: str
    objects: tuple[Object, ...]


@dataclass(frozen=True, kw_only=True)
class Part:
    """An object that was applied."""

    api_version: str
    kind: str
    name: str


@dataclass(frozen=True, kw_only=True)
class Inventory:
    """What the cluster knows of an instance's past; empty before its first release."""

    parts: tuple[Part, ...] = ()
    releases: tuple[Release, ...] = ()
    """Oldest first."""
    hidden: bool = False
    """Whether the login may not read it; then nothing is written over it."""


def name_of(instance: str) -> str:
    """The name of the ConfigMap."""
    return f"{instance}-release"


def instance_of(objects: Sequence[Object]) -> str | None:
    """Whose release `objects` are; None for objects without a Deployment of ours."""
    labels = [one["metadata"].get("labels", {}) for one in objects if one["kind"] == "Deployment"]
    return next((found for one in labels if (found := one.get(f"{metadata.PREFIX}instance"))), None)


def read(cluster: Cluster, instance: str) -> Inventory:
    """The inventory of `instance`; raises DeployError where it cannot be read."""
    try:
        found = cluster.get(*_KIND, name_of(instance))
    except RefusalError as exc:
        if exc.status == 403:
            return Inventory(hidden=True)
        raise
    if found is None:
        return Inventory()
    try:
        return _decode(found)
    except (KeyError, TypeError, ValueError, OSError, EOFError, zlib.error) as exc:
        msg = f"ConfigMap {name_of(instance)} is no record of releases: {exc}"
        raise DeployError(
            msg, hint=f"kubectl --namespace {cluster.namespace} delete configmap {name_of(instance)}"
        ) from exc


def record(inventory: Inventory, objects: Sequence[Object], *, time: str) -> Inventory:
    """`inventory` after `objects` answered: the same one where they are its newest release.

    An older release with the same objects gets the next number instead of a copy, as a rollback does
    with the revisions of a Deployment.
    """
    parts = tuple(
        Part(api_version=one["apiVersion"], kind=one["kind"], name=one["metadata"]["name"]) for one in objects
    )
    newest = inventory.releases[-1] if inventory.releases else None
    if newest is not None and same(newest, objects):
        return replace(inventory, parts=parts)
    fresh = Release(
        number=newest.number + 1 if newest else 1,
        time=time,
        version=_version(objects),
        image=_image(objects),
        objects=tuple(objects),
    )
    others = [one for one in inventory.releases if not same(one, objects)]
    return Inventory(parts=parts, releases=(*others, fresh)[-KEPT:])


def same(release: Release, objects: Sequence[Object]) -> bool:
    """Whether `release` consists of `objects`."""
    return _text(release.objects) == _text(objects)


def write(cluster: Cluster, instance: str, inventory: Inventory) -> Inventory:
    """Store the inventory; what of it had room is returned, the newest releases first of all."""
    fitting = inventory
    while fitting.releases and sum(len(_packed(one)) for one in fitting.releases) > LIMIT:
        fitting = replace(fitting, releases=fitting.releases[1:])
    cluster.apply(_encode(cluster.namespace, instance, fitting), manager=metadata.MANAGER, force=True)
    return fitting


def _encode(namespace: str, instance: str, inventory: Inventory) -> Object:
    newest = inventory.releases[-1].objects if inventory.releases else ()
    labels: Object = next(
        (one["metadata"].get("labels", {}) for one in newest if one["kind"] == "Deployment"), {}
    )
    about = [
        {"number": o.number, "time": o.time, "version": o.version, "image": o.image}
        for o in inventory.releases
    ]
    parts = [{"apiVersion": o.api_version, "kind": o.kind, "name": o.name} for o in inventory.parts]
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": name_of(instance),
            "namespace": namespace,
            "labels": labels | {f"{metadata.PREFIX}instance": instance},
        },
        "data": {"inventory": json.dumps(parts), "releases": json.dumps(about)},
        "binaryData": {f"{one.number}.json.gz": _packed(one) for one in inventory.releases},
    }


def _decode(found: Object) -> Inventory:
    bundles = found.get("binaryData") or {}
    return Inventory(
        parts=tuple(
            Part(api_version=one["apiVersion"], kind=one["kind"], name=one["name"])
            for one in json.loads(found["data"]["inventory"])
        ),
        releases=tuple(
            Release(
                number=int(one["number"]),
                time=str(one["time"]),
                version=str(one["version"]),
                image=str(one["image"]),
                objects=tuple(
                    json.loads(gzip.decompress(base64.b64decode(bundles[f"{one['number']}.json.gz"])))
                ),
            )
            for one in json.loads(found["data"]["releases"])
        ),
    )


def _packed(release: Release) -> str:
    # Without a time in it, so that the same release is the same text.
    return base64.b64encode(gzip.compress(_text(release.objects).encode(), mtime=0)).decode()


def _text(objects: Sequence[Object]) -> str:
    return json.dumps(list(objects), sort_keys=True, separators=(",", ":"))


def _version(objects: Sequence[Object]) -> str:
    (deployment,) = [one for one in objects if one["kind"] == "Deployment"][:1]
    return str(deployment["metadata"].get("labels", {}).get("app.kubernetes.io/version", ""))


def _image(objects: Sequence[Object]) -> str:
    (deployment,) = [one for one in objects if one["kind"] == "Deployment"][:1]
    containers = deployment["spec"]["template"]["spec"]["containers"]
    return str(
        next(
            (one["image"] for one in containers if one["name"] == metadata.CONTAINER), containers[0]["image"]
        )
    )
