"""Connecting to a gearmand: the socket, TLS where the URL asks for it, and the proof that it is one."""

import socket
import time
from collections.abc import Mapping
from typing import Any, Final

from unimq import tls
from unimq.errors import ConnectError, ConnectionLost, ProtocolError, Timeout
from unimq.url import URL
from unimq_gearman.calls import Lines
from unimq_gearman.wire import Wire

__all__ = ["PORT", "connect"]

PORT: Final = 4730
_LONGEST: Final = 3600.0


def connect(url: URL, own: Mapping[str, Any], alarm: socket.socket, number: int, deadline: float) -> tuple[Wire, str]:
    """A connection to the one host of `url`, and the version that the server tells.

    Raises:
        ConnectError: nobody listens there, or what listens does not answer as a gearmand does until the deadline.
    """
    host = url.hosts[0].name if url.hosts else "localhost"
    port = (url.hosts[0].port if url.hosts else None) or PORT
    rest = min(max(deadline - time.monotonic(), 0.001), _LONGEST)
    try:
        connection = socket.create_connection((host, port), rest)
    except OSError as error:
        msg = f"{url}: no connection to gearmand at {host}:{port}: {error}"
        raise ConnectError(msg) from error
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    # A server that vanished would leave a waiting get waiting for ever.
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if url.transport == "ssl":
        connection = tls.wrap(connection, tls.context(url, own), url, host, deadline)
    wire = Wire(connection, str(url), alarm, number)
    try:
        return wire, _version(wire, deadline)
    except (ConnectionLost, Timeout, ProtocolError) as error:
        wire.close()
        msg = f"{url}: connected, and what is there does not answer as a gearmand: {error}"
        raise ConnectError(msg) from error
    except BaseException:
        wire.close()
        raise


def _version(wire: Wire, deadline: float) -> str:
    call = Lines()
    wire.exchange(b"version\n", call, deadline)
    told = call.results[0][1][0].decode("utf-8", "replace")
    if not told.startswith("OK "):
        msg = f"it answers {told[:60]!r} when asked for its version"
        raise ProtocolError(msg)
    return told[3:]
