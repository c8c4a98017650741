"""Registries over TLS: certificates as docker, podman and OpenSSL name them, and proxies on the way."""

from __future__ import annotations

import datetime
import ipaddress
import select
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from servegen.errors import RegistryError
from servegen.oci.http import Network
from servegen.oci.registry import Registry, RegistryOptions
from servegen.values.image import ImageRef
from tests.oci.conftest import FAST, Recorder
from tests.oci.fake_registry import FakeRegistry, running

NAME = "r.example:5000"


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A certificate and its key, as PEM files."""

    certificate: Path
    key: Path


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Pair]:
    """A CA, and what it signed for a server at 127.0.0.1 and r.example, and for a client."""
    folder = tmp_path_factory.mktemp("tls")
    now = datetime.datetime.now(datetime.timezone.utc)
    ca_key = ec.generate_private_key(ec.SECP256R1())
    names = {who: x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, who)]) for who in ("ca", "x")}
    made = {}
    for number, who in enumerate(("ca", "server", "client"), start=1):
        key = ca_key if who == "ca" else ec.generate_private_key(ec.SECP256R1())
        hosts: list[x509.GeneralName] = [
            x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
            x509.DNSName("r.example"),
        ]
        certificate = (
            x509.CertificateBuilder()
            .subject_name(names.get(who, names["x"]))
            .issuer_name(names["ca"])
            .public_key(key.public_key())
            .serial_number(number)
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.SubjectAlternativeName(hosts), critical=False)
            .add_extension(x509.BasicConstraints(ca=who == "ca", path_length=None), critical=True)
            .sign(ca_key, hashes.SHA256())
        )
        made[who] = Pair(certificate=folder / f"{who}.pem", key=folder / f"{who}-key.pem")
        made[who].certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        made[who].key.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
    return made


def server_context(tls: dict[str, Pair]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tls["server"].certificate, tls["server"].key)
    return context


@pytest.fixture
def secure(tls: dict[str, Pair]) -> Iterator[FakeRegistry]:
    with running(server_context(tls)) as registry:
        yield registry


@pytest.fixture
def digest(recorder: Recorder) -> Iterator[Callable[[str, Network], str | None]]:
    """Asks a host for an image that it does not have; None when it was reached."""
    made: list[Registry] = []

    def ask(host: str, network: Network) -> str | None:
        made.append(Registry(RegistryOptions(network=network), recorder))
        return made[-1].manifest_digest(ImageRef(registry=host, repository="x", tag="1"))

    yield ask
    for registry in made:
        registry.close()


Ask = Callable[[str, Network], str | None]


def certs_d(folder: Path, host: str, **files: bytes) -> Network:
    """A network with a certs.d folder; `_` stands for the dot in names of files."""
    (folder / host).mkdir(parents=True)
    for name, content in files.items():
        (folder / host / name.replace("_", ".")).write_bytes(content)
    return replace(FAST, certificate_folders=(folder / "absent", folder))


def test_a_ca_in_dockers_certs_d_is_trusted_for_that_host(
    secure: FakeRegistry, tls: dict[str, Pair], digest: Ask, tmp_path: Path
) -> None:
    ca = tls["ca"].certificate.read_bytes()
    assert digest(secure.host, certs_d(tmp_path, secure.host, ca_crt=ca)) is None
    assert secure.count("HEAD") == 1
    with pytest.raises(RegistryError, match="certificate not trusted"):
        network = certs_d(tmp_path / "other", "r.example", ca_crt=ca)
        # Another CA makes it TLS; that of r.example does not count here.
        digest(secure.host, replace(network, ca_file=tls["client"].certificate))


def test_a_client_certificate_in_certs_d_is_shown(tls: dict[str, Pair], digest: Ask, tmp_path: Path) -> None:
    context = server_context(tls)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(tls["ca"].certificate)
    files = {
        "ca_crt": tls["ca"].certificate.read_bytes(),
        "client_cert": tls["client"].certificate.read_bytes(),
        "client_key": tls["client"].key.read_bytes(),
    }
    with running(context) as strict:
        assert digest(strict.host, certs_d(tmp_path / "a", strict.host, **files)) is None
        with pytest.raises(RegistryError):
            digest(strict.host, certs_d(tmp_path / "b", strict.host, ca_crt=files["ca_crt"]))


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"ca_crt": b"no pem"}, "ca.crt holds no certificate"),
        ({"client_cert": b"no pem", "ca_crt": None}, "client.cert and client.key are no client certificate"),
    ],
)
def test_a_certificate_that_cannot_be_used_is_named(
    files: dict[str, bytes | None], said: str, tls: dict[str, Pair], digest: Ask, tmp_path: Path
) -> None:
    ca = tls["ca"].certificate.read_bytes()
    network = certs_d(tmp_path, "127.0.0.1:1", **{k: v or ca for k, v in files.items()})
    with pytest.raises(RegistryError, match=said):
        digest("127.0.0.1:1", network)


class Tunnel(BaseHTTPRequestHandler):
    """A proxy that knows CONNECT, and leads everyone to one place."""

    to: tuple[str, int]
    asked: list[tuple[str, str | None]]
    status: int

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        pass

    def do_CONNECT(self) -> None:
        self.asked.append((self.path, self.headers["Proxy-Authorization"]))
        self.send_response(self.status)
        self.end_headers()
        if self.status != 200:
            return
        with socket.create_connection(self.to) as other:
            ends = {self.connection: other, other: self.connection}
            while True:
                for end in select.select(list(ends), [], [])[0]:
                    data = end.recv(1 << 16)
                    if not data:
                        return
                    ends[end].sendall(data)


@pytest.fixture
def tunnel(secure: FakeRegistry) -> Iterator[type[Tunnel]]:
    """The proxy's class; `asked` is what came, `status` what is answered."""

    class ToSecure(Tunnel):
        to = ("127.0.0.1", secure.port)
        asked: list[tuple[str, str | None]] = []  # noqa: RUF012 - one list a test
        status = 200

    server = ThreadingHTTPServer(("127.0.0.1", 0), ToSecure)
    server.daemon_threads = True
    ToSecure.port = server.server_address[1]  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield ToSecure
    server.shutdown()
    server.server_close()


