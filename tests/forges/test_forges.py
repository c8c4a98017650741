from __future__ import annotations

import contextlib
import urllib.parse

import pytest

from servegen.errors import ForgeError
from servegen.forges import forge, kind
from servegen.forges.http import Network
from servegen.values.gitops import ChangeRequest, OpenedRequest
from tests.forges.fake import REPOSITORY, TOKEN, Call, Fake, FakeGitea, FakeGitHub, FakeGitLab, Said, serving
from tests.recorder import Recorder

FAKES: dict[str, type[Fake]] = {"github": FakeGitHub, "gitlab": FakeGitLab, "gitea": FakeGitea}
REQUEST = ChangeRequest(
    title="Release iris 8 to prod",
    body="| metric | before | now |",
    source_branch="servegen/iris-prod-1",
    target_branch="main",
    labels=("servegen", "prod", "needs review"),
)
NOW = 1_700_000_000.0


class World:
    """A fake forge, its client, and what the client did meanwhile."""

    def __init__(self, name: str, fake: Fake) -> None:
        self.name, self.fake, self.progress = name, fake, Recorder()
        self.slept: list[float] = []
        self.network = Network(sleep=self.slept.append, clock=lambda: NOW)

    def client(self, *, token: str | None = TOKEN, name: str | None = "", prefix: str = ""):
        return forge(
            f"{self.fake.origin}{prefix}/{self.fake.repository}.git",
            name=self.name if name == "" else name,
            tokens={self.name: token} if token else {},
            network=self.network,
            progress=self.progress,
        )

    def propose(self, request: ChangeRequest = REQUEST) -> OpenedRequest:
        return self.client().propose(request)

    def refusal(self, request: ChangeRequest = REQUEST) -> ForgeError:
        with pytest.raises(ForgeError) as caught:
            self.propose(request)
        assert "\n" not in str(caught.value)
        assert caught.value.hint
        assert TOKEN not in f"{caught.value} {caught.value.hint} {caught.value.details}"
        return caught.value


@pytest.fixture(params=FAKES)
def world(request):
    with serving(FAKES[request.param]()) as fake:
        yield World(request.param, fake)


