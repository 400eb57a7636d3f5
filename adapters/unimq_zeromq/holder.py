"""The holder: a ROUTER socket around a `unimq.remote.Served`, in one thread.

No heart-beats are sent from here. A ROUTER that sends them can be made to abort its process by a peer that asks, never
reads and leaves (`Assertion failed: !_io_error`, stream_engine_base.cpp of libzmq 4.3.5: 3 of 6 runs with, 0 without);
clients send them, and TCP's keep-alive finds what died without a word.
"""

import contextlib
import os
import threading
from math import ceil
from socket import socketpair
from types import TracebackType
from typing import Final, Self

import zmq

from unimq.errors import ConnectError, UnimqError
from unimq.remote import Served
from unimq.url import URL
from unimq_zeromq.context import context
from unimq_zeromq.endpoint import endpoint
from unimq_zeromq.keys import Guard, Keys

__all__ = ["Holder"]

_BURST: Final = 200
"""Requests that are answered before fetches that wait are looked at."""
_LARGEST: Final = 64 * 1024 * 1024 + 1024
_UNREAD: Final = 16
"""Replies that libzmq keeps for a client that does not read; a client has one request under way."""
_CLOSE_WITHIN: Final = 5.0
_AND_MORE: Final = int(zmq.NOBLOCK | zmq.SNDMORE)


class Holder:
    """Serves a store at an address until it is closed. A context manager."""

    def __init__(self, store: "URL | str", at: URL, keys: Keys | None = None) -> None:
        """Open the store, bind the address, and begin to answer.

        Raises:
            InvalidURL, Unsupported: the store or the address cannot be used for this.
            ConnectError: the address is in use or not of this machine; or the errors of opening the store.
        """
        self._guard = None if keys is None else Guard(keys)
        self._socket: zmq.Socket[bytes] = (self._guard.context if self._guard else context()).socket(zmq.ROUTER)
        self._closing = False
        self._served: Served | None = None
        self._claim: int | None = None
        self._heard, self._alarm = socketpair()
        for end in (self._heard, self._alarm):
            end.settimeout(0)
        try:
            if keys is not None:
                keys.put_on(self._socket)
            self._bind(at)
            self._served = Served(store, self._wake)
        except BaseException:
            self._shut()
            raise
        self.url = at
        """Where clients find it."""
        self.failure: BaseException | None = None
        """What ended it, if it was not `close`."""
        self._thread = threading.Thread(target=self._run, name=f"unimq holder {self.url}", daemon=True)
        self._thread.start()

    def _bind(self, at: URL) -> None:
        options = {
            zmq.ROUTER_MANDATORY: 1,
            zmq.SNDHWM: _UNREAD,
            zmq.RCVHWM: _UNREAD,
            zmq.LINGER: 300,
            zmq.MAXMSGSIZE: _LARGEST,
            zmq.TCP_KEEPALIVE: 1,
            zmq.TCP_KEEPALIVE_IDLE: 10,
            zmq.TCP_KEEPALIVE_INTVL: 5,
            zmq.TCP_KEEPALIVE_CNT: 3,
            zmq.IPV6: 1,
        }
        for option, value in options.items():
            self._socket.setsockopt(option, value)
        where = endpoint(at, binds=True)
        if where.startswith("ipc://"):
            self._claim = claim(where.removeprefix("ipc://"), at)
        try:
            self._socket.bind(where)
        except zmq.ZMQError as error:
            msg = f"{at}: cannot be bound: {error}"
            raise ConnectError(msg) from error

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it has ended; false when it has not within `timeout` seconds."""
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def close(self) -> None:
        """Answer no more, and close socket and store. Idempotent; waits for 5 s at most."""
        if not self._closing:
            self._closing = True
            self._wake()
        self.wait(_CLOSE_WITHIN)

    def _wake(self) -> None:
        """Let the thread look at what there is to do."""
        with contextlib.suppress(OSError):  # full: it is awake; closed: it has ended
            self._alarm.send(b"!")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # The thread

    def _run(self) -> None:
        try:
            self._serve()
        except BaseException as error:  # noqa: BLE001 - told by whoever waits for the end
            self.failure = error
        finally:
            self._closing = True
            self._shut()

    def _serve(self) -> None:
        served = self._served
        assert served is not None  # noqa: S101 - it was opened before the thread was started
        poller = zmq.Poller()
        poller.register(self._socket, zmq.POLLIN)
        poller.register(self._heard, zmq.POLLIN)
        while not self._closing:
            ready = dict(poller.poll(ceil(served.patience() * 1000)))
            if self._heard.fileno() in ready:
                self._heard.recv(4096)
            for _ in range(_BURST):
                if not self._readable():
                    break
                parts = self._socket.recv_multipart(zmq.NOBLOCK)
                if len(parts) == 2:  # noqa: PLR2004 - who, and one frame; all else is none of our clients
                    reply = served.answer(parts[0], parts[1])
                    if reply is not None:
                        self._send(served, parts[0], reply)
            for peer, reply in served.due():
                self._send(served, peer, reply)

    def _readable(self) -> bool:
        return bool(int(self._socket.getsockopt(zmq.EVENTS)) & zmq.POLLIN)

    def _send(self, served: Served, peer: bytes, reply: bytes) -> None:
        try:
            self._socket.send(peer, _AND_MORE)
            self._socket.send(reply, zmq.NOBLOCK)
        except zmq.ZMQError:  # it is gone, or does not read
            served.undelivered(peer)

    def _shut(self) -> None:
        self._socket.close()
        if self._guard is not None:
            self._guard.close()
        if self._served is not None:
            with contextlib.suppress(UnimqError):
                self._served.close()
        if self._claim is not None:
            os.close(self._claim)
        self._heard.close()
        self._alarm.close()


def claim(path: str, at: object) -> int:
    """Own the path of a socket: a descriptor to keep. libzmq would take a path from a living owner without a word."""
    import fcntl  # noqa: PLC0415 - not on Windows, which has no ipc either

    try:
        found = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        msg = f"{at}: cannot be bound: {error}"
        raise ConnectError(msg) from error
    try:
        fcntl.flock(found, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(found)
        msg = f"{at}: cannot be bound: another process serves there"
        raise ConnectError(msg) from error
    return found
