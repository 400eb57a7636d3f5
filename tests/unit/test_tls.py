"""TLS: who the server is is verified, and what cannot be used is told; over loopback, with a CA of the test's own."""

import socket
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from unimq import tls
from unimq.errors import ConnectError, InvalidURL, Timeout
from unimq.options import read
from unimq.url import URL


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def files(authority: trustme.CA, tmp_path: Path) -> Path:
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    client = authority.issue_cert("client@example.org")
    client.cert_chain_pems[0].write_to_path(str(tmp_path / "client.pem"))
    client.private_key_pem.write_to_path(str(tmp_path / "client.key"))
    return tmp_path


class Server:
    """Shakes hands with whoever comes, and says who that was."""

    def __init__(self, authority: trustme.CA, name: str = "localhost", *, demands: bool = False) -> None:
        self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        authority.issue_cert(name).configure_cert(self._context)
        authority.configure_trust(self._context)
        self._context.verify_mode = ssl.CERT_REQUIRED if demands else ssl.CERT_NONE
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = self._listener.getsockname()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        with self._listener:
            connection, _ = self._listener.accept()
            with connection:
                try:
                    with self._context.wrap_socket(connection, server_side=True) as secure:
                        secure.sendall(b"welcome")
                except OSError:
                    pass

    def close(self) -> None:
        with socket.socket() as last:  # in case nobody came
            last.connect_ex(self.address)
        self._thread.join()


@pytest.fixture
def serve(authority: trustme.CA) -> Iterator[object]:
    servers: list[Server] = []

    def serve(name: str = "localhost", *, demands: bool = False) -> Server:
        servers.append(Server(authority, name, demands=demands))
        return servers[-1]

    yield serve
    for server in servers:
        server.close()


def greeting(server: Server, **options: str) -> bytes:
    url = URL.parse("x+ssl://localhost/q").with_options(**options)
    tls.check(url, tls=True)
    made = tls.context(url, read(url, tls.OPTIONS))
    plain = socket.create_connection(server.address, 5)
    with tls.wrap(plain, made, url, "localhost", time.monotonic() + 5) as secure:
        secure.settimeout(5)
        return secure.recv(100)


def test_a_server_of_a_trusted_authority_is_used(serve, files: Path) -> None:
    """`tls_ca` names whom to trust."""
    assert greeting(serve(), tls_ca=str(files / "ca.pem")) == b"welcome"


def test_a_stranger_is_refused(serve) -> None:
    """A server whose authority nobody named is not talked to; the text says what to do."""
    with pytest.raises(ConnectError, match="not trusted.*tls_ca="):
        greeting(serve())


def test_another_name_is_refused(serve, files: Path) -> None:
    """The certificate must be for the host that was asked for."""
    with pytest.raises(ConnectError, match="not trusted"):
        greeting(serve("elsewhere.example"), tls_ca=str(files / "ca.pem"))


def test_who_does_not_care_says_so(serve) -> None:
    """`tls_insecure=true` takes anybody."""
    assert greeting(serve("elsewhere.example"), tls_insecure="true") == b"welcome"


def test_a_client_shows_its_certificate(serve, files: Path) -> None:
    """Where the server demands one."""
    own = {"tls_cert": str(files / "client.pem"), "tls_key": str(files / "client.key")}
    assert greeting(serve(demands=True), tls_ca=str(files / "ca.pem"), **own) == b"welcome"


def test_files_that_cannot_be_used_are_named(files: Path) -> None:
    """Missing, or no certificate at all."""
    (files / "noise.pem").write_text("noise")
    for options in ({"tls_ca": str(files / "none.pem")}, {"tls_cert": str(files / "noise.pem")}):
        url = URL.parse("x+ssl://h/q").with_options(**options)
        (value,) = options.values()
        with pytest.raises(InvalidURL, match=value):
            tls.context(url, read(url, tls.OPTIONS))


def test_options_without_a_use_are_refused() -> None:
    """TLS options without TLS, and a key without its certificate."""
    with pytest.raises(InvalidURL, match=r"tls_ca means something with TLS only: write x\+ssl://"):
        tls.check(URL.parse("x://h/q?tls_ca=/ca.pem"), tls=False)
    with pytest.raises(InvalidURL, match="tls_cert"):
        tls.check(URL.parse("x+ssl://h/q?tls_key=/key.pem"), tls=True)
    tls.check(URL.parse("x://h/q"), tls=False)


def test_a_silent_server_is_given_up() -> None:
    """A peer that takes the connection and says nothing costs the deadline, and no more."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = URL.parse("x+ssl://localhost/q")
        start = time.monotonic()
        plain = socket.create_connection(listener.getsockname(), 5)
        with pytest.raises(Timeout, match="handshake"):
            tls.wrap(plain, ssl.create_default_context(), url, "localhost", start + 0.2)
        assert 0.19 <= time.monotonic() - start < 2


def test_a_server_without_tls_is_told() -> None:
    """What answers in plain text is no TLS server."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        plain = socket.create_connection(listener.getsockname(), 5)
        peer, _ = listener.accept()
        with peer:
            peer.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            with pytest.raises(ConnectError, match="no TLS with localhost"):
                tls.wrap(
                    plain, ssl.create_default_context(), URL.parse("x+ssl://h/q"), "localhost", time.monotonic() + 5
                )
