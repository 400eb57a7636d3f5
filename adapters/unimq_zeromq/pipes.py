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
from unimq_zeromq.keys import Guard, Keys
from unimq_zeromq.link import failure_of
from unimq_zeromq.unread import Unread

__all__ = ["LINGER", "Address", "Pipe", "Pipes", "pipes"]

LINGER: Final = 5.0
"""Seconds that the end of a process may wait for messages that are not sent yet."""
_SMALL_BUFFER: Final = 4096
_LOOK: Final = 0.01
"""Seconds between two looks whether all was read."""
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
    to_connect: Keys | None = None
    to_bind: Keys | None = None


class Pipe:
    """A socket that one thread uses at a time."""

    def __init__(
        self, socket: "zmq.Socket[bytes]", claimed: int | None, guard: Guard | None, unread: Unread | None
    ) -> None:
        self.socket = socket
        self.unread = unread
        """What would be lost by closing it now; `None` where nothing is lost so."""
        self.lock = threading.Lock()
        self.users = 0
        self.settles_at = time.monotonic() + _SETTLES
        """When the peers that wait for it have found it; a get that does not wait must still find their messages."""
        self.claimed = claimed
        """A descriptor that owns the path of a socket in the file system."""
        self.guard = guard

    def close(self) -> None:
        """End it; a PUSH goes on to send what it has."""
        if self.unread is not None:
            self.unread.close()
        self.socket.close()
        if self.guard is not None:
            self.guard.close()
        if self.claimed is not None:
            os.close(self.claimed)


class Pipes:
    """All push-pull sockets of this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._closing = threading.Lock()
        """Taken before the other one by whoever closes: what is unread is looked at for a while, by one at a time."""
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
            self._close_later()

    def _close_later(self) -> None:
        """Look after a while for what nobody uses, if there is any; with the lock held."""
        if any(pipe.users == 0 for pipe in self._pipes.values()):
            timer = threading.Timer(_KEPT, self._close_unused)
            timer.daemon = True
            timer.name = "unimq zeromq closing"
            timer.start()

    def _close_unused(self) -> None:
        with self._closing:
            with self._lock:
                unused = {key: pipe for key, pipe in self._pipes.items() if pipe.users == 0}
            read = {key: pipe for key, pipe in unused.items() if not pipe.unread}
            with self._lock:
                for key in [key for key, pipe in read.items() if pipe.users == 0]:
                    self._pipes.pop(key).close()
                self._close_later()

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
        with self._closing, self._lock:
            for pipe in self._pipes.values():
                if pipe.lock.acquire(timeout=max(0.0, until - time.monotonic())):
                    while pipe.unread and time.monotonic() < until:
                        time.sleep(_LOOK)
                    pipe.close()
            self._pipes.clear()


def _opened(address: Address, kind: int, *, binds: bool) -> Pipe:
    keys = address.to_bind if binds else address.to_connect
    with contextlib.ExitStack() as undo:
        guard = Guard(keys) if binds and keys is not None else None
        if guard is not None:
            undo.callback(guard.close)
        socket: zmq.Socket[bytes] = (guard.context if guard else context()).socket(kind)
        undo.callback(socket.close, 0)
        _set_up(socket, address)
        if keys is not None:
            keys.put_on(socket)
        watched = Unread(socket)
        undo.callback(watched.close)
        claimed: int | None = None
        if binds and address.endpoint.startswith("ipc://"):
            claimed = claim(address.endpoint.removeprefix("ipc://"), address.where)
            undo.callback(os.close, claimed)
        _attach(socket, address, binds=binds)
        if keys is not None and not binds:
            _check_keys(watched, address)
        undo.pop_all()
    if kind == zmq.PUSH and address.endpoint.startswith("ipc://"):
        return Pipe(socket, claimed, guard, watched)
    watched.close()
    return Pipe(socket, claimed, guard, None)


def _set_up(socket: "zmq.Socket[bytes]", address: Address) -> None:
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
    for option, value in options.items():
        socket.setsockopt(option, value)


def _attach(socket: "zmq.Socket[bytes]", address: Address, *, binds: bool) -> None:
    try:
        (socket.bind if binds else socket.connect)(address.endpoint)
    except zmq.ZMQError as error:
        msg = f"{address.where}: {error}"
        raise ConnectError(msg) from error


def _check_keys(watched: Unread, address: Address) -> None:
    """See whether they fit, if the other side is there: it would be tried again without a word."""
    until = time.monotonic() + _SETTLES
    while (rest := until - time.monotonic()) > 0 and (event := watched.event(rest)) is not None:
        if event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
            return
        if event in _WRONG:
            raise failure_of(event, address.where)


_WRONG: Final = frozenset(
    {
        zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL,
        zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL,
        zmq.EVENT_HANDSHAKE_FAILED_AUTH,
    }
)
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
    try:
        thread.start()
    except RuntimeError:  # Python 3.12.0 and 3.12.1 start none so late
        mine.flush()
        context().destroy(int(LINGER * 1000))
    else:
        thread.join(LINGER)


atexit.register(_at_exit)
