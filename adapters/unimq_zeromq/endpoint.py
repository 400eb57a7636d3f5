"""Where a URL's socket is, in ZeroMQ's words."""

import hashlib
import re
from typing import Final

from unimq.errors import InvalidURL
from unimq.url import URL

__all__ = ["PORT", "endpoint", "queue_endpoint"]

PORT: Final = 5555
"""What ZeroMQ's own guide uses in its examples; no port is registered."""
_TRANSPORTS: Final = ("tcp", "ipc", "inproc")
_LONGEST_PATH: Final = 100
"""Bytes; a path of a Unix socket has 107 at most."""
_PLAIN: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,31}(?<!\.lock)\Z")
"""Names of queues that are names of their sockets; of the others a hash is."""


def endpoint(url: URL, *, binds: bool = False) -> str:
    """The endpoint of `url`, for `connect`, or for `bind`, where the host may be `*`.

    Raises:
        InvalidURL: it names no socket.
    """
    transport = url.transport or "tcp"
    if transport not in _TRANSPORTS:
        msg = f"{url}: unknown transport {transport!r}; known: {', '.join(f'{url.scheme}+{t}' for t in _TRANSPORTS)}"
        raise InvalidURL(msg)
    if transport == "tcp":
        return _tcp(url, binds=binds)
    if url.hosts and transport == "ipc":
        msg = f"{url}: a path has no host: write {url.scheme}+ipc:///run/jobs.sock?queue=jobs"
        raise InvalidURL(msg)
    name = url.path.removeprefix("/") if transport == "inproc" else url.path
    name = f"{url.hosts[0].name}/{name}".rstrip("/") if url.hosts else name
    if not name or len(name.encode()) > _LONGEST_PATH or "\0" in name:
        msg = f"{url}: the path of the socket must have 1 to {_LONGEST_PATH} bytes"
        raise InvalidURL(msg)
    return f"{transport}://{name}"


def _tcp(url: URL, *, binds: bool) -> str:
    host = url.hosts[0] if url.hosts else None
    name = "127.0.0.1" if host is None else host.name
    port = PORT if host is None or host.port is None else host.port
    if any(character in name for character in ";/@ ") or (name == "*" and not binds):
        msg = f"{url}: the host {name!r} must be a name or an address"
        raise InvalidURL(msg)
    return f"tcp://[{name}]:{port}" if ":" in name else f"tcp://{name}:{port}"


def queue_endpoint(url: URL, queue: str) -> str:
    """The endpoint of one queue of a push-pull URL: over tcp the URL's own, else a socket in the folder that it names.

    The socket's name is the queue's, if that has up to 32 of `A-Za-z0-9_.-`, or 32 hexadecimal digits of its BLAKE2b.

    Raises:
        InvalidURL: the folder's path is too long for a socket in it.
    """
    where = endpoint(url)
    if where.startswith("tcp:"):
        return where
    name = queue if _PLAIN.match(queue) else hashlib.blake2b(queue.encode(), digest_size=16).hexdigest()
    if len(f"{where}/{name}".encode()) > _LONGEST_PATH + len("ipc://"):
        msg = f"{url}: the path of the folder is too long: a socket in it may have {_LONGEST_PATH} bytes"
        raise InvalidURL(msg)
    return f"{where}/{name}"
