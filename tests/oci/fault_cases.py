"""Pushes and pulls that faults are injected into, and what must be true afterwards whatever happened."""

from __future__ import annotations

import hashlib
import http.client
import json
import random
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from servegen.errors import RegistryError
from servegen.oci.descriptor import DOCKER_MANIFEST, MANIFEST, Descriptor
from servegen.oci.http import Network
from servegen.oci.image import ImageConfig, Layer, assemble, read_image
from servegen.oci.push import Pusher
from servegen.oci.registry import Registry, RegistryOptions
from servegen.oci.repository import Repository
from servegen.oci.store import Store
from servegen.oci.tar import Entry, write_layer
from servegen.oci.transport import Transport
from servegen.oci.upload import UploadLimits
from servegen.progress import Silent
from servegen.values.image import ImageRef, Platform
from tests.oci.fault_kinds import Kind
from tests.oci.faulty import FaultyProxy

AMD64 = Platform(os="linux", architecture="amd64")
PUBLIC = "1.1.1.1:5000"
"""A public address; nothing is sent there, the proxy answers for it."""
ALWAYS = 1 << 30
_PATIENT, _HASTY = 20.0, 0.3


class Trial:
    """One registry behind a proxy, with an image to push and pull, and the image that was there before."""

    def __init__(self, proxy: FaultyProxy, folder: Path) -> None:
        self.proxy = proxy
        self.store = Store(folder / "store")
        self.new = self._image(60_000, 30_000, 500, seed=1)
        self.old = self._image(60_000, 31_000, seed=2)
        self._folder = folder
        self._number = 0
        self.hasty = False

    def operations(self) -> dict[str, Callable[[str], None]]:
        """By name, each for a repository."""
        return {
            "push": self._push,
            "push over another image": self._push_over,
            "push in pieces": self._push_in_pieces,
            "push with mounts": self._push_with_mounts,
            "pull": self._pull,
        }

    def repository(self) -> str:
        """A name that was not used before."""
        self._number += 1
        return f"faults/case-{self._folder.name.lower()}-{self._number}"

    def clean(self, operation: str) -> list[str]:
        """The requests of an operation without a fault."""
        name = self.repository()
        self.prepare(operation, name)
        self.proxy.begin()
        self.operations()[operation](name)
        return self.proxy.log

    def prepare(self, operation: str, repository: str) -> None:
        """What the operation finds in the registry."""
        self.proxy.begin()
        if operation == "push over another image":
            self._client_push(self.old, repository)
        if operation == "push with mounts":
            self._client_push(self.new, "faults/source")
        if operation == "pull":
            self._client_push(self.new, repository)

    def tagged(self, repository: str) -> str | None:
        """The digest under the tag, after reading every byte of what it names without our client."""
        host = http.client.HTTPConnection(self.proxy.upstream, timeout=20)
        accept = {"Accept": f"{MANIFEST}, {DOCKER_MANIFEST}"}
        status, manifest = _read(host, f"/v2/{repository}/manifests/1", accept)
        if status == 404:
            return None
        assert status == 200
        parsed = json.loads(manifest)
        for blob in (parsed["config"], *parsed["layers"]):
            status, data = _read(host, f"/v2/{repository}/blobs/{blob['digest']}", {})
            assert (status, len(data)) == (200, blob["size"])
            assert "sha256:" + hashlib.sha256(data).hexdigest() == blob["digest"]
        host.close()
        return "sha256:" + hashlib.sha256(manifest).hexdigest()

    def _image(self, *sizes: int, seed: int) -> Descriptor:
        layers = []
        for number, size in enumerate(sizes):
            # Equal sizes have equal content, so that images share layers.
            data = random.Random(size).randbytes(size)
            with self.store.scratch() as tmp:
                blob = write_layer([Entry(path=f"f{number}", data=data)], tmp, "none")
                self.store.commit(tmp, blob.digest)
            layers.append(Layer(blob=blob, name=f"l{number}", key=f"k{size}"))
        return assemble(self.store, ImageConfig(platform=AMD64, labels=(("seed", str(seed)),)), layers)

    def _network(self) -> Network:
        timeout = _HASTY if self.hasty else _PATIENT
        return Network(timeout=timeout, sleep=lambda seconds: None)

    def _client(self) -> Registry:
        return Registry(RegistryOptions(network=self._network()), Silent())

    def _ref(self, repository: str) -> ImageRef:
        return ImageRef(registry=self.proxy.host, repository=repository, tag="1")

    def _client_push(self, image: Descriptor, repository: str, source: str | None = None) -> None:
        mount_from = self._ref(source) if source else None
        with self._client() as client:
            assert client.push(self.store, image, self._ref(repository), mount_from) == image.digest

    def _push(self, repository: str) -> None:
        self._client_push(self.new, repository)

    _push_over = _push

    def _push_with_mounts(self, repository: str) -> None:
        self._client_push(self.new, repository, "faults/source")

    def _push_in_pieces(self, repository: str) -> None:
        transport = Transport(self.proxy.host, RegistryOptions(network=self._network()), Silent())
        limits = UploadLimits(single=5000, chunk=16_000)
        target = Repository(transport, repository, action="pull,push")
        assert Pusher(target, self.store, Silent(), limits=limits).push(self.new, "1") == self.new.digest
        transport.close()

    def _pull(self, repository: str) -> None:
        self._pull_from(self._client(), self._ref(repository))

    def push_and_pull_from_public(self, repository: str) -> None:
        """Both, from a registry whose address is public."""
        network = replace(self._network(), proxies=(("http", f"http://{self.proxy.host}"),))
        options = RegistryOptions(network=network, insecure_hosts=frozenset({PUBLIC}))
        ref = ImageRef(registry=PUBLIC, repository=repository, tag="1")
        client = Registry(options, Silent())
        client.push(self.store, self.new, ref)
        self._pull_from(client, ref)

    def _pull_from(self, client: Registry, ref: ImageRef) -> None:
        self._number += 1
        other = Store(self._folder / f"pulled-{self._number}")
        try:
            with client:
                assert client.pull(ref, AMD64, other) == self.new
        except RegistryError:
            assert not other.has(self.new.digest), (
                "a manifest in the store means that the pull came to its end"
            )
            raise
        finally:
            # What the store has is what its name says, also after a pull that failed.
            for blob in (other.path / "blobs" / "sha256").iterdir():
                other.check(f"sha256:{blob.name}")
        manifest, _ = read_image(other, self.new)
        assert all(other.has(each.digest, each.size) for each in (manifest.config, *manifest.layers))


