"""`--target git` with the real git program: what is committed, and what happens where that does not work."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from servegen import charts
from servegen.config import Config, environment
from servegen.errors import (
    ConfigError,
    EditedError,
    GitAuthError,
    GitError,
    HeldError,
    IdentityError,
    ProtectedBranchError,
    PushError,
    RenderError,
    SigningError,
    StaleAliasError,
    ValidationError,
)
from servegen.git.worktree import Access, Place, opened
from servegen.gitops.layouts import layout, layouts
from servegen.gitops.releasing import release
from servegen.gitops.wishes import Wishes
from servegen.job import Job
from servegen.progress import Silent
from servegen.renderers.helm import Helm
from tests.e2e import writers
from tests.e2e.repositories import Workshop, deployment, served
from tests.recorder import Recorder

RELEASE = "apps/iris/components/release-staging/kustomization.yaml"
BEGIN = "Begin"


@pytest.fixture
def shop(tmp_path: Path) -> Workshop:
    return Workshop.at(tmp_path)


def hook(shop: Workshop, name: str, text: str) -> Workshop:
    """A hook of the user's own; git runs it at every commit."""
    folder = shop.folder / "hooks"
    script(folder / name, text)
    with (shop.folder / "gitconfig").open("a") as file:
        file.write(f"[core]\nhooksPath = {folder}\n")
    return shop


def script(path: Path, text: str) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def whole(shop: Workshop, remote: Path) -> None:
    """Nothing is left of the work, and the repository is sound."""
    assert list((shop.folder / "cache/git").iterdir()) == []
    shop.git("fsck", "--strict", at=remote)


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
    whole(shop, remote)


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
    whole(shop, remote)


@pytest.mark.parametrize("seen", ["another model", "a newer version"])
def test_a_writer_that_is_faster_loses_nothing(shop: Workshop, seen: str) -> None:
    remote = shop.bare()
    shop.deliver(remote, deployment(version="7"))
    faster = shop.folder / "faster.git"
    shutil.copytree(remote, faster)
    newer = seen == "a newer version"
    shop.deliver(faster, deployment(version="9") if newer else deployment("wine", "3"))
    hook(shop, "pre-commit", f"git --git-dir={faster} push -q {remote} main 2>/dev/null || true")
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
    whole(shop, remote)


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
    whole(shop, remote)


def test_branches_that_are_not_there(shop: Workshop) -> None:
    remote = shop.bare()
    with pytest.raises(GitError, match="has no branch live") as caught:
        shop.deliver(remote, deployment(), branch="live")
    assert "--create-branch" in caught.value.hint
    shop.deliver(remote, deployment(), branch="live", create_branch=True)
    assert len(shop.log(remote, "live")) == 2
    assert len(shop.log(remote, "main")) == 1
    empty = shop.bare("empty.git", empty=True)
    shop.deliver(empty, deployment(), path=".")
    shop.deliver(empty, deployment(version="8"), path=".")
    assert len(shop.log(empty)) == 2
    assert "sha256:" in shop.file(empty, "components/release-staging/kustomization.yaml")
    for branch in ("-x", "a..b", "a b", "x.lock", ""):
        with pytest.raises(ConfigError, match="cannot be the name"):
            shop.deliver(remote, deployment(), branch=branch)
    with pytest.raises(GitError, match="no repository"):
        shop.deliver(shop.folder / "nowhere.git", deployment())
    (shop.folder / "plain").mkdir()
    with pytest.raises(GitError, match="no Git repository"):
        shop.deliver(shop.folder / "plain", deployment())


def test_a_protected_branch_is_not_asked_again(shop: Workshop) -> None:
    remote = shop.bare()
    refuse = (
        'while read _ _ ref; do test $ref != refs/heads/main || { echo "GH006: Protected"; exit 1; }; done'
    )
    script(remote / "hooks/pre-receive", refuse)
    with pytest.raises(ProtectedBranchError) as caught:
        shop.deliver(remote, deployment())
    assert "--mode pr" in caught.value.hint
    assert "GH006" in caught.value.details
    made = shop.deliver(remote, deployment(), mode="auto").commit
    assert made is not None
    assert made.branch.startswith("servegen/iris-staging-")
    assert len(shop.log(remote, made.branch)) == 2
    whole(shop, remote)


