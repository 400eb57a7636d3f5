"""CURVE: whose keys a socket has, read from a URL's options, and who may connect to one that binds.

Keys are those of `zmq.auth.create_certificates`: a file of its own for the public half, another with both. Neither the
options nor the texts of errors show a secret key.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import zmq
import zmq.auth
from zmq.auth.thread import ThreadAuthenticator
from zmq.utils import z85

from unimq.errors import InvalidURL
from unimq.url import URL

__all__ = ["Guard", "Keys"]

_KEY: Final = 40
"""Characters of a key in Z85."""


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys of one side; its `repr` shows no secret."""

    public: bytes
    secret: bytes
    server: bytes | None = None
    """The key that the other side must prove to have; `None` at the side that binds."""
    clients: frozenset[bytes] | None = None
    """Who may connect to the side that binds; `None`: whoever knows its public key."""

    def __repr__(self) -> str:
        return f"Keys({self.public!r})"

    @classmethod
    def to_connect(cls, url: URL, options: Mapping[str, Any]) -> "Keys | None":
        """Those of a socket that connects: with `server_key=`, and an own pair, or one that is made for this once.

        Raises:
            InvalidURL: a key or its file cannot be read, or `key_file=` is given without `server_key=`.
        """
        given, file = options["server_key"], options["key_file"]
        if given is None:
            if file is not None:
                msg = f"{url}: key_file= needs server_key=, the public key of the side that binds"
                raise InvalidURL(msg)
            return None
        public, secret = zmq.curve_keypair() if file is None else _pair(url, file)
        return cls(public, secret, _public(url, given))

    @classmethod
    def to_bind(cls, url: URL, options: Mapping[str, Any]) -> "Keys | None":
        """Those of a socket that binds: with `key_file=`, and with `clients=` for those only who are in that folder.

        Raises:
            InvalidURL: a file cannot be read, or `clients=` is given without `key_file=`.
        """
        file, folder = options["key_file"], options["clients"]
        if file is None:
            if folder is not None:
                msg = f"{url}: clients= needs key_file=, the own key of the side that binds"
                raise InvalidURL(msg)
            return None
        public, secret = _pair(url, file)
        return cls(public, secret, clients=None if folder is None else _allowed(url, folder))

    def put_on(self, socket: "zmq.Socket[bytes]") -> None:
        """Make `socket` use them."""
        socket.curve_publickey, socket.curve_secretkey = self.public, self.secret
        if self.server is None:
            socket.curve_server = True
        else:
            socket.curve_serverkey = self.server


class Guard:
    """The context of one socket that binds with keys, and who lets its clients in.

    It is a context of its own, because the one who is asked is asked for every socket of a context, plain ones too.
    """

    def __init__(self, keys: Keys) -> None:
        self.context: zmq.Context[Any] = zmq.Context()
        self._clients = keys.clients
        self._thread: ThreadAuthenticator | None = None
        if self._clients is not None:
            self._thread = ThreadAuthenticator(self.context)
            self._thread.start()
            self._thread.configure_curve_callback(credentials_provider=self)

    def callback(self, domain: str, key: bytes) -> bool:
        """Whether the client that proved to have `key` (Z85) may connect."""
        return self._clients is not None and key in self._clients

    def close(self) -> None:
        """End it, once its socket is closed; waits for the socket's linger."""
        if self._thread is not None:
            self._thread.stop()
        self.context.term()


def _pair(url: URL, file: str) -> tuple[bytes, bytes]:
    public, secret = _load(url, "key_file", Path(file))
    if secret is None:
        msg = f"{url}: key_file={file!r} has no secret key: name the file that ends in .key_secret"
        raise InvalidURL(msg)
    return public, secret


def _public(url: URL, given: str) -> bytes:
    if len(given) == _KEY and not Path(given).exists():  # a key may begin as a path does
        key = given.encode()
        try:
            z85.decode(key)
        except (ValueError, KeyError):
            pass
        else:
            return key
    return _load(url, "server_key", Path(given))[0]


def _allowed(url: URL, folder: str) -> frozenset[bytes]:
    found = sorted(Path(folder).glob("*.key"))
    if not found:
        msg = f"{url}: clients={folder!r} has no file that ends in .key: nobody could connect"
        raise InvalidURL(msg)
    return frozenset(_load(url, "clients", path)[0] for path in found)


def _load(url: URL, option: str, path: Path) -> tuple[bytes, bytes | None]:
    try:
        return zmq.auth.load_certificate(path)  # pyright: ignore[reportUnknownMemberType] # its parameter is any path
    except (OSError, ValueError):
        why = "it has no key that can be read" if path.exists() else "it is not there"
    msg = f"{url}: {option}= cannot be read from {str(path)!r}: {why}"
    raise InvalidURL(msg)
