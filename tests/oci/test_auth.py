from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from servegen.errors import RegistryAuthError
from servegen.oci.auth import Credential, CredentialFiles
from tests.oci.conftest import Recorder

HUB = "docker.io"


def basic(user: str, password: str) -> dict[str, str]:
    return {"auth": base64.b64encode(f"{user}:{password}".encode()).decode()}


def write(path: Path, content: object) -> Path:
    path.write_text(json.dumps(content))
    return path


def found(
    files: CredentialFiles, host: str = "r.example", repository: str = "team/iris"
) -> Credential | None:
    return files.find(host, repository, Recorder())


@pytest.fixture
def helper(tmp_path: Path) -> CredentialFiles:
    """Files whose environment finds a credential helper named `test`."""
    program = tmp_path / "bin" / "docker-credential-test"
    program.parent.mkdir()
    program.write_text(
        """#!/bin/sh
[ "$1" = get ] || exit 9
read host
case "$host" in
r.example) echo '{"ServerURL":"r.example","Username":"helped","Secret":"s3cret"}';;
token.example) echo '{"Username":"<token>","Secret":"id-token"}';;
odd.example) echo 's3cret without braces';;
locked.example) echo 'the keychain is locked'; exit 1;;
*) echo 'credentials not found in native keychain'; exit 1;;
esac
"""
    )
    program.chmod(0o755)
    path = f"{program.parent}:/usr/bin:/bin"
    return CredentialFiles(files=(tmp_path / "config.json",), env={"PATH": path})


def test_the_longest_path_wins(tmp_path: Path) -> None:
    auths = {
        "r.example": basic("host", "1"),
        "r.example/team": basic("team", "2"),
        "r.example/team/iris": basic("iris", "3"),
        "r.example/te": basic("no prefix of a part", "4"),
    }
    files = CredentialFiles(files=(write(tmp_path / "auth.json", {"auths": auths}),))
    users = [found(files, repository=name) for name in ("team/iris", "team/other", "else", "team/iris/deep")]
    assert [user and user.username for user in users] == ["iris", "team", "host", "iris"]
    assert found(files, host="other.example") is None


def test_the_first_file_with_a_login_wins_and_absent_files_are_passed_over(tmp_path: Path) -> None:
    empty = write(tmp_path / "empty.json", {})
    one = write(tmp_path / "one.json", {"auths": {"https://r.example/v1/": basic("one", "x:y")}})
    two = write(tmp_path / "two.json", {"auths": {"r.example": basic("two", "z")}})
    got = found(CredentialFiles(files=(tmp_path / "absent.json", empty, one, two)))
    assert got == Credential(username="one", secret="x:y")


def test_docker_hub_is_found_under_its_old_name(tmp_path: Path) -> None:
    file = write(tmp_path / "c.json", {"auths": {"https://index.docker.io/v1/": basic("hub", "p")}})
    got = found(CredentialFiles(files=(file,)), host=HUB, repository="library/python")
    assert got == Credential(username="hub", secret="p")


def test_identity_tokens_and_plain_fields_are_read(tmp_path: Path) -> None:
    auths = {
        "a.example": {"auth": basic("u", "")["auth"], "identitytoken": "tok"},
        "b.example": {"username": "u", "password": "p"},
        "c.example": {},
    }
    files = CredentialFiles(files=(write(tmp_path / "c.json", {"auths": auths}),))
    token = found(files, host="a.example")
    assert token is not None
    assert token.identity_token == "tok"
    assert found(files, host="b.example") == Credential(username="u", secret="p")
    assert found(files, host="c.example") is None


def test_a_given_login_comes_first(tmp_path: Path) -> None:
    file = write(tmp_path / "c.json", {"auths": {"r.example": basic("file", "p")}})
    given = Credential(username="given", secret="p")
    assert found(CredentialFiles(files=(file,), given=given)) == given


def test_a_helper_is_asked_and_what_runs_is_told(helper: CredentialFiles) -> None:
    write(helper.files[0], {"credHelpers": {"r.example": "test"}, "auths": {"r.example": basic("file", "p")}})
    recorder = Recorder()
    assert helper.find("r.example", "x", recorder) == Credential(username="helped", secret="s3cret")
    assert recorder.programs == [["docker-credential-test", "get"]]
    write(helper.files[0], {"credsStore": "test"})
    token = found(helper, host="token.example")
    assert token is not None
    assert token.identity_token == "id-token"


def test_auths_come_before_the_store_of_all_hosts(helper: CredentialFiles) -> None:
    write(
        helper.files[0], {"credsStore": "test", "auths": {"r.example": basic("file", "p"), "x.example": {}}}
    )
    assert found(helper) == Credential(username="file", secret="p")
    assert found(helper, host="x.example") is None


@pytest.mark.parametrize(
    ("host", "said"),
    [("locked.example", "failed for locked.example"), ("odd.example", "did not answer with Username")],
)
def test_a_helper_that_fails_is_an_error_without_its_output(
    host: str, said: str, helper: CredentialFiles
) -> None:
    write(helper.files[0], {"credsStore": "test"})
    with pytest.raises(RegistryAuthError, match=said) as error:
        found(helper, host=host)
    assert "s3cret" not in str(error.value) + error.value.hint
    assert error.value.__suppress_context__ or error.value.__context__ is None


@pytest.mark.parametrize("name", ["absent", "../../bin/sh"])
def test_a_helper_that_cannot_be_started_is_an_error(name: str, helper: CredentialFiles) -> None:
    write(helper.files[0], {"credsStore": name})
    with pytest.raises(RegistryAuthError, match=r"cannot be started|not the name"):
        found(helper)


@pytest.mark.parametrize("content", ["{", "[]", '{"auths": {"r.example": {"auth": "not base64!"}}}'])
def test_a_damaged_file_is_an_error_that_names_it(content: str, tmp_path: Path) -> None:
    (tmp_path / "c.json").write_text(content)
    with pytest.raises(RegistryAuthError, match=r"c\.json"):
        found(CredentialFiles(files=(tmp_path / "c.json",)))


def test_secrets_show_in_no_repr() -> None:
    credential = Credential(username="who", secret="s3cret")
    files = CredentialFiles(given=credential, env={"TOKEN": "s3cret"})
    assert "s3cret" not in repr(credential) + repr(files)