@dataclass(frozen=True, kw_only=True)
class Case:
    """One fault at one place of one operation."""

    operation: str
    kind: Kind
    skip: int
    times: int

    def __str__(self) -> str:
        often = "always" if self.times == ALWAYS else f"{self.times} times"
        return f"{self.kind.name}, {self.operation}, after {self.skip} requests like it, {often}"


def cases(trial: Trial, operation: str, kinds: Sequence[Kind], count: int, seed: int) -> Iterator[Case]:
    """Faults that can happen in this operation: each kind in turn, at places and as often as `seed` says."""
    log = trial.clean(operation)
    rng = random.Random(f"{seed} {operation}")
    places = {
        kind.name: sum(1 for call in log if re.search((kind.before or (kind.pattern,))[0], call))
        for kind in kinds
    }
    possible = [kind for kind in kinds if places[kind.name] > (1 if kind.before else 0)]
    for number in range(count):
        kind = possible[number % len(possible)]
        skip = 0 if kind.before else rng.randrange(places[kind.name])
        times = rng.choice((1, 1, 1, 2, ALWAYS))
        yield Case(operation=operation, kind=kind, skip=skip, times=1 if kind.once else times)


def run(trial: Trial, case: Case) -> str:
    """How the operation ended with this fault; AssertionError when it ended badly."""
    name = trial.repository()
    trial.prepare(case.operation, name)
    before = trial.tagged(name)
    faults = case.kind.faults(case.skip, case.times)
    trial.hasty = case.kind.stalls
    trial.proxy.begin(*faults)
    outcome, problem = "success", None
    try:
        trial.operations()[case.operation](name)
    except RegistryError as exc:
        assert exc.hint, case
        outcome, problem = "error", exc
    trial.hasty = False
    trial.proxy.begin()
    assert all(fault.hits for fault in faults), f"{case}: it did not happen"
    after = trial.tagged(name)
    if problem is None:
        assert after == trial.new.digest, case
    else:
        assert case.times == ALWAYS, f"{case}: {problem}"
        # The tag may have moved before its confirmation was lost, but never to half an image.
        assert after in (before, trial.new.digest), case
    return outcome if outcome == "success" or after == before else "error after the tag moved"


def _read(host: http.client.HTTPConnection, path: str, headers: dict[str, str]) -> tuple[int, bytes]:
    host.request("GET", path, headers=headers)
    answer = host.getresponse()
    return answer.status, answer.read()