def test_identity_and_signing_are_the_users(shop: Workshop) -> None:
    remote = shop.bare()
    (shop.folder / "gitconfig").write_text("")
    with pytest.raises(IdentityError) as caught:
        shop.deliver(remote, deployment())
    assert "git config --global user.email" in caught.value.hint
    key = shop.folder / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    (shop.folder / "gitconfig").write_text(
        f"[user]\nname = T\nemail = t@example.com\nsigningkey = {key}\n"
        "[gpg]\nformat = ssh\n[commit]\ngpgsign = true\n"
    )
    made = shop.deliver(remote, deployment()).commit
    assert made is not None
    assert "SSH SIGNATURE" in shop.git("cat-file", "commit", made.id, at=remote)
    key.unlink()
    (shop.folder / "key.pub").unlink()
    with pytest.raises(SigningError):
        shop.deliver(remote, deployment(version="8"))
    assert len(shop.log(remote)) == 2
    shop.deliver(remote, deployment(version="8"), sign=False)
    assert len(shop.log(remote)) == 3


def test_logins_over_http_are_in_no_url_argument_or_text(shop: Workshop) -> None:
    remote = shop.bare()
    shop.git("config", "http.receivepack", "true", at=remote)
    seen: list[str] = []

    class Watch(Recorder):
        def program(self, argv: Any) -> None:
            seen.extend(argv)

    with served(shop.folder, shop.variables) as web:
        url = f"{web.url}/remote.git"
        web.users, web.readers = {"x-access-token": "s3cret", "reader": "r"}, {"reader"}
        store = shop.folder / "stored"
        with (shop.folder / "gitconfig").open("a") as file:
            file.write(f"[credential]\nhelper = store --file={store}\n")
        with pytest.raises(GitAuthError, match="wants a login"):
            shop.deliver(url, deployment(), Watch())
        web.message = "The provided token has expired"
        with pytest.raises(GitAuthError, match="expire") as caught:
            shop.with_(SERVEGEN_GIT_TOKEN="0ld-t0ken").deliver(url, deployment(), Watch())
        web.message = ""
        with pytest.raises(GitAuthError):
            shop.with_(SERVEGEN_GIT_TOKEN="r", SERVEGEN_GIT_USERNAME="reader").deliver(
                url, deployment(), Watch()
            )
        assert len(shop.log(remote)) == 1
        made = shop.with_(SERVEGEN_GIT_TOKEN="s3cret").deliver(url, deployment(), Watch())
        assert len(shop.log(remote)) == 2
        assert made.commit is not None
        assert made.commit.repository == url
        texts = [*seen, str(caught.value), caught.value.hint, caught.value.details]
        assert not any("s3cret" in text or "0ld-t0ken" in text for text in texts)
        assert not store.exists() or not store.read_text()
        # The user's own helper is asked where there is no token.
        store.write_text(web.url.replace("://", "://x-access-token:s3cret@"))
        shop.deliver(url, deployment(version="8"))
        with pytest.raises(ConfigError) as refused:
            shop.deliver(url.replace("://", "://me:s3cret@"), deployment())
        assert "s3cret" not in f"{refused.value}{refused.value.hint}"
        # A server that is down for a while costs attempts; one that stays down ends them.
        web.down = 2
        assert shop.deliver(url, deployment(version="9")).commit is not None
        web.down = 99
        with pytest.raises(PushError, match="2 attempts"):
            shop.deliver(url, deployment(version="10"), max_attempts=2)
    whole(shop, remote)


