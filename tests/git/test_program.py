"""What git and servers print, as it is classified; logins that are in no text."""

import pytest

from servegen.errors import ConfigError, GitAuthError, GitError, ProtectedBranchError, SigningError
from servegen.git.credentials import check, login
from servegen.git.failures import AbsentError, RaceError, ShallowError, TransportError, said_by
from servegen.git.program import Git
from servegen.process import Completed
from servegen.progress import Silent


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("! [rejected]        HEAD -> main (fetch first)", RaceError),
        ("! [rejected]        HEAD -> main (non-fast-forward)", RaceError),
        ("! [rejected]        HEAD -> x (stale info)", RaceError),
        ("! [remote rejected] HEAD -> main (failed to update ref)", RaceError),
        ("remote: error: cannot lock ref 'refs/heads/main': is at 1 but expected 2", RaceError),
        (
            "remote: error: cannot lock ref 'refs/a/b': 'refs/a' exists; cannot create 'refs/a/b'",
            GitError,
        ),
        ("remote: error: GH006: Protected branch update failed for refs/heads/main.", ProtectedBranchError),
        ("! [remote rejected] main -> main (pre-receive hook declined)", ProtectedBranchError),
        ("remote: GitLab: You are not allowed to push code to protected branches", ProtectedBranchError),
        (
            "! [remote rejected] main -> main (TF402455: Pushes to this branch are not permitted)",
            ProtectedBranchError,
        ),
        ("fatal: could not read Username for 'https://h': terminal prompts disabled", GitAuthError),
        (
            "git@h: Permission denied (publickey).\nfatal: Could not read from remote repository.",
            GitAuthError,
        ),
        ("fatal: unable to access 'https://h/r/': The requested URL returned error: 403", GitAuthError),
        ("remote: error: unable to create temporary object directory", GitAuthError),
        ("ERROR: Repository not found.\nfatal: Could not read from remote repository.", AbsentError),
        ("fatal: '/x' does not appear to be a git repository", AbsentError),
        ("fatal: dumb http transport does not support shallow capabilities", ShallowError),
        ("fatal: unable to access 'https://h/r/': Could not resolve host: h", TransportError),
        ("fatal: unable to access 'https://h/r/': The requested URL returned error: 503", TransportError),
        ("fatal: the remote end hung up unexpectedly", TransportError),
        ("ssh: connect to host h port 22: Connection refused", TransportError),
        ("remote: fatal: write error: No space left on device\nerror: unpack failed", GitError),
        ("fatal: unable to create temporary file: No space left on device", GitError),
        ("error: gpg failed to sign the data\nfatal: failed to write commit object", SigningError),
        ("fatal: bad object HEAD", GitError),
    ],
)
def test_what_is_printed_says_what_to_do(text, kind):
    git = Git.start({"GIT_DIR": "/elsewhere", "PATH": "/bin"}, Silent())
    error = git.failure(Completed(status=128, stdout="", stderr=text), "git push")
    assert type(error) is kind
    assert error.hint
    assert "GIT_DIR" not in git.env


def test_an_expired_token_is_called_so():
    text = "remote: The token has expired\nfatal: Authentication failed for 'https://me:pw@h/r/'"
    error = Git.start({}, Silent()).failure(Completed(status=128, stdout="", stderr=text), "git fetch")
    assert "expired" in str(error)
    assert "pw" not in f"{error}{error.details}"


def test_the_line_that_says_most_is_shown():
    assert said_by("To h:r\n!\tHEAD:x\t[rejected]\nerror: failed") == "! HEAD:x [rejected]"
    added = "fatal: Could not read from remote repository.\nerror: failed to push some refs to 'h:r'"
    assert said_by(f"ssh: Could not resolve hostname h\n{added}") == "ssh: Could not resolve hostname h"
    assert said_by(f"no ticket is named\n{added}") == "no ticket is named"
    assert said_by(added).startswith("Could not read")
    assert said_by("") == "it said nothing"


@pytest.mark.parametrize(
    "repo",
    [
        "",
        "-x",
        "--upload-pack=sh",
        "https://me:pw@h/r",
        "http://token@h/r",
        "https://me:p/pw@h/r",
        "HTTPS://h/r?private_token=pw",
        "ssh://me:pw@h/r",
        "ext::sh -c x",
        "a\nb",
    ],
)
def test_repositories_with_a_login_or_an_option_in_them_are_refused(repo):
    with pytest.raises(ConfigError) as caught:
        check(repo)
    assert "pw" not in f"{caught.value}{caught.value.hint}"


def test_repositories_as_people_write_them_are_taken():
    for repo in ("https://h/r.git", "git@h:g/r.git", "ssh://git@h:22/r", "file:///r", "/srv/r.git", ".."):
        check(repo)


def test_a_token_is_for_one_host_and_goes_after_the_users_own_variables():
    env = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "a.b", "GIT_CONFIG_VALUE_0": "c"}
    made = login("https://h:8443/g/r.git", "s3cret", "me", env)
    assert made["GIT_CONFIG_COUNT"] == "3"
    assert made["GIT_CONFIG_KEY_1"] == made["GIT_CONFIG_KEY_2"] == "credential.https://h:8443.helper"
    assert made["GIT_CONFIG_VALUE_1"] == ""
    assert "s3cret" not in made["GIT_CONFIG_VALUE_2"]
    assert login("git@h:g/r.git", "s3cret", "me", {}) == login("https://h/r", None, "me", {}) == {}
