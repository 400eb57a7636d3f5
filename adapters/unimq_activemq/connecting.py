"""Connecting to a broker: the socket, and the login."""

import math
import socket
import time
from collections.abc import Mapping
from typing import Any, Final

from unimq import tls
from unimq.errors import AuthenticationFailed, ConnectError, ConnectionLost, ProtocolError, Timeout
from unimq.url import URL
from unimq_activemq.frames import encode
from unimq_activemq.refusals import refusal
from unimq_activemq.wire import Wire

__all__ = ["PORT", "connect"]

PORT: Final = 61613
"""Where ActiveMQ listens for STOMP."""


def connect(url: URL, own: Mapping[str, Any], deadline: float) -> tuple[Wire, str]:
    """A connection to the one host of `url` after its login, and what the broker calls itself.

    Raises:
        ConnectError, AuthenticationFailed, Timeout: as the driver contract has them.
    """
    host = url.hosts[0].name if url.hosts else "localhost"
    port = (url.hosts[0].port if url.hosts else None) or PORT
    left = deadline - time.monotonic()
    try:
        connection = socket.create_connection((host, port), None if left == math.inf else max(left, 0.001))
    except TimeoutError as error:
        msg = f"{url}: no connection in time"
        raise Timeout(msg) from error
    except OSError as error:
        msg = f"{url}: cannot connect to {host}:{port}: {error}"
        raise ConnectError(msg) from error
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if url.transport == "ssl":
        connection = tls.wrap(connection, tls.context(url, own), url, host, deadline)
    wire = Wire(connection, str(url))
    try:
        return wire, _log_in(wire, url, own, host, deadline)
    except BaseException:
        wire.close()
        raise


def _log_in(wire: Wire, url: URL, own: Mapping[str, Any], host: str, deadline: float) -> str:
    beat_ms = round(own["heart_beat"] * 1000)
    headers = {"accept-version": "1.2", "host": host, "heart-beat": f"{beat_ms},{beat_ms}"}
    if url.user is not None:
        headers["login"] = url.user
    if url.password is not None:
        headers["passcode"] = url.password
    try:
        wire.write(encode("CONNECT", headers), deadline)
        if not wire.wait(lambda: wire.welcome or wire.complaint, deadline):
            msg = f"{url}: the broker took the connection, and did not answer in time"
            raise Timeout(msg)
    except ConnectionLost as error:
        # A refused login's ERROR may be lost with the connection.
        msg = f"{url}: the broker ended the connection at the login{_told(url)}: {error}"
        raise ConnectError(msg) from error
    except ProtocolError as error:
        hint = "" if url.transport else f"; if it is a port for TLS, write {url.scheme}+ssl://"
        msg = f"{url}: what answers speaks no STOMP: {error}{hint}"
        raise ConnectError(msg) from error
    if wire.welcome is None:
        refused = refusal(str(url), wire.complaint or "")
        if isinstance(refused, AuthenticationFailed):
            raise refused
        msg = f"{url}: the broker refuses the connection: {wire.complaint}"
        raise ConnectError(msg)
    wire.speaks_every, wire.hears_every = _beats(beat_ms, wire.welcome.headers.get("heart-beat", "0,0"))
    return f"{wire.welcome.headers.get('server', 'a STOMP broker')}"


def _beats(wanted_ms: int, told: str) -> tuple[float, float]:
    """Seconds between our signs of life and between the broker's, 0 for none: the slower of the two has its way."""
    speaks, _, hears = told.partition(",")
    theirs = [int(text) if text.isascii() and text.isdigit() else 0 for text in (hears, speaks)]
    ours, broker = (max(wanted_ms, one) / 1000 if wanted_ms and one else 0.0 for one in theirs)
    return ours, broker


def _told(url: URL) -> str:
    return "" if url.user is not None else " (the URL has no user and password)"
