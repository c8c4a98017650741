from __future__ import annotations

import datetime
import ipaddress
import re
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from servegen.errors import RegistryAuthError, RegistryError
from servegen.oci.auth import Credential, CredentialFiles
from servegen.oci.http import Network, is_loopback, is_private
from servegen.oci.image import read_image
from servegen.oci.registry import Registry, RegistryOptions
from servegen.oci.store import Store
from servegen.values.image import ImageRef
from tests.oci.conftest import AMD64, FAST, MakeImage, Recorder
from tests.oci.fake_registry import FakeRegistry, Fault, running

Connect = Callable[..., Registry]


@pytest.fixture
def connect(recorder: Recorder) -> Iterator[Connect]:
    """A client with a login and other options."""
    made: list[Registry] = []

    def make(
        login: Credential | None = None, network: Network = FAST, insecure: frozenset[str] = frozenset()
    ) -> Registry:
        options = RegistryOptions(
            credentials=CredentialFiles(given=login), network=network, insecure_hosts=insecure
        )
        made.append(Registry(options, recorder))
        return made[-1]

    yield make
    for registry in made:
        registry.close()


def ref_in(fake: FakeRegistry) -> ImageRef:
    return ImageRef(registry=fake.host, repository="team/iris", tag="1")


ME = Credential(username="me", secret="pw")


def test_a_token_is_got_once_for_all_blobs(
    fake: FakeRegistry, connect: Connect, store: Store, make_image: MakeImage
) -> None:
    fake.behaviour.token_users = {"me": "pw"}
    connect(ME).push(store, make_image(10, 20, 30), ref_in(fake))
    assert fake.count("GET", "^/token") == 1
    asked = next(path for _, path in fake.log if path.startswith("/token"))
    assert "scope=repository%3Ateam%2Firis%3Apull%2Cpush" in asked
    assert fake.authorizations.count("") == 1, "only the first request is made without a token"


def test_a_token_that_ended_is_renewed(
    fake: FakeRegistry, connect: Connect, store: Store, make_image: MakeImage
) -> None:
    fake.behaviour.token_users = {"me": "pw"}
    client = connect(ME)
    client.push(store, make_image(10), ref_in(fake))
    fake.tokens.clear()
    client.push(store, make_image(10, 20), ref_in(fake))
    assert fake.count("GET", "^/token") == 2


def test_identity_tokens_are_exchanged_by_post(
    fake: FakeRegistry, connect: Connect, store: Store, make_image: MakeImage
) -> None:
    fake.behaviour.token_users = {"id-token": "identity"}
    connect(Credential(username="", secret="id-token")).push(store, make_image(10), ref_in(fake))
    assert fake.count("POST", "^/token") == 1
    assert not any("id-token" in path for _, path in fake.log)


def test_basic_logins_are_sent_only_when_asked_for(
    fake: FakeRegistry, connect: Connect, store: Store, make_image: MakeImage
) -> None:
    client = connect(ME)
    client.push(store, make_image(10), ref_in(fake))
    assert set(fake.authorizations) == {""}
    fake.behaviour.basic_users = {"me": "pw"}
    image = make_image(20)
    client.push(store, image, ref_in(fake))
    assert client.manifest_digest(ref_in(fake)) == image.digest


def test_public_images_are_pulled_without_a_login(
    fake: FakeRegistry, connect: Connect, store: Store, make_image: MakeImage, tmp_path: Path
) -> None:
    image = make_image(10)
    connect().push(store, image, ref_in(fake))
    fake.behaviour.token_users = {"": ""}
    assert connect().pull(ref_in(fake), AMD64, Store(tmp_path / "other")) == image
    with pytest.raises(RegistryAuthError, match="wants a login for team/iris"):
        connect().push(store, make_image(20), ref_in(fake))


@pytest.mark.parametrize("kind", ["basic_users", "token_users"])
@pytest.mark.parametrize(
    ("login", "said"), [(None, "wants a login for"), (replace(ME, secret="wr0ng"), "refuses this login")]
)
def test_without_the_right_login_the_error_says_what_to_do(
    kind: str, login: Credential | None, said: str, fake: FakeRegistry, connect: Connect
) -> None:
    setattr(fake.behaviour, kind, {"me": "pw"})
    with pytest.raises(RegistryAuthError, match=f"{fake.host} {said}") as error:
        connect(login).manifest_digest(ref_in(fake))
    assert f"docker login {fake.host}" in error.value.hint
    assert "wr0ng" not in str(error.value) + error.value.hint
    assert len(fake.log) <= 4


