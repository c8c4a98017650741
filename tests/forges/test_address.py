import pytest

from servegen.errors import ForgeError
from servegen.forges import forge, kind
from servegen.forges.address import Address
from servegen.forges.http import Network
from servegen.progress import Silent


@pytest.mark.parametrize(
    ("repository", "web"),
    [
        ("https://github.com/flowers/models", "https://github.com/flowers/models"),
        ("https://github.com/flowers/models.git/", "https://github.com/flowers/models"),
        ("git@github.com:flowers/models.git", "https://github.com/flowers/models"),
        ("github.com:/flowers/models", "https://github.com/flowers/models"),
        ("ssh://git@GitHub.com:22/flowers/models.git", "https://github.com/flowers/models"),
        ("ssh://git@ssh.github.com:443/flowers/models.git", "https://github.com/flowers/models"),
        ("git+ssh://git@git.example.com:2222/a/b", "https://git.example.com/a/b"),
        ("https://gitlab.example.com:8443/a/b/c/iris.git", "https://gitlab.example.com:8443/a/b/c/iris"),
        ("http://git.example.com:80/a/b", "http://git.example.com/a/b"),
        ("https://me:s3cret@git.example.com/a/b", "https://git.example.com/a/b"),
        ("git@[2001:db8::1]:a/b.git", "https://[2001:db8::1]/a/b"),
        ("https://git.example.com/a%20b/c", "https://git.example.com/a%20b/c"),
    ],
)
def test_a_repository_is_found_on_the_web(repository, web):
    assert Address.of(repository).web == web


@pytest.mark.parametrize(
    "repository",
    [
        "/srv/git/models.git",
        "./models",
        "file:///srv/models.git",
        "https://git.example.com/models",
        "git@git.example.com:models.git",
        "https://git.example.com:port/a/b",
        "https://git.example.com/a/../b",
        "",
    ],
)
def test_what_is_on_no_forge_is_refused_in_one_line(repository):
    with pytest.raises(ForgeError) as caught:
        Address.of(repository)
    assert "\n" not in str(caught.value)
    assert "git.repo" in caught.value.hint


def test_a_login_in_the_url_is_in_no_message():
    with pytest.raises(ForgeError) as caught:
        Address.of("ftp://me:s3cret@git.example.com/a/b")
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("repository", "url", "root", "path"),
    [
        ("git@git.example.com:a/b.git", "https://web.example.com", "https://web.example.com", "a/b"),
        (
            "https://git.example.com/git/a/b/c.git",
            "https://git.example.com/git/",
            "https://git.example.com/git",
            "a/b/c",
        ),
        (
            "ssh://git@git.example.com/a/b.git",
            "http://git.example.com:8080/git/api/v4",
            "http://git.example.com:8080/git",
            "a/b",
        ),
        ("git@github.com:a/b.git", "https://api.github.com", "https://github.com", "a/b"),
        ("git@ghe.example.com:a/b", "https://ghe.example.com/api/v3", "https://ghe.example.com", "a/b"),
    ],
)
def test_a_stated_forge_wins(repository, url, root, path):
    address = Address.of(repository, url)
    assert (address.root, address.path) == (root, path)


@pytest.mark.parametrize("url", ["git.example.com", "ssh://git.example.com", "https://", "https://x/?a=b"])
def test_a_forge_url_that_is_none_is_refused(url):
    with pytest.raises(ForgeError, match="forge_url"):
        Address.of("git@git.example.com:a/b.git", url)


@pytest.mark.parametrize(
    ("repository", "name", "page"),
    [
        (
            "git@github.com:flowers/models.git",
            "github",
            "https://github.com/flowers/models/compare/main...servegen/iris%23?expand=1",
        ),
        (
            "https://gitlab.com/a/b/models.git",
            "gitlab",
            "https://gitlab.com/a/b/models/-/merge_requests/new?merge_request%5Bsource_branch%5D="
            "servegen%2Firis%23&merge_request%5Btarget_branch%5D=main",
        ),
        (
            "https://codeberg.org/flowers/models",
            "gitea",
            "https://codeberg.org/flowers/models/compare/main...servegen/iris%23",
        ),
        (
            "https://gitea.example.com/git/flowers/models",
            "gitea",
            "https://gitea.example.com/git/flowers/models/compare/main...servegen/iris%23",
        ),
    ],
)
def test_a_known_host_is_not_asked_and_its_page_needs_no_token(repository, name, page):
    found = forge(repository, tokens={}, network=Network(tries=0), progress=Silent())
    assert type(found) is kind(name)
    assert not found.has_token
    assert found.compare_url("servegen/iris#", "main") == page


def test_a_forge_nobody_knows_is_refused():
    with pytest.raises(ForgeError, match="no forge 'sourceforge'") as caught:
        forge("git@a.b:c/d", name="sourceforge", tokens={}, network=Network(), progress=Silent())
    assert caught.value.hint == "git.forge is one of: gitea, github, gitlab"


@pytest.mark.parametrize("token", ["two\nlines", "two words of it", "schlüssel", "\x1b[0m"])
def test_what_is_no_token_is_refused_and_not_shown(token):
    with pytest.raises(ForgeError, match="letters that no token has") as caught:
        forge("git@github.com:a/b", tokens={"github": token}, network=Network(), progress=Silent())
    assert token not in str(caught.value)


@pytest.mark.parametrize("proxy", ["socks5://me:s3cret@p:1", "gopher://me:s3cret@p", "p:1:2"])
def test_a_proxy_that_cannot_be_used_is_named_without_its_login(proxy):
    network = Network(proxies={"https": proxy})
    with pytest.raises(ForgeError, match="proxy for https") as caught:
        forge("git@git.example.com:a/b", tokens={}, network=network, progress=Silent())
    assert "s3cret" not in f"{caught.value}{caught.value.hint}"


@pytest.mark.parametrize("host", ["git.example.com", "10.1.2.3", "127.example.com"])
def test_a_token_is_not_sent_in_the_clear_unless_that_is_said(host):
    def made(url):
        return forge(
            f"http://{host}/a/b",
            name="gitea",
            url=url,
            tokens={"gitea": "t"},
            network=Network(),
            progress=Silent(),
        )

    with pytest.raises(ForgeError, match="token is not sent"):
        made(None)
    assert made(f"http://{host}").has_token


@pytest.mark.parametrize(
    ("host", "proxy"),
    [
        ("git.example.com", "http://p:1"),
        ("a.corp", None),
        ("corp", None),
        ("localhost", None),
        ("xcorp", "http://p:1"),
    ],
)
def test_a_proxy_is_used_but_for_what_is_near(host, proxy):
    assert Network(proxies={"https": "http://p:1", "no": "other, .corp"}).proxy("https", host) == proxy