def once(status: int, body: object = None, method: str = "", **headers: str):
    """A mood: the first call (of a method) is answered so."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda call: Said(status=status, body=body, headers=named) if method in ("", call.method) else None


def test_a_request_is_opened_and_then_updated_in_place(world):
    made = world.propose()
    assert (made.number, made.created) == (1, True)
    assert made.url.startswith(world.fake.origin)
    changed = ChangeRequest(
        **{**vars(REQUEST), "title": "Release iris 9\nto prod", "body": "new", "labels": ("v9",)}
    )
    assert world.propose(changed) == OpenedRequest(url=made.url, number=1, created=False)
    [one] = world.fake.requests
    assert (one["title"], one["body"]) == ("Release iris 9 to prod", "new")
    assert one["labels"] == ["needs review", "prod", "servegen", "v9"]
    assert world.progress.warnings == []


def test_other_requests_are_left_alone(world):
    for source, target in (("other", "main"), ("servegen/iris-prod-1", "release"), ("third", "main")):
        world.fake.add(source, target, title="theirs")
    world.fake.add("servegen/iris-prod-1", "main", title="closed")["open"] = False
    assert world.propose().number == 5
    # Behind more than one page of others.
    assert world.propose().number == 5
    assert [one.get("title") for one in world.fake.requests[:4]] == ["theirs", "theirs", "theirs", "closed"]


def test_a_request_that_another_run_opened_meanwhile_is_updated(world):
    def race(call: Call) -> Said | None:
        if call.method == "POST":
            world.fake.add(REQUEST.source_branch, "main")
            world.fake.moods.remove(race)
        return None

    world.fake.moods.append(race)
    made = world.propose()
    assert (made.number, made.created) == (1, False)
    assert [one["title"] for one in world.fake.requests] == [REQUEST.title]


def test_an_opening_whose_answer_got_lost_is_not_repeated(world):
    def lost(call: Call) -> Said | None:
        if call.method != "POST":
            return None
        world.fake.route(call.method, call.path.removeprefix(world.fake.api), call)
        return Said(status=502, body="<html>Bad Gateway</html>")

    world.fake.moods.append(lost)
    assert world.propose().number == 1
    assert len(world.fake.requests) == 1


def test_a_long_title_is_cut(world):
    world.propose(ChangeRequest(**{**vars(REQUEST), "title": "x" * 400}))
    assert len(world.fake.requests[0]["title"]) == 250


@pytest.mark.parametrize("status", [500, 502, 503, 504, 429])
def test_a_bad_moment_is_waited_out(world, status):
    world.fake.moods += [once(status), once(status)]
    assert world.propose().created
    assert len(world.slept) == 2
    assert all(0.5 <= pause <= 2 for pause in world.slept)


def test_a_bad_day_is_not(world):
    world.fake.moods += [once(503, {"message": "down for maintenance"}) for _ in range(10)]
    error = world.refusal()
    assert "503" in str(error)
    assert "down for maintenance" in str(error)
    assert len(world.fake.calls) == 4


def test_a_server_that_is_gone_is_named():
    with serving(FakeGitea()) as fake:
        world = World("gitea", fake)
    assert "does not answer" in str(world.refusal())
    assert len(world.slept) == 3


def test_a_rate_limit_is_kept(world):
    world.fake.moods.append(once(429, {"message": "slow down"}, Retry_After="7"))
    assert world.propose().created
    assert world.slept == [7.0]
    reset = {"x-ratelimit-remaining": "0", "x-ratelimit-reset": str(int(NOW) + 11)}
    world.fake.moods.append(
        lambda call: Said(status=403, body={"message": "API rate limit exceeded"}, headers=reset)
    )
    assert not world.propose().created
    assert world.slept == [7.0, 11.0]


def test_a_rate_limit_that_lasts_is_told(world):
    world.fake.moods.append(once(429, {"message": "slow down"}, Retry_After="1800"))
    error = world.refusal()
    assert "slow down" in str(error)
    assert "30 minutes" in error.hint
    assert world.slept == []


EXPIRED = {"error": "invalid_token", "error_description": "Token is expired. You can either re-authorize."}


def test_a_wrong_and_an_expired_token_are_told_apart(world):
    with pytest.raises(ForgeError, match="expired, was revoked or is wrong") as caught:
        world.client(token="wrong").propose(REQUEST)
    assert "SERVEGEN_FORGE_TOKEN" in caught.value.hint
    world.fake.moods.append(once(401, EXPIRED))
    assert "has expired: Token is expired." in str(world.refusal())


def test_a_token_without_rights_is_told_what_lacks(world):
    world.fake.moods.append(once(403, {"message": "Resource not accessible by personal access token"}))
    error = world.refusal()
    assert "Resource not accessible" in str(error)
    assert "give it" in error.hint


def test_single_sign_on_names_the_page():
    with serving(FakeGitHub()) as fake:
        world = World("github", fake)
        page = "https://github.com/orgs/flowers/sso?authorization_request=A1"
        body = {"message": "Resource protected by organization SAML enforcement."}
        fake.moods.append(
            lambda call: Said(status=403, body=body, headers={"X-GitHub-SSO": f"required; url={page}"})
        )
        # What follows the question mark is a secret to us, as in every URL.
        assert world.refusal().hint == "allow it on https://github.com/orgs/flowers/sso"


def test_a_repository_that_is_not_there_is_named(world):
    world.fake.repository = "flowers/hidden"
    client = world.client()
    world.fake.repository = REPOSITORY
    with pytest.raises(ForgeError, match="no repository flowers/hidden"):
        client.propose(REQUEST)


def test_a_branch_that_is_not_there_is_an_error_of_one_line(world):
    error = world.refusal(ChangeRequest(**{**vars(REQUEST), "source_branch": "gone"}))
    assert "both branches" in error.hint


@pytest.mark.parametrize(("name", "branch"), [("github", "same"), ("gitea", "main")])
def test_nothing_to_review_is_said(name, branch):
    with serving(FAKES[name]()) as fake:
        error = World(name, fake).refusal(ChangeRequest(**{**vars(REQUEST), "source_branch": branch}))
    assert "nothing to review" in str(error)


def test_labels_that_cannot_be_set_are_a_warning(world):
    if world.name == "gitlab":
        # There they come with the request.
        assert world.propose().created
        return
    world.fake.moods.append(
        lambda call: Said(status=403, body={"message": "not yours"}) if "labels" in call.path else None
    )
    assert world.propose().created
    assert world.progress.warnings == [f"{world.propose().url} got no labels: not yours"]


def test_without_a_token_the_page_is_named(world):
    client = world.client(token=None)
    assert not client.has_token
    with pytest.raises(ForgeError, match="no token") as caught:
        client.propose(REQUEST)
    assert (
        urllib.parse.urlsplit(client.compare_url(REQUEST.source_branch, "main")).path.split("?")[0]
        in caught.value.hint
    )
    assert world.fake.calls == []


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_token_does_not_follow_a_redirect_to_another_host(world, status):
    with serving(FAKES[world.name]()) as other:
        world.fake.moods.append(
            lambda call: Said(status=status, headers={"Location": other.origin + call.path})
        )
        error = world.refusal()
        assert other.origin in str(error)
        assert other.calls == []


def test_a_renamed_repository_is_followed(world):
    def moved(call: Call) -> Said | None:
        if "old" not in call.path:
            return None
        world.fake.moods.append(moved)
        place = f"{call.path.replace('old', 'models')}?{urllib.parse.urlencode(call.query)}"
        return Said(status=307, headers={"Location": place})

    world.fake.repository = "flowers/old"
    client = world.client()
    world.fake.repository = REPOSITORY
    world.fake.moods.append(moved)
    assert client.propose(REQUEST).created
    assert not client.propose(REQUEST).created
    assert [one["title"] for one in world.fake.requests] == [REQUEST.title]


@pytest.mark.parametrize("place", ["https://[::1", "http://127.0.0.1:port/x", "ftp://127.0.0.1/x", "//x"])
def test_a_redirect_to_nowhere_is_an_error_of_one_line(world, place):
    world.fake.moods += [(lambda call: Said(status=302, headers={"Location": place})) for _ in range(9)]
    world.refusal()


def test_redirects_in_circles_end(world):
    world.fake.moods += [(lambda call: Said(status=307, headers={"Location": call.path})) for _ in range(20)]
    assert "circles" in str(world.refusal())


@pytest.mark.parametrize("body", ["<html>Sign in</html>", [1, 2], {"message": "hello"}, {"number": 1}])
def test_what_is_no_api_is_said_and_no_traceback(world, body):
    world.fake.moods.append(once(200, body))
    world.fake.moods.append(once(200, body))
    world.refusal()


@pytest.mark.parametrize("prefix", ["", "/git"])
def test_a_server_is_asked_what_it_is_and_gets_no_token_for_it(world, prefix):
    world.fake.prefix = prefix
    client = world.client(name=None, prefix=prefix)
    assert type(client) is kind(world.name)
    assert all("authorization" not in call.headers for call in world.fake.calls)
    assert client.propose(REQUEST).created
    assert client.compare_url("a", "main").startswith(f"{world.fake.origin}{prefix}/{REPOSITORY}/")


def test_groups_within_groups_are_one_name():
    with serving(FakeGitLab("a/b/c/iris")) as fake:
        world = World("gitlab", fake)
        assert world.propose().created
        assert {call.path.split("/")[4] for call in fake.calls} == {"a%2Fb%2Fc%2Firis"}
        # A group is no prefix, if the forge answers without one.
        assert world.client(name=None).compare_url("x", "y").startswith(f"{fake.origin}/a/b/c/iris/-/")


def test_a_server_that_is_no_forge_is_named():
    class Page(Fake):
        api = "/never"

    with serving(Page()) as fake, contextlib.ExitStack() as stack:
        world = World("gitea", fake)
        with pytest.raises(ForgeError, match="no forge that is known here"):
            world.client(name=None)
        # Nor is one that sends everybody to a page to log in.
        other = stack.enter_context(serving(Page()))
        fake.moods += [
            (lambda call: Said(status=302, headers={"Location": f"{other.origin}/login"})) for _ in range(9)
        ]
        with pytest.raises(ForgeError, match="no forge that is known here"):
            world.client(name=None)
        assert other.calls == []