def test_a_login_is_not_sent_to_a_realm_without_tls(fake: FakeRegistry, connect: Connect) -> None:
    fake.behaviour.token_users = {"me": "pw"}
    fake.behaviour.realm = "http://auth.example/token"
    with pytest.raises(RegistryAuthError, match=r"over plain http to auth\.example"):
        connect(ME).manifest_digest(ref_in(fake))


def test_storage_behind_a_redirect_never_sees_the_login(
    fake: FakeRegistry, connect: Connect, store: Store, make_image: MakeImage, tmp_path: Path
) -> None:
    image = make_image(10)
    with running() as storage:
        connect().push(store, image, ref_in(storage))
        connect().push(store, image, ref_in(fake))
        fake.behaviour.basic_users = {"me": "pw"}
        fake.behaviour.blob_redirect = f"http://{storage.host}/v2/{{repository}}/blobs/{{digest}}"
        storage.authorizations.clear()
        other = Store(tmp_path / "other")
        connect(ME).pull(ref_in(fake), AMD64, other)
        assert read_image(other, image)
        assert storage.authorizations == ["", ""]


def test_redirects_in_circles_end(fake: FakeRegistry, connect: Connect, tmp_path: Path) -> None:
    fake.faults.append(
        Fault("GET", "/manifests/", status=307, headers={"Location": "/v2/team/iris/manifests/1"}, times=99)
    )
    with pytest.raises(RegistryError, match="in circles"):
        connect().resolve(ref_in(fake), AMD64)


@pytest.mark.parametrize(
    ("target", "said"),
    [("file:///etc/passwd", "sends us to 'file:"), ("ftp://x/y", "sends us to 'ftp:")],
)
def test_other_schemes_are_refused(target: str, said: str, fake: FakeRegistry, connect: Connect) -> None:
    fake.faults.append(Fault("GET", "/manifests/", status=307, headers={"Location": target}))
    with pytest.raises(RegistryError, match=said):
        connect().resolve(ref_in(fake), AMD64)


@pytest.mark.parametrize(
    "target",
    ["https://127.0.0.1:1/x", "https://10.1.2.3/x", "https://[fe80::1]/x", "https://169.254.169.254/x"],
)
def test_a_public_registry_cannot_send_us_into_a_private_net(
    target: str, fake: FakeRegistry, connect: Connect
) -> None:
    # The registry is reached through a proxy, which is where this test's server stands.
    network = replace(FAST, proxies=(("http", f"http://{fake.host}"),))
    fake.faults.append(Fault("GET", "^http://", status=307, headers={"Location": target}))
    ref = ImageRef(registry="203.0.113.7:5000", repository="x", tag="1")
    public = replace(ref, registry="1.1.1.1:5000")
    with pytest.raises(RegistryError, match="sends us to the private address"):
        connect(network=network, insecure=frozenset({"1.1.1.1:5000"})).resolve(public, AMD64)


def test_plain_http_goes_through_its_proxy_with_the_proxys_login(
    fake: FakeRegistry, connect: Connect
) -> None:
    network = replace(
        FAST, proxies=(("http", f"http://user:p%40ss@{fake.host}"),), no_proxy=("direct.example",)
    )
    client = connect(network=network, insecure=frozenset({"r.example:5000"}))
    assert client.manifest_digest(ImageRef(registry="r.example:5000", repository="x", tag="1")) is None
    assert fake.log == [("HEAD", "http://r.example:5000/v2/x/manifests/1")]


@pytest.mark.parametrize(
    ("rule", "host", "direct"),
    [
        ("r.example", "r.example:5000", True),
        ("r.example:5000", "r.example:5000", True),
        ("r.example:5001", "r.example:5000", False),
        ("example", "r.example", True),
        (".example", "r.example", True),
        ("ample", "r.example", False),
        ("10.0.0.0/8", "10.9.8.7:5000", True),
        ("10.0.0.0/8", "11.9.8.7", False),
        ("10.0.0.0/8", "r.example", False),
        ("*", "r.example", True),
        ("", "localhost:5000", True),
        ("", "[::1]:5000", True),
    ],
)
def test_no_proxy_rules(rule: str, host: str, direct: bool) -> None:
    network = Network(proxies=(("https", "proxy.example:3128"),), no_proxy=(rule,))
    assert (network.proxy_for("https", host) is None) == direct