def test_a_server_that_gives_no_parts_is_asked_for_all(shop: Workshop) -> None:
    remote = shop.bare()
    shop.git("update-server-info", at=remote)
    server = subprocess.Popen(
        [sys.executable, "-um", "http.server", "0", "--bind", "127.0.0.1"],
        cwd=shop.folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert server.stdout is not None
        port = server.stdout.readline().partition(" port ")[2].split()[0]
        target = shop.target(f"http://127.0.0.1:{port}/remote.git", branch="main")
        assert "+++ b/apps/iris/base/deployment.yaml" in target.diff(deployment())
        target.close()
    finally:
        server.kill()
        server.wait()
    # Nor is one with a part of the history only in the way.
    shop.deliver(remote, deployment())
    shop.git("clone", "-q", "--bare", "--depth=1", remote.as_uri(), "shallow.git")
    assert shop.deliver(shop.folder / "shallow.git", deployment(version="8")).commit is not None
    assert len(shop.log(shop.folder / "shallow.git")) == 2


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


def test_hooks_may_format_and_may_refuse(shop: Workshop) -> None:
    remote = shop.bare()
    # As pre-commit does it: the first run changes files and fails.
    formats = f"""test -n "$(git diff --cached --name-only -- '*.yaml')" || exit 0
grep -q formatted {RELEASE} && exit 0
for file in $(git diff --cached --name-only); do echo '# formatted' >> $file; done
echo files were modified; exit 1"""
    hook(shop, "pre-commit", formats)
    shop.deliver(remote, deployment(version="7"))
    assert "# formatted" in shop.file(remote, RELEASE)
    assert len(shop.log(remote)) == 2
    assert {change.action for change in shop.deliver(remote, deployment(version="7")).changes} == {
        "unchanged"
    }
    script(shop.folder / "hooks/commit-msg", "echo no ticket is named; exit 1")
    with pytest.raises(GitError) as caught:
        shop.deliver(remote, deployment(version="8"))
    assert caught.value.details == "no ticket is named"
    (shop.folder / "hooks/commit-msg").unlink()
    script(shop.folder / "hooks/pre-commit", f"git rm -q --cached {RELEASE}")
    with pytest.raises(GitError, match=r"a hook .* changes what is released: apps/iris/components"):
        shop.deliver(remote, deployment(version="8"))
    assert len(shop.log(remote)) == 2
    whole(shop, remote)


@contextlib.contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Let nothing be written there; for root, whom modes do not keep out, by a mount."""
    if os.geteuid():
        for place in (folder, folder / "objects"):
            place.chmod(stat.S_IRUSR | stat.S_IXUSR)
        yield
        for place in (folder, folder / "objects"):
            place.chmod(0o755)
        return
    subprocess.run(["mount", "--bind", folder, folder], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", folder], check=True)
        yield
    finally:
        subprocess.run(["umount", folder], check=True)


def test_places_that_cannot_hold_a_release(shop: Workshop) -> None:
    remote = shop.bare()
    inner = shop.bare("inner.git")
    checkout = shop.checkout(remote)
    shop.git("-c", "protocol.file.allow=always", "submodule", "add", "-q", str(inner), "sub", at=checkout)
    (checkout / ".gitattributes").write_text("large/** filter=lfs\n")
    (checkout / "link").symlink_to("..")
    (checkout / "file").write_text("x\n")
    (checkout / "apps").mkdir()
    (checkout / "apps/base").symlink_to("../../../..")
    shop.commit_all(checkout, "Add obstacles")
    for path, match in (
        ("sub/iris", "submodule"),
        ("large/iris", "LFS"),
        ("link/iris", "link"),
        ("apps", "link|file"),
        ("file", "file"),
        ("../x", "no folder"),
        ("a/../../x", "no folder"),
        (".git/hooks", "no folder"),
        ("/etc", "no folder"),
        ("-x", "no folder"),
    ):
        with pytest.raises((GitError, ConfigError), match=match):
            shop.deliver(remote, deployment(), path=path)
    assert len(shop.log(remote)) == 2
    # Content that is in the way, and what kustomize refuses.
    (checkout / "apps/iris/base").mkdir(parents=True)
    (checkout / "apps/iris/base/deployment.yaml").write_text("kind: Deployment\n")
    (checkout / "apps/wine/overlays/staging").mkdir(parents=True)
    (checkout / "apps/wine/overlays/staging/kustomization.yaml").write_text(
        "resources: [../../base]\ncomponents: [../../components/release-staging]\n"
        "patches:\n- target: {kind: Deployment}\n"
        '  patch: \'[{"op": "add", "path": "/spec/foo", "value": 1}]\'\n'
    )
    (checkout / "apps/rose/overlays/staging").mkdir(parents=True)
    (checkout / "apps/rose/overlays/staging/kustomization.yaml").write_text("resources: [../../absent]\n")
    shop.commit_all(checkout, "Be in the way")
    with pytest.raises(EditedError, match=r"base/deployment\.yaml"):
        shop.deliver(remote, deployment())
    if shutil.which("kubectl"):
        with pytest.raises(ValidationError, match=r"refused by Kubernetes .*foo"):
            shop.deliver(remote, deployment("wine"))
        with pytest.raises(RenderError, match=r"^apps/rose/overlays/staging cannot be built") as caught:
            shop.deliver(remote, deployment("rose"))
        assert str(shop.folder) not in f"{caught.value}{caught.value.hint}"
    with read_only(remote), pytest.raises(GitAuthError, match="cannot be written"):
        shop.deliver(remote, deployment(), path="apps/other")


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


def test_what_applies_it_comes_with_the_first_commit_and_is_the_users_then(shop: Workshop) -> None:
    url = "https://git.example.com/flowers/models.git"
    remote = shop.bare()
    shop.git("config", "--global", f"url.{remote}.insteadOf", url)
    with pytest.raises(ConfigError, match="default"):
        shop.deliver(url, deployment(), gitops="argo")
    with pytest.raises(ConfigError, match="cannot be read"):
        shop.deliver(remote, deployment(), gitops="flux")
    assert len(shop.log(remote)) == 1
    argo = {"gitops": "argo", "project": "ml"}
    shop.deliver(url, deployment(), **argo)
    assert len(shop.log(remote)) == 2
    one = yaml.safe_load(shop.file(remote, "argocd/iris-staging.yaml"))
    assert one["spec"]["source"] == {
        "repoURL": url,
        "targetRevision": "main",
        "path": "apps/iris/overlays/staging",
    }
    checkout = shop.checkout(remote)
    assert (checkout / one["spec"]["source"]["path"] / "kustomization.yaml").is_file()
    # It may be moved and edited; a new version changes nothing of it, nor does another controller come.
    (checkout / "argocd/iris-staging.yaml").rename(checkout / "iris.yaml")
    shop.commit_all(checkout, "Move it")
    said = Recorder()
    made = shop.deliver(url, deployment(version="8"), said, gitops="flux")
    assert {change.name.split("/")[0] for change in made.changes} == {"apps"}
    assert "apps/iris/overlays/staging is applied by iris.yaml already" in said.steps
    # An ApplicationSet for all covers what comes after it; its file is written once.
    shop.deliver(url, deployment("wine"), **argo, application_set=True)
    assert yaml.safe_load(shop.file(remote, "argocd/models.yaml"))["kind"] == "ApplicationSet"
    made = shop.deliver(url, deployment("tulip"), said, **argo)
    assert {change.name.split("/")[0] for change in made.changes} == {"apps"}
    made = shop.deliver(url, deployment("tulip", "8"), **argo, application_set=True)
    actions = {change.name: change.action for change in made.changes}
    assert actions["argocd/models.yaml"] == "unchanged"
    assert said.warnings == []
    shop.deliver(url, deployment("rose"), said, **argo, application_set=True, layout="manifests")
    assert said.warnings == [
        "argocd/models.yaml is there, stays as it is, and does not apply apps/rose/staging"
    ]
    whole(shop, remote)


def test_values_for_a_chart_elsewhere_are_released_and_taken_back(
    shop: Workshop, tools: Path, docker_registry: str
) -> None:
    url, path = "ssh://git@git.example.com/flowers/models.git", "clusters/staging/iris-staging.yaml"
    remote = shop.bare()
    shop.git("config", "--global", f"url.{remote}.insteadOf", url)
    shop = shop.with_(PATH=f"{tools}:{shop.variables['PATH']}")
    chart = "oci://127.0.0.1:9/charts/servegen-model:1.0.0"
    said = Recorder()
    shop.deliver(url, deployment(), said, gitops="flux", layout="values", chart=chart)
    assert any(f"{chart} cannot be had" in text for text in said.warnings)

    def digests() -> tuple[str, str]:
        release = next(
            one for one in yaml.safe_load_all(shop.file(remote, path)) if one["kind"] == "HelmRelease"
        )
        own = yaml.safe_load(shop.file(remote, "apps/iris/values-staging.yaml"))
        assert release["spec"]["values"] == own
        return release["spec"]["values"]["image"]["digest"], shop.log(remote)[0]

    assert digests()[0] == f"sha256:{7:064x}"
    # Layout, chart and HelmRelease are found again, wherever the latter is.
    checkout = shop.checkout(remote)
    shop.git("mv", path, "moved.yaml", at=checkout)
    shop.commit_all(checkout, "Move it")
    path = "moved.yaml"
    shop.deliver(url, deployment(version="8"))
    assert digests()[0] == f"sha256:{8:064x}"
    assert f"# servegen.dev/chart: {chart}\n" in shop.file(remote, "apps/iris/values-staging.yaml")
    place = shop.target(url)
    assert place.record("iris", "staging")[0].pin == "models:/iris/8"
    place.revert("iris", "staging", None, progress=Silent())
    place.close()
    assert digests() == (f"sha256:{7:064x}", "revert(iris/staging): models:/iris/8 -> 7")
    with pytest.raises(HeldError):
        shop.deliver(url, deployment(version="8"))
    # Built from a chart that is there, and from servegen's own where none is named.
    job = Job(config=Config(), environment=environment(shop.variables), lock_file=None)
    packed = charts.pack(Helm().render(deployment("wine")))
    pushed = charts.push(packed, f"oci://{docker_registry}/charts", job, Silent()).partition("@")[0]
    warned = len(said.warnings)
    shop.deliver(url, deployment(env="qa"), said, chart=pushed)
    shop.deliver(url, deployment("tulip"), said, layout="values")
    assert len(said.warnings) == warned
    checkout = shop.checkout(remote, "again")
    for name, env in (("iris", "qa"), ("tulip", "staging")):
        built = layout("values").build(checkout / "apps" / name, env, env=shop.variables, progress=Silent())
        assert {one["kind"]: one["metadata"]["name"] for one in built}["Deployment"] == f"{name}-{env}"
        assert {one["metadata"]["labels"]["app.kubernetes.io/name"] for one in built} == {name}
    # What was edited by hand is told of, and what somebody took over is theirs.
    text = (checkout / path).read_text()
    (checkout / path).write_text(text.replace("interval: 10m", "interval: 5m").replace('"10m"', '"5m"'))
    shop.commit_all(checkout, "Edit it")
    with pytest.raises(EditedError, match=path):
        shop.deliver(url, deployment(version="9"))
    shop.deliver(url, deployment(version="9"), adopt=True)
    assert digests()[0] == f"sha256:{9:064x}"
    whole(shop, remote)


def test_many_writers_lose_nothing(tmp_path: Path) -> None:
    report = writers.run(tmp_path, writers=3, models=3, refusing=True)
    assert report.lost == []
    assert (report.commits, report.linear) == (9, True)


def test_killed_writers_are_finished_by_the_next_run(tmp_path: Path) -> None:
    assert writers.kill(tmp_path, kills=4) == []
