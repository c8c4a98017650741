from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pysequoia
import pytest
from hypothesis import given
from hypothesis import strategies as st

from servegen.errors import BaseImageError
from servegen.oci.debian import Source, apt_sources
from servegen.oci.debian.fetch import Mirror
from servegen.oci.debian.index import shipped_keyring, verified
from servegen.oci.debian.version import compare, fulfils, parse_relation
from tests.oci.conftest import FAST

DEB822 = """\
# the machine's mirror
Types: deb deb-src
URIs: http://a.example/debian/ http://b.example/debian
Suites: bookworm
 bookworm-updates
Components: main
Signed-By: /x

Types: deb-src
URIs: http://c.example/debian
Suites: bookworm

Types: deb
Enabled: no
URIs: http://d.example/debian
Suites: bookworm
"""
ONE_LINE = """\
deb [arch=amd64 signed-by=/x] https://s.example/security bookworm-security main
# deb http://commented.example bookworm main
deb-src http://source.example bookworm main
deb cdrom:[x]/ bookworm main
deb http://t.example/debian trixie main
deb file:/srv/mirror bookworm main
"""


def test_both_forms_of_apt_sources_are_read(tmp_path: Path) -> None:
    parts = tmp_path / "sources.list.d"
    parts.mkdir()
    (parts / "debian.sources").write_text(DEB822)
    (parts / "more.list").write_text(ONE_LINE)
    (parts / "old.list.save").write_text("deb http://saved.example bookworm main\n")
    (tmp_path / "sources.list").write_text("deb http://first.example/debian bookworm main\n")
    assert apt_sources("bookworm", tmp_path) == [
        Source(uri="http://first.example/debian", suite="bookworm"),
        Source(uri="http://a.example/debian", suite="bookworm"),
        Source(uri="http://a.example/debian", suite="bookworm-updates"),
        Source(uri="http://b.example/debian", suite="bookworm"),
        Source(uri="http://b.example/debian", suite="bookworm-updates"),
        Source(uri="https://s.example/security", suite="bookworm-security"),
        Source(uri="file:/srv/mirror", suite="bookworm"),
    ]
    assert apt_sources("trixie", tmp_path) == [Source(uri="http://t.example/debian", suite="trixie")]
    assert apt_sources("bookworm", tmp_path / "absent") == []


# Each is older than the next; from the rules of deb-version(7).
ORDER = [
    "0:0.9",
    "1.0~~",
    "1.0~~a",
    "1.0~",
    "1.0~rc1-1",
    "1.0",
    "1.0-1~bpo1",
    "1.0-1",
    "1.0-1+b1",
    "1.0-1.1",
    "1.0-2",
    "1.0-10",
    "1.0a",
    "1.0+dfsg",
    "1.0.1",
    "1.2",
    "1.10",
    "1:0.1",
    "2:0",
]


def test_versions_are_in_debians_order() -> None:
    for i, left in enumerate(ORDER):
        for j, right in enumerate(ORDER):
            assert (compare(left, right) > 0) - (compare(left, right) < 0) == (i > j) - (i < j), (left, right)


VERSION = st.from_regex(r"([0-9]:)?[0-9][0-9a-z.+~]{0,6}(-[0-9a-z.+~]{1,4})?", fullmatch=True)


@given(a=VERSION, b=VERSION, c=VERSION)
def test_the_order_of_versions_is_an_order(a: str, b: str, c: str) -> None:
    assert (compare(a, b) > 0) == (compare(b, a) < 0)
    assert compare(a, a) == 0
    if compare(a, b) <= 0 and compare(b, c) <= 0:
        assert compare(a, c) <= 0


def test_relations_are_read_and_compared() -> None:
    assert parse_relation("libc6 (>= 2.36)") == ("libc6", ">=", "2.36")
    assert parse_relation(" python3:any (<< 3.12~) ") == ("python3", "<<", "3.12~")
    assert parse_relation("debconf-2.0") == ("debconf-2.0", None, None)
    checks = [
        ("1.0", ">=", "1.0"),
        ("1.0", "<<", "1.1"),
        ("1.0", "=", "1.0"),
        ("1.2", ">>", "1.1"),
        ("1", "<=", "1"),
    ]
    assert all(fulfils(*check) for check in checks)
    assert not any(
        fulfils(*check) for check in [("1.0", ">>", "1.0"), ("1.0", "=", "1.0-1"), ("2", "<<", "1")]
    )
    assert fulfils("1", None, None)


