"""Repositories, servers and hooks that are in the way of `--target git`, with the real git program."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from servegen.errors import (
    ConfigError,
    EditedError,
    GitAuthError,
    GitError,
    IdentityError,
    ProtectedBranchError,
    PushError,
    RenderError,
    SigningError,
    ValidationError,
)
from tests.e2e.repositories import Workshop, deployment, script, served
from tests.recorder import Recorder

RELEASE = "apps/iris/components/release-staging/kustomization.yaml"


@pytest.fixture
def shop(tmp_path: Path) -> Workshop:
    return Workshop.at(tmp_path)


def test_branches_that_are_not_there(shop: Workshop) -> None:
    remote = shop.bare()
    with pytest.raises(GitError, match="has no branch live") as caught:
        shop.deliver(remote, deployment(), branch="live")
    assert "--create-branch" in caught.value.hint
    shop.deliver(remote, deployment(), branch="live", create_branch=True)
    assert len(shop.log(remote, "live")) == 2
    assert len(shop.log(remote, "main")) == 1
    shop.git("branch", "servegen", "main", at=remote)
    with pytest.raises(GitError, match="another branch that leaves no room") as caught:
        shop.deliver(remote, deployment(env="prod"))
    assert "'refs/heads/servegen' exists" in caught.value.details
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
    shop.whole(remote)


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
    shop.whole(remote)


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


def test_hooks_may_format_and_may_refuse(shop: Workshop) -> None:
    remote = shop.bare()
    # As pre-commit does it: the first run changes files and fails.
    formats = f"""test -n "$(git diff --cached --name-only -- '*.yaml')" || exit 0
grep -q formatted {RELEASE} && exit 0
for file in $(git diff --cached --name-only); do echo '# formatted' >> $file; done
echo files were modified; exit 1"""
    shop.hook("pre-commit", formats)
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
    shop.whole(remote)


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
