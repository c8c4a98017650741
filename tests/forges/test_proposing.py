import pytest

from servegen.errors import ForgeError
from servegen.forges.http import Network
from servegen.forges.proposing import proposed
from servegen.values.gitops import ChangeRequest, GitSettings
from tests.forges.fake import REPOSITORY, TOKEN, Fake, FakeGitea, serving
from tests.recorder import Recorder

REQUEST = ChangeRequest(
    title="Release iris 8", body="b", source_branch="servegen/iris-prod-1", target_branch="main"
)
TOKENS = {"gitea": TOKEN}


@pytest.fixture
def fake():
    with serving(FakeGitea()) as fake:
        yield fake


def run(repository, *, progress=None, told=None, tokens=TOKENS, **git):
    return proposed(
        repository,
        REQUEST,
        git=GitSettings(**git),
        tokens=tokens,
        network=Network(tries=1),
        told=told,
        progress=progress or Recorder(),
    )


def test_a_request_is_opened_and_then_updated_and_said_so(fake):
    progress = Recorder()
    repository = f"{fake.origin}/{REPOSITORY}.git"
    url = run(repository, progress=progress, told="https://git.example.com/new")
    assert run(repository, progress=progress) == url
    assert progress.steps == [f"opened {url}", f"updated {url}"]


def test_without_a_token_the_page_of_the_server_is_better_than_ours(fake):
    repository = f"{fake.origin}/{REPOSITORY}"
    assert run(repository, tokens={}, told="https://git.example.com/new") == "https://git.example.com/new"
    assert fake.calls == []
    assert run(repository, tokens={}) == f"{repository}/compare/main...servegen/iris-prod-1"
    # That of another forge is none.
    assert run(repository, tokens={"github": TOKEN}, told="https://page") == "https://page"


@pytest.mark.parametrize("repository", ["/srv/models.git", "file:///srv/models.git"])
def test_a_repository_on_no_forge_has_no_page_and_that_is_no_error(repository):
    progress = Recorder()
    assert run(repository, progress=progress) is None
    assert progress.warnings == []
    with pytest.raises(ForgeError):
        run(repository, forge="gitea")


def test_a_server_that_is_no_forge_is_a_warning_unless_somebody_said_that_it_is_one():
    class Page(Fake):
        api = "/never"

    progress = Recorder()
    with serving(Page()) as page:
        repository = f"{page.origin}/{REPOSITORY}"
        assert run(repository, progress=progress, told="https://page") == "https://page"
        assert "no forge that is known here" in progress.warnings[0]
        with pytest.raises(ForgeError):
            run(repository, forge="gitea")


def test_a_refusal_is_an_error(fake):
    with pytest.raises(ForgeError, match="is not accepted"):
        run(f"{fake.origin}/{REPOSITORY}", tokens={"gitea": "wrong"})
