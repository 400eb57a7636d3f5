"""CURVE: the right keys work on both patterns, wrong ones are told in time, and no text shows a secret."""

import contextlib
import shutil
import socket
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import zmq
import zmq.auth

import unimq
from unimq.errors import AuthenticationFailed, ConnectError, InvalidURL

SOON = 3.0


def free_port() -> int:
    with contextlib.closing(socket.socket()) as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


class Certificates:
    """Pairs of keys in files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("holder", "known", "stranger"):
            zmq.auth.create_certificates(folder, name)
        (folder / "allowed").mkdir()
        shutil.copy(folder / "known.key", folder / "allowed")

    def public(self, name: str) -> str:
        return quote(zmq.auth.load_certificate(self.folder / f"{name}.key")[0].decode(), safe="")

    def secret(self, name: str) -> str:
        return str(self.folder / f"{name}.key_secret")


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("keys"))


def put(url: str) -> None:
    with unimq.Queue(url) as queue:
        queue.put("x", timeout=SOON)


def test_the_right_keys_work(keys: Certificates) -> None:
    """With an allow-list and without one, the key in the URL or in a file."""
    for clients in ("", f"&clients={keys.folder}/allowed"):
        at = f"zeromq://127.0.0.1:{free_port()}"
        with unimq.serve("memory://curve", at=f"{at}?key_file={keys.secret('holder')}{clients}"):
            for server in (keys.public("holder"), f"{keys.folder}/holder.key"):
                url = f"{at}/q?server_key={server}&key_file={keys.secret('known')}"
                with unimq.Queue(url) as queue:
                    queue.put("x")
                    assert queue.get(timeout=SOON).body == "x"


def test_wrong_keys_are_told_in_time(keys: Certificates) -> None:
    """Another server's key, none where one is wanted, one where none is, and a client that is not let in."""
    plain, guarded = (f"zeromq://127.0.0.1:{free_port()}" for _ in range(2))
    options = f"?key_file={keys.secret('holder')}&clients={keys.folder}/allowed"
    known, stranger = (f"&key_file={keys.secret(name)}" for name in ("known", "stranger"))
    one_sided = (AuthenticationFailed, ConnectError)  # libzmq tells one or the other
    wrong: list[tuple[str, Any, str]] = [
        (f"{guarded}/q?server_key={keys.public('stranger')}{known}", ConnectError, "server_key"),
        (f"{guarded}/q", one_sided, "server_key"),
        (f"{plain}/q?server_key={keys.public('holder')}", one_sided, "server_key"),
        (f"{guarded}/q?server_key={keys.public('holder')}{stranger}", AuthenticationFailed, "allow-list"),
        (f"{guarded}/q?server_key={keys.public('holder')}", AuthenticationFailed, "allow-list"),
    ]
    with unimq.serve("memory://curve", at=plain), unimq.serve("memory://curve", at=guarded + options):
        for url, kind, names in wrong:
            start = time.monotonic()
            with pytest.raises(kind, match=names):
                put(url)
            assert time.monotonic() - start < SOON
        put(f"{plain}/q")
        put(f"{guarded}/q?server_key={keys.public('holder')}{known}")


def test_push_pull_has_keys_too(keys: Certificates) -> None:
    """The side that binds has the holder's part; a wrong key is told by a put in time."""
    at = f"zeromq://127.0.0.1:{free_port()}/q?pattern=push-pull"
    own = f"&key_file={keys.secret('holder')}&clients={keys.folder}/allowed"
    known, stranger = (f"&server_key={keys.public('holder')}&key_file={keys.secret(n)}" for n in ("known", "stranger"))
    with unimq.Queue(at + own) as gets:
        with pytest.raises(unimq.Empty):
            gets.get(timeout=0)  # binds
        with unimq.Queue(at + stranger) as puts:
            start = time.monotonic()
            with pytest.raises(AuthenticationFailed, match="allow-list"):
                puts.put("y", timeout=SOON)
            assert time.monotonic() - start < SOON
        with unimq.Queue(at + known) as puts:
            puts.put("x")
            assert gets.get(timeout=SOON).body == "x"


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ("server_key=short", "server_key= cannot be read"),
        ("key_file=/none", "needs server_key"),
        ("server_key={public}&key_file=/none", "key_file= cannot be read from '/none': it is not there"),
        ("server_key={public}&key_file={folder}/known.key", "has no secret key"),
    ],
)
def test_a_mistake_is_told(keys: Certificates, options: str, why: str) -> None:
    """With the option and the file; not the key."""
    shown = options.format(public=keys.public("holder"), folder=keys.folder)
    with pytest.raises(InvalidURL, match=why):
        put(f"zeromq://127.0.0.1:1/q?{shown}")


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ("clients={folder}/allowed", "needs key_file"),
        ("key_file={folder}/holder.key_secret&clients={folder}/none", "nobody could connect"),
        ("key_fiel=x", "did you mean 'key_file'"),
    ],
)
def test_a_mistake_of_a_holder_is_told(keys: Certificates, options: str, why: str) -> None:
    """Before it binds."""
    with pytest.raises(InvalidURL, match=why):
        unimq.serve("memory://", at=f"zeromq://127.0.0.1:{free_port()}?{options.format(folder=keys.folder)}")


def test_no_secret_is_shown(keys: Certificates) -> None:
    """Not by the repr of what holds it."""
    from unimq_zeromq.keys import Keys

    public, secret = zmq.curve_keypair()
    assert secret.decode() not in repr(Keys(public, secret))


def test_a_key_may_begin_as_a_path_does() -> None:
    """One of 85 does."""
    key = "/#Zk*&?n!!QHE6J+xnlf1WbL[/c@58-KLJ8D9Qau"
    url = f"zeromq://127.0.0.1:1/q?server_key={quote(key, safe='')}&connect_timeout=100ms"
    with unimq.Queue(url) as queue, pytest.raises(unimq.ConnectError):
        queue.ping()
    url = "zeromq://127.0.0.1:1/q?server_key=%2Fno%2Fsuch%2Ffile"
    with unimq.Queue(url) as queue, pytest.raises(unimq.InvalidURL, match="it is not there"):
        queue.ping()
