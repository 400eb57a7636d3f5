"""PUSH and PULL sockets of push-pull queues: one of each kind per queue and process, shared by all its sessions.

A PULL that is closed loses what libzmq has fetched for it. So it is not closed with the session that used it, which may
have been given up for a moment only, but a second after its last user. A PUSH has `LINGER` seconds to send what it has,
at the end of the process too. A forked child has sockets of its own.
"""

import atexit
import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

import zmq

from unimq.errors import ConnectError
from unimq_zeromq.context import context
from unimq_zeromq.holder import claim

__all__ = ["LINGER", "Address", "Pipe", "Pipes", "pipes"]

LINGER: Final = 5.0
"""Seconds that the end of a process may wait for messages that are not sent yet."""
_SMALL_BUFFER: Final = 4096
_KEPT: Final = 1.0
"""Seconds that a socket stays open without a user."""
_RECONNECT_MS: Final = 20
_SETTLES: Final = 0.25
"""Seconds; more than twice the longest pause between attempts to connect."""
_RECONNECT_MOST_MS: Final = 100
_HEARTBEAT_MS: Final = 5000
_SILENT_MS: Final = 30_000


@dataclass(frozen=True)
class Address:
    """Where a queue's socket is, and how it is set up."""

    endpoint: str
    binds: str
    """Who: "get", "put" or "none"."""
    ahead: int | None
    """Messages that libzmq may have on the way, from `?prefetch=`; `None`: its own 1000 on either side."""
    largest: int
    """Bytes of one frame."""
    where: str
    """The masked URL, for texts."""


class Pipe:
    """A socket that one thread uses at a time."""

    def __init__(self, socket: "zmq.Socket[bytes]", claimed: int | None) -> None:
        self.socket = socket
        self.lock = threading.Lock()
        self.users = 0
        self.settles_at = time.monotonic() + _SETTLES
        """When the peers that wait for it have found it; a get that does not wait must still find their messages."""
        self.claimed = claimed
        """A descriptor that owns the path of a socket in the file system."""

    def close(self) -> None:
        """End it; a PUSH goes on to send what it has."""
        self.socket.close()
        if self.claimed is not None:
            os.close(self.claimed)


class Pipes:
    """All push-pull sockets of this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pipes: dict[tuple[str, int], Pipe] = {}
        self._waiting: set[Callable[[], None]] = set()

    def push(self, address: Address) -> Pipe:
        """The PUSH of that queue, with one user more. Raises `ConnectError` when it cannot be bound."""
        return self._pipe(address, zmq.PUSH, binds=address.binds == "put")

    def pull(self, address: Address) -> Pipe:
        """The PULL of that queue, with one user more. Raises `ConnectError` when it cannot be bound."""
        return self._pipe(address, zmq.PULL, binds=address.binds == "get")

    def _pipe(self, address: Address, kind: int, *, binds: bool) -> Pipe:
        key = (address.endpoint, kind)
        with self._lock:
            found = self._pipes.get(key) or _opened(address, kind, binds=binds)
            self._pipes[key] = found
            found.users += 1
        return found

    def leave(self, users_of: Iterable[Pipe]) -> None:
        """Count a user of each less; what nobody uses for a second is closed."""
        with self._lock:
            for pipe in users_of:
                pipe.users -= 1
            unused = any(pipe.users == 0 for pipe in self._pipes.values())
        if unused:
            timer = threading.Timer(_KEPT, self._close_unused)
            timer.daemon = True
            timer.name = "unimq zeromq closing"
            timer.start()

    def _close_unused(self) -> None:
        with self._lock:
            for key in [key for key, pipe in self._pipes.items() if pipe.users == 0]:
                self._pipes.pop(key).close()

    def wait_for(self, wake: Callable[[], None]) -> None:
        """Call `wake` whenever somebody has let a socket go."""
        self._waiting.add(wake)

    def wait_no_more(self, wake: Callable[[], None]) -> None:
        """Undo `wait_for`."""
        self._waiting.discard(wake)

    def let_go(self, pipe: Pipe) -> None:
        """Release the lock of a socket, and let others use it."""
        pipe.lock.release()
        for wake in tuple(self._waiting):
            wake()

    def flush(self) -> None:
        """Send what is not sent yet, for `LINGER` seconds at most, and close all."""
        until = time.monotonic() + LINGER
        for pipe in self._pipes.values():
            if pipe.lock.acquire(timeout=max(0.0, until - time.monotonic())):
                pipe.close()
        self._pipes.clear()


def _opened(address: Address, kind: int, *, binds: bool) -> Pipe:
    socket: zmq.Socket[bytes] = context().socket(kind)
    options = {
        zmq.LINGER: int(LINGER * 1000),
        zmq.MAXMSGSIZE: address.largest,
        zmq.RECONNECT_IVL: _RECONNECT_MS,
        zmq.RECONNECT_IVL_MAX: _RECONNECT_MOST_MS,
        zmq.HEARTBEAT_IVL: _HEARTBEAT_MS,
        # Long, because a peer that is away for a moment only would lose what is in its pipe.
        zmq.HEARTBEAT_TIMEOUT: _SILENT_MS,
        zmq.IPV6: 1,
    }
    if address.ahead is not None:
        options |= {zmq.SNDHWM: address.ahead, zmq.RCVHWM: address.ahead}
        options |= {zmq.SNDBUF: _SMALL_BUFFER, zmq.RCVBUF: _SMALL_BUFFER}
    claimed: int | None = None
    try:
        for option, value in options.items():
            socket.setsockopt(option, value)
        if binds and address.endpoint.startswith("ipc://"):
            claimed = claim(address.endpoint.removeprefix("ipc://"), address.where)
        (socket.bind if binds else socket.connect)(address.endpoint)
    except zmq.ZMQError as error:
        socket.close(0)
        if claimed is not None:
            os.close(claimed)
        msg = f"{address.where}: {error}"
        raise ConnectError(msg) from error
    except BaseException:
        socket.close(0)
        raise
    return Pipe(socket, claimed)


_mine: dict[int, Pipes] = {}


def pipes() -> Pipes:
    """Those of this process."""
    return _mine.setdefault(os.getpid(), Pipes())


def _at_exit() -> None:
    """Closing alone does not wait: only the end of the context does, which may not hold up the process for longer."""
    mine = _mine.get(os.getpid())
    if mine is None:
        return

    def end() -> None:
        mine.flush()
        with contextlib.suppress(zmq.ZMQError):
            context().term()

    thread = threading.Thread(target=end, name="unimq zeromq flush", daemon=True)
    thread.start()
    thread.join(LINGER)


atexit.register(_at_exit)
