"""TLS with a broker, whose certificate is of an authority of this test's own."""

import socket
import ssl
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    load_pem_private_key,
    pkcs12,
)
from harness import Recipe, Running

import unimq
from unimq.errors import ConnectError

_PASSWORD = b"changeit"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Certificates: what the broker reads, and what clients name in their URLs."""
    folder = tmp_path_factory.mktemp("tls")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    client = authority.issue_cert("client@example.org")
    client.private_key_and_cert_chain_pem.write_to_path(str(folder / "client.pem"))
    broker = authority.issue_cert("localhost", "127.0.0.1")
    certificates = [x509.load_pem_x509_certificate(pem.bytes()) for pem in broker.cert_chain_pems]
    key = load_pem_private_key(broker.private_key_pem.bytes(), None)
    store = pkcs12.serialize_key_and_certificates(
        b"broker",
        key,  # type: ignore[arg-type] # an RSA or an EC key
        certificates[0],
        certificates[1:],
        BestAvailableEncryption(_PASSWORD),
    )
    (folder / "broker.p12").write_bytes(store)
    trusted = x509.load_pem_x509_certificate(authority.cert_pem.bytes())
    entry = pkcs12.PKCS12Certificate(trusted, b"authority")
    (folder / "trusted.p12").write_bytes(pkcs12.serialize_java_truststore([entry], BestAvailableEncryption(_PASSWORD)))
    folder.chmod(0o755)
    return folder


def _handshake(host: str, port: int) -> None:
    """Ready is a broker that shakes hands; who it is is the tests' business."""
    made = ssl.create_default_context()
    made.check_hostname = False
    made.verify_mode = ssl.CERT_NONE
    with socket.create_connection((host, port), 2) as plain, made.wrap_socket(plain):
        pass


def _recipe(broker: Recipe, files: Path, variant: str, port: int) -> Recipe:
    return replace(
        broker,
        port=port,
        url="activemq+ssl://unimq:secret@{address}",
        ready=_handshake,
        variant=variant,
        files={f"/conf/{name}": files / name for name in ("broker.p12", "trusted.p12")},
    )


@pytest.fixture(scope="class")
def verified(private: Callable[[Recipe], Running], broker: Recipe, files: Path) -> Running:
    return private(_recipe(broker, files, "tls", 61614))


@pytest.fixture(scope="class")
def mutual(private: Callable[[Recipe], Running], broker: Recipe, files: Path) -> Running:
    return private(_recipe(broker, files, "mutual", 61615))


def _exchange(url: str, **options: str) -> object:
    url = str(unimq.URL.parse(f"{url}/tls").with_options(connect_timeout="5s", **options).reveal())
    with unimq.Queue(url) as queue:
        queue.put("x" * 100_000)
        with queue.get(timeout=5) as message:
            found = [message.body]
        queue.put_many(["y", "z"])
        messages = queue.get_many(2, timeout=5)
        queue.ack(messages)
        return found + [message.body for message in messages]


class TestTLS:
    """A broker that says who it is."""

    def test_a_trusted_broker_is_used(self, verified: Running, files: Path) -> None:
        """With its authority named, messages go to it and come back, large ones too."""
        assert _exchange(verified.url, tls_ca=str(files / "ca.pem")) == ["x" * 100_000, "y", "z"]

    def test_a_stranger_is_refused(self, verified: Running) -> None:
        """The broker's authority is none that the system trusts."""
        with pytest.raises(ConnectError, match=r"not trusted.*tls_ca="):
            _exchange(verified.url)

    def test_verification_can_be_switched_off(self, verified: Running) -> None:
        """By an option that says what it is."""
        assert _exchange(verified.url, tls_insecure="true") == ["x" * 100_000, "y", "z"]

    def test_a_plain_client_is_told(self, verified: Running) -> None:
        """A URL without TLS for a port with it ends in an error, and in time."""
        with pytest.raises(ConnectError, match=r"write activemq\+ssl://"):
            _exchange(verified.url.replace("+ssl", ""))


class TestMutualTLS:
    """A broker that wants to know who comes."""

    def test_a_certificate_lets_in(self, mutual: Running, files: Path) -> None:
        """One that the broker's authority has signed."""
        own = {"tls_ca": str(files / "ca.pem"), "tls_cert": str(files / "client.pem")}
        assert _exchange(mutual.url, **own) == ["x" * 100_000, "y", "z"]

    def test_without_one_nobody_comes_in(self, mutual: Running, files: Path) -> None:
        """And is told at the connect."""
        with pytest.raises(ConnectError):
            _exchange(mutual.url, tls_ca=str(files / "ca.pem"))