def test_a_proxy_that_is_no_http_url_is_refused_without_its_password() -> None:
    network = Network(proxies=(("https", "socks5://u:s3cret@p:1"),))
    with pytest.raises(RegistryError) as error:
        network.proxy_for("https", "r.example")
    assert "s3cret" not in str(error.value) + repr(network)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate for 127.0.0.1, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    now = datetime.datetime.now(datetime.timezone.utc)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = tmp_path_factory.mktemp("tls") / "cert.pem"
    file.write_bytes(
        made.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return file


@pytest.fixture
def secure(certificate: Path) -> Iterator[FakeRegistry]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with running(context) as registry:
        yield registry


def test_a_registry_with_its_own_ca_is_reached_with_that_ca(
    secure: FakeRegistry, certificate: Path, connect: Connect, store: Store, make_image: MakeImage
) -> None:
    client = connect(network=replace(FAST, ca_file=certificate))
    image = make_image(5000)
    client.push(store, image, ref_in(secure))
    assert client.manifest_digest(ref_in(secure)) == image.digest


def test_a_certificate_that_nobody_vouches_for_is_refused_at_once(
    secure: FakeRegistry, connect: Connect, tmp_path: Path
) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "another")])
    now = datetime.datetime.now(datetime.timezone.utc)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    dated = builder.serial_number(2).not_valid_before(now).not_valid_after(now + datetime.timedelta(days=1))
    other = tmp_path / "other.pem"
    other.write_bytes(dated.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    with pytest.raises(RegistryError, match="certificate not trusted") as error:
        connect(network=replace(FAST, ca_file=other)).manifest_digest(ref_in(secure))
    assert error.value.hint == "--registry-ca FILE"
    assert secure.log == []


def test_a_ca_file_without_a_certificate_is_refused(
    connect: Connect, tmp_path: Path, secure: FakeRegistry
) -> None:
    (tmp_path / "ca").write_text("no pem")
    with pytest.raises(RegistryError, match="no certificate in PEM form"):
        connect(network=replace(FAST, ca_file=tmp_path / "ca")).manifest_digest(ref_in(secure))


def test_an_answer_in_plain_http_to_tls_says_what_to_do(certificate: Path, connect: Connect) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        host = f"127.0.0.1:{server.getsockname()[1]}"

        def answer() -> None:
            with server.accept()[0] as connection:
                connection.recv(1 << 16)
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(RegistryError, match=f"{host} speaks plain http") as error:
            connect(network=replace(FAST, ca_file=certificate)).manifest_digest(
                ImageRef(registry=host, repository="x", tag="1")
            )
        thread.join()
    assert error.value.hint == f"--insecure-registry {host}"


def test_a_registry_that_is_not_running_is_said_to_refuse_connections(connect: Connect) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        host = f"127.0.0.1:{server.getsockname()[1]}"
    with pytest.raises(RegistryError, match=f"{host} refuses connections"):
        connect().manifest_digest(ImageRef(registry=host, repository="x", tag="1"))


def test_a_registry_that_never_answers_ends_in_an_error(connect: Connect) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        host = f"127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(RegistryError, match="does not answer in time"):
            connect(network=replace(FAST, timeout=0.05, tries=2)).manifest_digest(
                ImageRef(registry=host, repository="x", tag="1")
            )


def test_something_that_is_no_registry_is_an_error(fake: FakeRegistry, connect: Connect) -> None:
    fake.faults.append(
        Fault("GET", "/manifests/", status=200, body=b"<html>", headers={"Content-Type": "text/html"})
    )
    with pytest.raises(RegistryError, match="not a JSON object"):
        connect().resolve(ref_in(fake), AMD64)


@pytest.mark.parametrize(
    ("host", "private"),
    [
        ("10.0.0.1", True),
        ("::1", True),
        ("localhost", True),
        ("169.254.1.1", True),
        ("1.1.1.1", False),
        ("name.example", False),
    ],
)
def test_private_addresses_are_known_without_asking_anyone(host: str, private: bool) -> None:
    assert is_private(host, look_up=False) == private


def test_loopback_is_known_by_name_and_address() -> None:
    hosts = ["127.0.0.1", "127.9.9.9", "::1", "localhost", "x.localhost"]
    assert all(is_loopback(host) for host in hosts)
    assert not any(is_loopback(host) for host in ("10.0.0.1", "localhost.example", "r.example"))


def test_messages_have_one_line(fake: FakeRegistry, connect: Connect) -> None:
    fake.faults.append(
        Fault("GET", "/manifests/", status=418, body=b'{"errors":[{"code":"A\\nB","message":"\\u001b[31m"}]}')
    )
    with pytest.raises(RegistryError) as error:
        connect().resolve(ref_in(fake), AMD64)
    assert re.fullmatch(r"[\x20-\x7e]+", str(error.value))
