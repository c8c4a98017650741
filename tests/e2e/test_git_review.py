"""A release that waits for its review: a real push, and a request on a forge."""

from __future__ import annotations

from pathlib import Path

import pytest

from servegen.errors import ForgeError
from servegen.gitops.releasing import review_branch
from tests.e2e.repositories import Workshop, deployment
from tests.forges.fake import REPOSITORY, TOKEN, FakeGitea, serving
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
    # Without a token it is a page for a person.
    page = shop.with_(SERVEGEN_FORGE_TOKEN="").deliver(URL, other, forge="gitea").commit
    assert page is not None
    assert page.url is not None
    assert page.url.startswith(f"https://git.example.com/{REPOSITORY}/")