def through(tunnel: type[Tunnel], **more: Any) -> Network:
    return replace(FAST, proxies=(("https", f"http://me:p%40ss@127.0.0.1:{tunnel.port}"),), **more)  # type: ignore[attr-defined]


def test_tls_goes_through_the_proxy_unopened_with_the_proxys_login(
    secure: FakeRegistry, tls: dict[str, Pair], tunnel: type[Tunnel], digest: Ask
) -> None:
    assert digest(NAME, through(tunnel, ca_file=tls["ca"].certificate)) is None
    assert tunnel.asked == [(NAME, "Basic bWU6cEBzcw==")]
    assert secure.log == [("HEAD", "/v2/x/manifests/1")]


def test_openssls_variable_names_the_ca(
    secure: FakeRegistry,
    tls: dict[str, Pair],
    tunnel: type[Tunnel],
    digest: Ask,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(RegistryError, match="certificate not trusted") as error:
        digest(NAME, through(tunnel))
    assert error.value.hint == "--registry-ca FILE"
    monkeypatch.setenv("SSL_CERT_FILE", str(tls["ca"].certificate))
    assert digest(NAME, through(tunnel)) is None
    assert secure.count("HEAD") == 1


def test_a_proxy_that_refuses_is_named_at_once_without_its_password(
    tunnel: type[Tunnel], digest: Ask
) -> None:
    tunnel.status = 407
    with pytest.raises(
        RegistryError, match=r"proxy lets nobody through to r\.example:5000 \(HTTP 407\)"
    ) as error:
        digest(NAME, through(tunnel))
    assert "p@ss" not in str(error.value) + error.value.hint
    assert len(tunnel.asked) == 1
    tunnel.status = 503
    with pytest.raises(RegistryError, match="HTTP 503"):
        digest(NAME, through(tunnel))
    assert len(tunnel.asked) == 1 + FAST.tries


def test_a_proxy_that_is_not_there_is_named(digest: Ask) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    network = replace(FAST, proxies=(("https", f"http://127.0.0.1:{port}"),))
    with pytest.raises(RegistryError, match=r"the proxy 127\.0\.0\.1 on the way to r\.example:5000"):
        digest(NAME, network)