@pytest.fixture(scope="module")
def key() -> pysequoia.Tsk:
    return pysequoia.Tsk.generate(user_id="archive")


def clear_signed(key: pysequoia.Tsk, text: bytes) -> bytes:
    return pysequoia.sign(key.signer(), text, mode=pysequoia.SignatureMode.CLEAR)


def test_only_what_is_signed_comes_back(key: pysequoia.Tsk) -> None:
    ring = bytes(key.extract_certificate())
    signed = clear_signed(key, b"Codename: x\n")
    assert verified(signed, ring, "x") == "Codename: x\n"
    assert verified(b"Codename: evil\n\n" + signed + b"\nmore: evil\n", ring, "x") == "Codename: x\n"


def test_one_good_signature_of_several_is_enough(key: pysequoia.Tsk) -> None:
    other = pysequoia.Tsk.generate(user_id="other")
    ring = shipped_keyring() + bytes(other.extract_certificate()) + bytes(key.extract_certificate())
    assert verified(clear_signed(key, b"a: b\n"), ring, "x") == "a: b\n"


def test_everything_else_is_refused(key: pysequoia.Tsk) -> None:
    ring = bytes(key.extract_certificate())
    signed = clear_signed(key, b"Codename: x\n")
    other = clear_signed(pysequoia.Tsk.generate(user_id="other"), b"Codename: y\n")
    marker = b"-----BEGIN PGP SIGNATURE"
    swapped = signed[: signed.index(marker)] + other[other.index(marker) :]
    bad = [
        b"",
        b"Codename: x\n",
        signed.replace(b"Codename: x", b"Codename: y"),
        other,
        swapped,
        signed[:-60],
        b"\0\xff",
    ]
    for data in bad:
        with pytest.raises(BaseImageError, match="no good signature"):
            verified(data, ring, "bookworm")


def test_the_shipped_keys_are_debians() -> None:
    owners = [str(cert.user_ids[0]) for cert in pysequoia.Cert.split_bytes(shipped_keyring())]
    for release in ("bookworm", "trixie"):
        assert sum(release in owner for owner in owners) >= 2


class Flaky(BaseHTTPRequestHandler):
    """Answers with what the path asks for; `/twice` fails the first two times."""

    protocol_version = "HTTP/1.1"
    failures = 0

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        pass

    def do_GET(self) -> None:
        status, headers, body = 200, {}, b"content"
        if self.path == "/twice" and type(self).failures < 2:
            type(self).failures += 1
            status = 503
        elif self.path == "/gone":
            status = 404
        elif self.path == "/moved":
            status, headers = 302, {"Location": "/twice"}
        elif self.path == "/loop":
            status, headers = 301, {"Location": f"/loop?{self.path}"}
        elif self.path.startswith("/loop?"):
            status, headers = 301, {"Location": "/loop"}
        elif self.path == "/denied":
            status = 403
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def http_mirror() -> Iterator[str]:
    class Handler(Flaky):
        failures = 0

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def test_a_mirror_in_trouble_is_asked_again_and_redirects_are_followed(http_mirror: str) -> None:
    mirror = Mirror(FAST)
    assert mirror.get(f"{http_mirror}/moved") == b"content"
    assert mirror.get(f"{http_mirror}/gone") is None


@pytest.mark.parametrize(("path", "said"), [("/loop", "in circles"), ("/denied", "HTTP 403")])
def test_a_mirror_that_cannot_be_used_is_an_error(path: str, said: str, http_mirror: str) -> None:
    with pytest.raises(BaseImageError, match=said):
        Mirror(FAST).get(http_mirror + path)


def test_a_mirror_that_is_not_there_is_an_error_with_a_hint() -> None:
    with pytest.raises(BaseImageError, match="refuses connections") as error:
        Mirror(replace(FAST, tries=2)).get("http://127.0.0.1:9/x")
    assert "--debian-mirror" in error.value.hint


def test_a_file_mirror_needs_no_network(tmp_path: Path) -> None:
    (tmp_path / "a b").write_bytes(b"x")
    mirror = Mirror(FAST)
    assert mirror.get(f"file://{tmp_path}/a%20b") == b"x"
    assert mirror.get(f"file:{tmp_path}/none") is None
