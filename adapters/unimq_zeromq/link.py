"""One connection of a client to a holder: a DEALER that is never reconnected, and what is needed to know its end.

libzmq's own reconnecting is off: a session is one TCP connection, its end is told by the socket's monitor, and the pool
above makes a new one. So it is known whether a request can have been received. Sockets are used under a lock, because
they are not thread-safe: what is closed while it is in use is closed by its user.
"""

import contextlib
import os
import threading
import time
from collections.abc import Callable
from math import ceil
from typing import Final, TypeVar

import zmq
from zmq.utils.monitor import recv_monitor_message

from unimq.errors import AuthenticationFailed, ConnectError, ConnectionLost, Timeout, UnimqError
from unimq_zeromq.context import context
from unimq_zeromq.keys import Keys

__all__ = ["Link", "failure_of"]

T = TypeVar("T")
R = TypeVar("R")

_LINGER_MS: Final = 300
_HEARTBEAT_MS: Final = 1000
_SILENT_MS: Final = 3000
_CLOSE_WITHIN: Final = 0.9
_LARGEST: Final = 64 * 1024 * 1024 + 1024
_IDLE: Final = 0.05
"""Seconds without a use after which a connection is looked at before it is written to."""
_LONGEST_POLL: Final = 3600.0
"""Seconds; libzmq counts milliseconds in an int."""


class Link:
    """A `unimq.remote.Wire`."""

    def __init__(self, endpoint: str, where: str, keys: Keys | None = None) -> None:
        """Begin to connect; `keys` are for CURVE."""
        self._where = where
        self._monitored = not endpoint.startswith("inproc:")  # which has no events
        self._lock = threading.Lock()
        self._used = 0.0
        self._closing = self._closed = self._broken = False
        self._socket: zmq.Socket[bytes] = context().socket(zmq.DEALER)
        options = {
            zmq.RECONNECT_IVL: -1,
            zmq.IMMEDIATE: 1,
            zmq.LINGER: _LINGER_MS,
            zmq.HEARTBEAT_IVL: _HEARTBEAT_MS,
            zmq.HEARTBEAT_TIMEOUT: _SILENT_MS,
            zmq.MAXMSGSIZE: _LARGEST,
            zmq.IPV6: 1,
        }
        for option, value in options.items():
            self._socket.setsockopt(option, value)
        if keys is not None:
            keys.put_on(self._socket)
        self._monitor = self._socket.get_monitor_socket()
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_read, False)
        os.set_blocking(self._wake_write, False)
        self._poller = zmq.Poller()
        for source in (self._socket, self._monitor, self._wake_read):
            self._poller.register(source, zmq.POLLIN)
        try:
            self._socket.connect(endpoint)
        except zmq.ZMQError as error:
            self.close()
            msg = f"{where}: {error}"
            raise ConnectError(msg) from error

    def connected(self, until: float) -> None:
        """Wait until the handshake is done.

        Raises:
            ConnectError: nobody listens there, or it is no ZeroMQ socket.
            AuthenticationFailed: the keys do not fit.
            Timeout: it took too long.
        """
        self._alone(self._connected, until)

    def send(self, frame: bytes) -> None:
        """Give it to libzmq, unless the connection is known to be gone."""
        self._alone(self._send, frame)

    def receive(self, until: float) -> bytes | None:
        """Wait for a frame, for the end of the connection, or to be woken."""
        return self._alone(self._receive, until)

    def _alone(self, call: Callable[[T], R], argument: T) -> R:
        """Do that with the sockets; where they were to be closed meanwhile, close them then."""
        with self._lock:
            try:
                if self._closing or self._broken:
                    why = "it was closed" if self._closing else "it broke before"
                    raise self._lost(why)
                return call(argument)
            finally:
                if self._closing:
                    self._shut()

    def _connected(self, until: float) -> None:
        while self._monitored:
            rest = until - time.monotonic()
            if rest <= 0 or not self._monitor.poll(int(rest * 1000) + 1):
                msg = f"{self._where}: no connection in time"
                raise Timeout(msg)
            event = self._event()
            if event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
                return
            if event in _FAILURES:
                raise failure_of(event, self._where)

    def _send(self, frame: bytes) -> None:
        # A socket whose connection ended a moment ago has nowhere to send to, and says so.
        if time.monotonic() - self._used > _IDLE:
            self._look()
        try:
            self._socket.send(frame, zmq.NOBLOCK)
        except zmq.ZMQError as error:
            self._broken = True
            raise self._lost(str(error)) from error

    def _receive(self, until: float) -> bytes | None:
        while True:
            rest = until - time.monotonic()
            ready = dict(self._poller.poll(ceil(max(0.0, min(rest, _LONGEST_POLL)) * 1000)))
            if self._socket in ready:
                self._used = time.monotonic()
                return self._socket.recv(zmq.NOBLOCK)
            if self._wake_read in ready:
                os.read(self._wake_read, 4096)
                return None
            if self._monitor in ready:
                self._look()
            elif rest <= 0:
                return None

    def interrupt(self) -> None:
        """Wake what waits."""
        with contextlib.suppress(OSError):  # full: it will wake anyway; closed: nothing waits
            os.write(self._wake_write, b"!")

    def close(self) -> None:
        """Close the sockets, or let their user do so."""
        self._closing = True
        self.interrupt()
        if self._lock.acquire(timeout=_CLOSE_WITHIN):
            try:
                self._shut()
            finally:
                self._lock.release()

    def _shut(self) -> None:
        if not self._closed:
            self._closed = True
            self._socket.disable_monitor()
            self._monitor.close(0)
            self._socket.close()
            os.close(self._wake_read)
            os.close(self._wake_write)

    def _look(self) -> None:
        """Raise `ConnectionLost` when the monitor tells of an end."""
        while self._monitor.poll(0):
            event = self._event()
            if event in _FAILURES:
                self._broken = True
                raise self._lost(str(zmq.Event(event).name).lower())

    def _event(self) -> int:
        return int(recv_monitor_message(self._monitor)["event"])

    def _lost(self, why: str) -> ConnectionLost:
        return ConnectionLost(f"{self._where}: the connection to the holder is gone: {why}")


_FAILURES: Final = frozenset(
    {
        zmq.EVENT_DISCONNECTED,
        zmq.EVENT_CLOSED,
        zmq.EVENT_CONNECT_RETRIED,
        zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL,
        zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL,
        zmq.EVENT_HANDSHAKE_FAILED_AUTH,
    }
)
_KEYS: Final = {
    zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL: "one side uses CURVE and the other does not: set or leave out server_key=",
    zmq.EVENT_HANDSHAKE_FAILED_AUTH: "the holder does not know this client's key: add it to its allow-list",
}


def failure_of(event: int, where: str) -> UnimqError:
    """What the end of a connection that was not yet made means."""
    if event in _KEYS:
        return AuthenticationFailed(f"{where}: {_KEYS[zmq.Event(event)]}")
    if event == zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL:
        return ConnectError(
            f"{where}: the handshake was cut: that is no ZeroMQ socket, or server_key= is wrong, or missing"
        )
    return ConnectError(f"{where}: nobody listens there, or the connection was refused")
