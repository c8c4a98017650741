"""`--target git` with the real git program: what is committed, and what becomes of what is there."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from servegen.errors import (
    ConfigError,
    EditedError,
    GitError,
    HeldError,
    NotDeployedError,
    StaleAliasError,
)
from servegen.git.worktree import Access, Place, opened
from servegen.gitops.layouts import layout, layouts
from servegen.gitops.releasing import release
from servegen.gitops.wishes import Wishes
from servegen.planning.deployment import plan
from servegen.progress import Silent
from servegen.values.deployment import Settings
from tests.e2e import writers
from tests.e2e.repositories import Workshop, deployment, image
from tests.recorder import Recorder

RELEASE = "apps/iris/components/release-staging/kustomization.yaml"
BEGIN = "Begin"


@pytest.fixture
def shop(tmp_path: Path) -> Workshop:
    return Workshop.at(tmp_path)


@pytest.mark.parametrize("name", layouts())
def test_a_release_is_committed_once_read_back_and_found_again(shop: Workshop, name: str) -> None:
    remote = shop.bare()
    first = shop.deliver(remote, deployment(version="7"), layout=name)
    second = shop.deliver(remote, deployment(version="8"))
    again = shop.deliver(remote, deployment(version="8"))
    assert first.commit is not None
    assert second.commit is not None
    assert again.commit == second.commit
    assert {change.action for change in again.changes} == {"unchanged"}
    digest = f"{8:064x}"
    assert shop.log(remote) == [
        f"chore(iris/staging): deploy models:/iris/8 @ sha256:{digest[:12]}",
        "chore(iris/staging): deploy models:/iris/7 @ sha256:000000000000",
        BEGIN,
    ]
    text = shop.git("show", "-s", "--format=%b", second.commit.id, at=remote)
    assert "Version 7 -> 8" in text
    trailers = shop.git("show", "-s", "--format=%(trailers:only)", second.commit.id, at=remote).splitlines()
    assert f"Servegen-Image: registry.example.com/ml/iris@sha256:{digest}" in trailers
    assert {"Servegen-Pin: models:/iris/8", "Servegen-Environment: staging"} < set(trailers)
    checkout = shop.checkout(remote)
    record = layout(name).read(checkout / "apps/iris", "staging")
    assert record is not None
    assert (record.pin, record.image.digest) == ("models:/iris/8", f"sha256:{digest}")
    shop.whole(remote)


def test_environments_share_a_repository_and_prod_waits_for_a_review(shop: Workshop) -> None:
    remote = shop.bare()
    shop.deliver(remote, deployment())
    made = shop.deliver(remote, deployment(env="prod"), signoff=True).commit
    assert made is not None
    assert made.branch == f"servegen/iris-prod-{7:064x}"[: len("servegen/iris-prod-") + 12]
    assert len(shop.log(remote)) == 2
    assert "Signed-off-by: T <t@example.com>" in shop.git("show", "-s", "--format=%b", made.id, at=remote)
    # The same once more changes nothing; other settings replace the commit of the branch.
    assert shop.deliver(remote, deployment(env="prod"), signoff=True).commit.id == made.id  # type: ignore[union-attr]
    shop.deliver(remote, deployment(env="prod", queue_size=9))
    assert len(shop.log(remote, made.branch)) == 3
    # What somebody else adds is not thrown away.
    checkout = shop.checkout(remote)
    shop.git("switch", "-q", made.branch, at=checkout)
    (checkout / "README.md").write_text("Reviewed.\n")
    shop.commit_all(checkout, "Say so", made.branch)
    with pytest.raises(GitError, match="commits of others"):
        shop.deliver(remote, deployment(env="prod"))
    shop.whole(remote)


@pytest.mark.parametrize("seen", ["another model", "a newer version"])
def test_a_writer_that_is_faster_loses_nothing(shop: Workshop, seen: str) -> None:
    remote = shop.bare()
    shop.deliver(remote, deployment(version="7"))
    faster = shop.folder / "faster.git"
    shutil.copytree(remote, faster)
    newer = seen == "a newer version"
    shop.deliver(faster, deployment(version="9") if newer else deployment("wine", "3"))
    shop.hook("pre-commit", f"git --git-dir={faster} push -q {remote} main 2>/dev/null || true")
    said = Recorder()
    if newer:
        with pytest.raises(StaleAliasError, match=r"newer version 9 of iris, since .* by T") as caught:
            shop.deliver(remote, deployment(version="8"), said)
        assert "--force-older" in caught.value.hint
        assert len(shop.log(remote)) == 3
        shop.deliver(remote, deployment(version="8"), force_older=True)
    else:
        made = shop.deliver(remote, deployment(version="8"), said).commit
        assert made is not None
        assert made.attempts == 2
        assert any(text.startswith("attempt 1 of 5") for text in said.steps)
    assert [line.partition(" @")[0].rpartition(" ")[2] for line in shop.log(remote)] == [
        "models:/iris/8",
        "models:/iris/9" if newer else "models:/wine/3",
        "models:/iris/7",
        BEGIN,
    ]
    shop.whole(remote)


def _seen(checkout: Path) -> dict[str, bytes]:
    """The files of a checkout, and its index and settings."""
    paths = [path for path in checkout.rglob("*") if path.is_file() and ".git" not in path.parts]
    paths += [checkout / ".git" / name for name in ("index", "config", "HEAD")]
    return {str(path): path.read_bytes() for path in paths}


def test_a_checkout_stays_as_it_is(shop: Workshop) -> None:
    remote = shop.bare()
    shop.deliver(remote, deployment(version="7"))
    checkout = shop.checkout(remote)
    shop.deliver(remote, deployment("wine", "3"))
    # Some of the files are left out of the checkout, one looks new, and git would make ends of lines its own.
    shop.git("sparse-checkout", "set", "--no-cone", "/README.md", "/apps/iris/overlays/", at=checkout)
    os.utime(checkout / "apps/iris/overlays/staging/kustomization.yaml", (1, 1))
    (checkout / "apps/iris/notes.txt").write_text("mine\n")
    (checkout / "README.md").write_text("changed\n")
    shop.git("add", "README.md", at=checkout)
    with (shop.folder / "gitconfig").open("a") as file:
        file.write("[core]\nautocrlf = true\nsafecrlf = true\n")
    before = _seen(checkout)
    said = Recorder()
    made = shop.deliver(checkout, deployment(version="8"), said)
    assert _seen(checkout) == before
    assert {change.action for change in made.changes} == {"configured", "unchanged"}
    assert shop.git("worktree", "list", at=checkout).count("\n") == 0
    assert "apps/iris/notes.txt" in said.warnings[0]
    assert "is not at main" in said.warnings[1]
    assert len(shop.log(remote)) == 4
    # A killed run leaves a work tree; the next run removes it, and only that.
    left = shop.folder / "cache/git/tree-left/tree"
    shop.git("worktree", "add", "-q", "--detach", str(left), at=checkout)
    shop.git("worktree", "add", "-q", "--detach", str(shop.folder / "mine"), at=checkout)
    shop.deliver(checkout, deployment(version="8"))
    assert "tree-left" not in shop.git("worktree", "list", at=checkout)
    assert str(shop.folder / "mine") in shop.git("worktree", "list", at=checkout)
    shop.whole(remote)


def test_what_was_edited_by_hand_is_not_overwritten(shop: Workshop) -> None:
    remote = shop.bare()
    shop.deliver(remote, deployment(version="7"))
    checkout = shop.checkout(remote)
    path = checkout / RELEASE
    text = path.read_text()
    # Another quoting and a comment are nobody's change of content.
    path.write_text(text.replace('"7"', "'7'").replace("images:", "# The image.\nimages:"))
    overlay = checkout / "apps/iris/overlays/staging/kustomization.yaml"
    more = "namePrefix: team-\nimages: [{name: registry.example.com/ml/iris, newTag: old, digest: ''}]\n"
    overlay.write_text(overlay.read_text() + more)
    shop.commit_all(checkout, "Format")
    assert {change.action for change in shop.deliver(remote, deployment(version="7")).changes} == {
        "unchanged"
    }
    said = Recorder()
    shop.deliver(remote, deployment(version="8"), said)
    if shutil.which("kubectl"):
        assert "will run registry.example.com/ml/iris:old, not" in said.warnings[0]
    assert "namePrefix" in shop.file(remote, str(overlay.relative_to(checkout)))
    shop.git("pull", "-q", at=checkout)
    path.write_text(path.read_text().replace("newTag", "x").replace('"2-10"', '"2-99"'))
    shop.commit_all(checkout, "Edit")
    with pytest.raises(EditedError, match=r"release-staging/kustomization\.yaml") as caught:
        shop.deliver(remote, deployment(version="9"))
    assert "2-99" in caught.value.details
    assert "--adopt" in caught.value.hint
    shop.deliver(remote, deployment(version="9"), adopt=True)
    assert "2-99" not in shop.file(remote, RELEASE)
    # Held back by a rollback, and let go again.
    shop.git("pull", "-q", at=checkout)
    held = layout("kustomize").bundle(deployment(version="8"), held="models:/iris/9").text(RELEASE[10:])
    path.write_text(held)
    shop.commit_all(checkout, "Hold")
    with pytest.raises(HeldError, match="models:/iris/9 was rolled back"):
        shop.deliver(remote, deployment(version="9"))
    shop.deliver(remote, deployment(version="10"))
    assert "servegen.dev/hold: models:/iris/9" in shop.file(remote, RELEASE)
    shop.deliver(remote, deployment(version="9"), release_hold=True, force_older=True)
    assert "servegen.dev/hold" not in shop.file(remote, RELEASE)


@pytest.mark.parametrize("name", layouts())
def test_another_model_takes_a_release_s_place_only_when_told_to(shop: Workshop, name: str) -> None:
    remote = shop.bare()
    shop.deliver(remote, deployment(), layout=name)
    with pytest.raises(ConfigError, match=r"apps/iris \(staging\) is of iris, not of wine") as caught:
        shop.deliver(remote, deployment("wine"), path="apps/iris")
    assert "--adopt" in caught.value.hint
    said = Recorder()
    shop.deliver(remote, deployment("wine"), said, path="apps/iris", adopt=True)
    assert "apps/iris (staging) had iris until now, and gets wine" in said.warnings
    assert len(shop.log(remote)) == 3
    # Back again only with what it shared with others.
    place = shop.target(remote)
    if layout(name).shares:
        with pytest.raises(NotDeployedError, match="has iris, and what environments share is of wine now"):
            place.revert("iris", "staging", None, progress=Silent())
    else:
        assert place.revert("iris", "staging", None, progress=Silent())[1].after.model_name == "iris"
    place.close()
    shop.whole(remote)


@pytest.mark.parametrize("name", layouts())
def test_an_environment_that_is_called_otherwise_is_deployed_again(shop: Workshop, name: str) -> None:
    remote = shop.bare()
    settings = Settings(name="iris-x", environment="staging")
    shared = Settings()
    for number, version in enumerate(("7", "8"), 2):
        shop.deliver(remote, plan(image("iris", version), settings, shared), layout=name, path="apps/iris")
        assert len(shop.log(remote)) == number


@pytest.mark.parametrize("name", ["kustomize", "helm"])
def test_another_model_does_not_take_a_folder_from_other_environments(shop: Workshop, name: str) -> None:
    remote = shop.bare()
    shop.deliver(remote, deployment(), layout=name)
    shop.deliver(remote, deployment(env="qa"))
    with pytest.raises(ConfigError, match="is of iris, which qa would lose to wine") as caught:
        shop.deliver(remote, deployment("wine"), path="apps/iris", force_older=True)
    assert "--path" in caught.value.hint
    # Under the same name it is for one environment to decide, and told.
    said = Recorder()
    settings = Settings(name="iris", environment="staging")
    shop.deliver(remote, plan(image("wine"), settings, replace(settings, environment=None)), said)
    assert "apps/iris (staging) had iris until now, and gets wine" in said.warnings
    with pytest.raises(ConfigError, match=f"is laid out as {name}, not as manifests"):
        shop.deliver(remote, deployment(), layout="manifests")
    assert len(shop.log(remote)) == 4
    shop.whole(remote)


def test_a_rollback_brings_no_file_of_this_machine_into_the_repository(shop: Workshop) -> None:
    remote = shop.bare()
    shop.deliver(remote, deployment(version="7"))
    (shop.folder / "secret").write_text("kind: s3cret\n")
    checkout = shop.checkout(remote)
    link = checkout / RELEASE.replace("kustomization", "extra")
    link.symlink_to(shop.folder / "secret")
    shop.commit_all(checkout, "Link to it")
    linked = shop.git("rev-parse", "main", at=remote)
    link.unlink()
    shop.commit_all(checkout, "Link no more")
    shop.deliver(remote, deployment(version="8"))
    place = shop.target(remote)
    with pytest.raises(NotDeployedError, match="has no release"):
        place.revert("iris", "staging", linked, progress=Silent())
    _, reverted = place.revert("iris", "staging", None, progress=Silent())
    place.close()
    assert reverted.after.version == "7"
    assert shop.git("log", "--format=%H", "-S", "s3cret", "main", at=remote) == ""
    shop.whole(remote)


def test_an_alias_that_moves_meanwhile_is_told(shop: Workshop) -> None:
    remote = shop.bare()
    answers = iter(["models:/iris/7", "models:/iris/8", "models:/iris/7"])
    said = Recorder()
    access = Access(env=shop.variables, scratch=shop.folder / "cache/git")
    wishes = Wishes(path="apps/iris", mode="commit")
    with opened(Place(repo=str(remote)), access, Silent()) as tree:

        def give(version: str) -> None:
            wanted = deployment(version=version, asked="models:/iris@champion")
            release(wanted, tree, wishes, lambda _: next(answers), said)

        give("7")
        assert not said.warnings
        shop.deliver(remote, deployment(version="6"), force_older=True)
        give("7")
        assert "models:/iris@champion has moved on to models:/iris/8" in said.warnings[0]
        text = shop.git("show", "-s", "--format=%b", "main", at=remote)
        assert "has moved on to models:/iris/8 while models:/iris/7 was deployed." in text
        assert "Servegen-Pin: models:/iris/7" in text
        assert "Servegen-Model-Uri: models:/iris@champion" in text
        # An alias that was moved back is what its owner wants: no older version by mistake.
        shop.deliver(remote, deployment(version="9"))
        give("7")
        # Twice, the second time while somebody else is faster.
        meanings = iter(["models:/iris/10", "models:/iris/11"])

        def moving(_: str) -> str:
            found = next(meanings)
            if found == "models:/iris/10":
                shop.deliver(remote, deployment("wine", "3"))
            return found

        release(deployment(version="9", asked="models:/iris@champion"), tree, wishes, moving, said)
    subjects = shop.log(remote)
    assert [" models:/iris/9 " in subjects[0], "wine" in subjects[1]] == [True, True]
    assert " models:/iris/7 " in subjects[2]
    text = shop.git("show", "-s", "--format=%b", "main", at=remote)
    assert "has moved on to models:/iris/11 while models:/iris/9 was deployed." in text
    assert "models:/iris/10" not in text


def test_the_command_prints_the_commit_alone(shop: Workshop) -> None:
    remote = shop.bare()
    with writers.registry() as push:
        reference = push("iris", "7")
        deploy = [sys.executable, "-m", "servegen", "deploy", reference, "--target", "git"]

        def run(*more: str) -> subprocess.CompletedProcess[str]:
            return subprocess.run(
                [*deploy, "--repo", str(remote), "--env", "staging", *more],
                cwd=shop.folder,
                env=shop.variables,
                capture_output=True,
                text=True,
                check=False,
            )

        rehearsed = run("--dry-run")
        assert rehearsed.returncode == 1
        assert f"+++ b/{RELEASE}" in rehearsed.stdout
        assert len(shop.log(remote)) == 1
        done = run()
        assert done.returncode == 0, done.stderr
        head = shop.git("rev-parse", "main", at=remote)
        assert done.stdout == f"{head}\n"
        told = json.loads(run("--json").stdout)
        assert told["commit"]["id"] == head
        assert told["commit"]["branch"] == "main"
        assert {change["action"] for change in told["changes"]} == {"unchanged"}
        assert (run("--dry-run").stdout, run("--dry-run").returncode) == ("", 0)
        refused = run("--mode", "sometimes")
        assert refused.returncode == 10
        assert "one of commit, pr, auto" in refused.stderr
        component = yaml.safe_load(shop.file(remote, RELEASE))
        assert component["images"][0]["digest"] in reference


def test_many_writers_lose_nothing(tmp_path: Path) -> None:
    report = writers.run(tmp_path, writers=3, models=3, refusing=True)
    assert report.lost == []
    assert (report.commits, report.linear) == (9, True)


def test_killed_writers_are_finished_by_the_next_run(tmp_path: Path) -> None:
    assert writers.kill(tmp_path, kills=4) == []
