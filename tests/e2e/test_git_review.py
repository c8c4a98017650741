"""A release that waits for its review: a real push, and a request on a forge."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from servegen.attest.documents import SBOM, VERSION
from servegen.errors import ForgeError
from servegen.gitops.promotion import Gate
from servegen.gitops.releasing import review_branch
from servegen.oci.descriptor import MANIFEST, Descriptor
from servegen.oci.image import ImageManifest
from servegen.oci.referrers import Artifact, Referrers
from servegen.oci.registry import Registry, RegistryOptions
from servegen.oci.store import Store
from servegen.progress import Silent
from servegen.values.deployment import Deployment
from servegen.values.image import ImageRef
from tests.e2e.repositories import Workshop, deployment
from tests.forges.fake import REPOSITORY, TOKEN, FakeGitea, serving
from tests.oci import fake_registry
from tests.recorder import Recorder

pytestmark = pytest.mark.e2e

URL = f"https://git.example.com/{REPOSITORY}.git"


def test_a_release_for_review_opens_a_request_and_updates_it(tmp_path: Path) -> None:
    shop = Workshop.at(tmp_path).with_(SERVEGEN_FORGE_TOKEN=TOKEN)
    remote = shop.bare()
    shop.git("config", "--global", f"url.{remote}.insteadOf", URL)
    shop.deliver(URL, deployment(env="prod", version="6"), mode="commit")
    wanted = deployment(env="prod", asked="models:/iris@champion")
    with serving(FakeGitea()) as fake:
        fake.heads[review_branch(wanted)] = "new"
        given = {"forge": "gitea", "forge_url": fake.origin}
        said = Recorder()
        made = shop.deliver(URL, wanted, said, **given).commit
        again = shop.deliver(
            URL, deployment(env="prod", asked="models:/iris@champion", queue_size=9), said, **given
        )
        assert made is not None
        assert again.commit is not None
        assert made.url == again.commit.url
        [one] = fake.requests
        assert made.branch == one["source"] == review_branch(wanted)
        assert one["title"].startswith("chore(iris/prod): deploy models:/iris/7 @ sha256:")
        assert one["labels"] == ["prod", "servegen"]
        assert one["body"].startswith("Releases `iris` in `prod`: version `6` → `7`.\n")
        assert "+++ b/apps/iris/components/release-prod/kustomization.yaml" in one["body"]
        assert said.steps[-1].endswith(f"updated {made.url}")
        # The branch is there all the same, and a second run opens the request.
        other = deployment("wine", "8", env="prod")
        with pytest.raises(ForgeError):
            shop.with_(SERVEGEN_FORGE_TOKEN="wrong").deliver(URL, other, **given)
        assert shop.log(remote, review_branch(other))[0].startswith("chore(wine/prod): deploy models:/wine/8")
        fake.heads[review_branch(other)] = "newer"
        assert shop.deliver(URL, other, **given).commit.url != made.url  # type: ignore[union-attr]
        assert len(fake.requests) == 2
        # Of another model a reviewer is told.
        rose = deployment("rose", "2", env="prod")
        fake.heads[review_branch(rose)] = "new"
        shop.deliver(URL, rose, path="apps/iris", adopt=True, **given)
        assert "> Takes the place of the model iris.\n" in fake.requests[2]["body"]
    # Without a token it is a page for a person.
    page = shop.with_(SERVEGEN_FORGE_TOKEN="").deliver(URL, other, forge="gitea").commit
    assert page is not None
    assert page.url is not None
    assert page.url.startswith(f"https://git.example.com/{REPOSITORY}/")


def packaged(
    place: fake_registry.FakeRegistry, version: str, size: int, *packages: str, folder: Path
) -> Deployment:
    """A deployment whose image is in a registry, with an SBOM of these packages where there are some."""
    layer = Descriptor(media_type="application/vnd.oci.image.layer.v1.tar+gzip", digest=f"sha256:{size:064x}",
                       size=size)  # fmt: skip
    data = ImageManifest(config=Descriptor.of(version.encode(), "text/plain"), layers=(layer,)).to_bytes()
    digest = place.put_image("iris", version, data, MANIFEST, version.encode())
    ref = ImageRef(registry=place.host, repository="iris", tag=version, digest=digest)
    rows = [
        {"type": "library", "name": name, "version": number, "purl": f"pkg:{kind}/{name}@{number}"}
        for kind, name, number in (one.split() for one in packages)
    ]
    if rows:
        sbom = json.dumps({"components": [{"type": "container", "name": "base"}, *rows]}).encode()
        with Registry(RegistryOptions(), Silent()) as remote:
            repository = remote.repository(ref, write=True)
            one = Artifact(media_type=SBOM, data=sbom, annotations=((VERSION, "1"),))
            Referrers(repository, Store(folder)).attach(Descriptor.of(data, MANIFEST), [one])
    return replace(deployment(env="prod", version=version), image=ref)


def test_a_request_tells_of_sizes_requirements_gates_and_of_what_is_taken_back(tmp_path: Path) -> None:
    shop = Workshop.at(tmp_path / "work").with_(SERVEGEN_FORGE_TOKEN=TOKEN)
    remote = shop.bare()
    shop.git("config", "--global", f"url.{remote}.insteadOf", URL)
    with fake_registry.running() as registry, serving(FakeGitea()) as fake:
        old = packaged(registry, "6", 2_000_000, "pypi numpy 1.0", "deb libc6 2", folder=tmp_path / "a")
        new = packaged(registry, "7", 3_500_000, "pypi numpy 2.0", "deb libc6 3", folder=tmp_path / "b")
        bare = packaged(registry, "8", 1_000_000, folder=tmp_path / "c")
        given = {"forge": "gitea", "forge_url": fake.origin}
        said = Recorder()
        shop.deliver(URL, old, mode="commit")
        fake.heads |= dict.fromkeys(map(review_branch, (new, bare)), "new")
        place = shop.target(URL, said, **given)
        healthy = Gate(name="healthy", met=True, why="2 of 2 pods ready")
        gates = (healthy, Gate(name="signed", met=None, why=""))
        place.deliver(new, progress=said, verb="promote", gates=gates)
        place.deliver(bare, progress=said)
        [first, second] = fake.requests
        assert first["title"].startswith("chore(iris/prod): promote models:/iris/7")
        assert "| Image size | 2.0 MB | 3.5 MB (+1.5 MB) |" in first["body"]
        assert "Requirements: 2 lines differ" in first["body"]
        assert "-numpy==1.0\n+numpy==2.0" in first["body"]
        assert "libc6" not in first["body"]
        assert "| `healthy` | passed | `2 of 2 pods ready` |" in first["body"]
        assert "| `signed` | not made |" in first["body"]
        # Without an SBOM on both sides there is nothing to compare.
        assert "1.0 MB (-1.0 MB)" in second["body"]
        assert "Requirements" not in second["body"]
        assert said.warnings == []
        place.close()
        # What is taken back waits for a review, too; the registry is gone by then.
        shop.deliver(URL, new, mode="commit")
        registry.close()
        back = "servegen/apps-iris-prod-rollback"
        fake.heads[back] = "new"
        place = shop.target(URL, said, **given)
        made, _ = place.revert("iris", "prod", None, progress=said)
        again, _ = place.revert("iris", "prod", None, progress=said)
        place.close()
        third = fake.requests[2]
        assert len(fake.requests) == 3
        assert (third["source"], third["title"]) == (back, "revert(iris/prod): models:/iris/7 -> 6")
        assert made.commit is not None
        assert again.commit is not None
        assert made.lines == (made.commit.id, again.commit.url)
        assert "version `7` → `6`" in third["body"]
        assert "> Takes models:/iris/7 back, and holds it from then on." in third["body"]
        assert "Image size" not in third["body"]
        assert "size and requirements of " in said.warnings[0]
        assert shop.log(remote)[0].startswith("chore(iris/prod): deploy models:/iris/7")
