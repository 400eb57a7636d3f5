"""One connection to gearmand, which a thread may use while another one waits on it.

Whoever waits and finds nobody reading reads for all, hands out the answers in the order of the requests, and lets the
others look; so no thread of its own is needed, and an ack beside a waiting get is answered at once.
"""

import contextlib
import select
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from ssl import SSLSocket, SSLWantReadError, SSLWantWriteError
from typing import Final

from unimq.errors import ConnectionLost, ProtocolError, Timeout
from unimq_gearman import packets
from unimq_gearman.calls import Call
from unimq_gearman.packets import Parser, packet

__all__ = ["Wire"]

_IDLE: Final = 0.05
"""Seconds of rest after which a connection may have died unnoticed, and is looked at before it is written to."""
_CHUNK: Final = 65536
"""Bytes of a read; from twice as many the memory for it would be asked of the system each time: 60 us."""
_RESET: Final = packet(packets.RESET_ABILITIES)
_NOT_NOW: Final = (BlockingIOError, SSLWantReadError, SSLWantWriteError)
_LONGEST_POLL: Final = 3600.0
_SILENT: Final = "no answer in time"
_FULL: Final = "the server takes no more bytes, and the time is over"


class Wire:
    """A connected socket, the requests that are not answered yet, and what it works on. Broken once, it stays so."""

    def __init__(self, connection: socket.socket, label: str, alarm: socket.socket, number: int = 0) -> None:
        self.label = label
        self.number = number
        self.abilities: tuple[bytes, ...] = ()
        """The functions that the server knows it for."""
        self.held: set[bytes] = set()
        """The handles of jobs that are given out to it: while there are any, its abilities may only grow."""
        self.woken = False
        """Whether a NOOP came since it went to sleep."""
        self.works: deque[packets.Packet] | None = None
        """What came of jobs that were submitted here and are waited for; `None`: there can be none."""
        self.broken: str | None = None
        """Why it can no longer be used."""
        self._socket = connection
        self._alarm = alarm
        connection.settimeout(0)
        self._pending = connection.pending if isinstance(connection, SSLSocket) else None
        self._io = threading.Lock()
        """A TLS connection must not be read and written at the same time."""
        self._writing = threading.Lock()
        self._calls: deque[Call] = deque()
        self._parser = Parser()
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._waiting = 0
        """How many threads wait for what the one that reads hands out."""
        self._reading = False
        self._closing = False
        self._used = time.monotonic()
        self._readable = select.poll()
        self._readable.register(connection, select.POLLIN)
        self._or_alarm = select.poll()
        self._or_alarm.register(connection, select.POLLIN)
        self._or_alarm.register(alarm, select.POLLIN)
        self._writable = select.poll()
        self._writable.register(connection, select.POLLOUT)

    # Asking

    def exchange(self, request: bytes, call: Call, deadline: float) -> None:
        """Write `request` and wait until `call` is done.

        Raises:
            ConnectionLost, Timeout, ProtocolError: the connection is broken; `call` has what was answered before.
        """
        self.write(request, call, deadline)
        if not self.wait(lambda: call.done, deadline):
            raise self.late(_SILENT)

    def write(self, request: bytes, call: Call | None, deadline: float) -> None:
        """Send all of `request`, whose answers are those of `call`."""
        with self._writing:
            self._look()
            if call is not None:
                self._calls.append(call)
            sent = 0
            try:
                while sent < len(request):
                    sent += self._send(memoryview(request)[sent:] if sent else request, deadline)
                    if call is not None:
                        call.sent = sent
            except OSError as error:
                raise self._lost(str(error), in_doubt=sent > 0) from error

    def _send(self, data: "bytes | memoryview[int]", deadline: float) -> int:
        try:
            with self._io:
                return self._socket.send(data)
        except _NOT_NOW:
            rest = min(max(deadline - time.monotonic(), 0.0), _LONGEST_POLL)
            if not self._writable.poll(rest * 1000):
                raise self.late(_FULL) from None
            return 0

    def work_on(self, functions: tuple[bytes, ...], deadline: float) -> None:
        """Let the server know it for these functions. Only while it holds nothing: what it held would be given back."""
        can = b"".join([packet(packets.CAN_DO, function) for function in functions])
        self.write(_RESET + can, None, deadline)
        self.abilities = functions

    def _look(self) -> None:
        """Notice that the connection died while nobody used it, before anything is written to it."""
        now = time.monotonic()
        if now - self._used > _IDLE and not self._reading:
            with contextlib.suppress(ConnectionLost, ProtocolError):  # told below, where nothing was asked yet
                self.wait(lambda: False, 0.0)
        self._used = now
        if self.broken:
            raise self._lost(self.broken)

    # Waiting

    def wait(self, done: Callable[[], bool], deadline: float, *, alarmed: bool = False) -> bool:
        """Read for all until `done`; false when it was not by `deadline`. An alarm lets it look at `done` again.

        Raises:
            ConnectionLost, ProtocolError: the connection broke.
        """
        while True:
            with self._lock:
                if done():
                    return True
                if self.broken:
                    raise self._lost(self.broken, in_doubt=True)
                rest = deadline - time.monotonic()
                if self._reading:
                    if rest <= 0:
                        return False
                    self._wait_for_reader(rest)
                    continue
                self._reading = True
            try:
                found = self._read(rest, alarmed=alarmed)
            finally:
                self._stop_reading()
            if not found and rest <= 0:
                return done()

    def _stop_reading(self) -> None:
        with self._lock:
            self._reading = False
            if self._closing:
                self._socket.close()
            if self._waiting:
                self._changed.notify_all()

    def _wait_for_reader(self, rest: float) -> None:
        self._waiting += 1
        try:
            self._changed.wait(min(rest, threading.TIMEOUT_MAX))
        finally:
            self._waiting -= 1

    def _read(self, rest: float, *, alarmed: bool) -> bool:
        """Take in what comes next within `rest` seconds; whether anything did."""
        poll = self._or_alarm if alarmed else self._readable
        if not (self._pending is not None and self._pending()):
            events = poll.poll(min(max(rest, 0.0), _LONGEST_POLL) * 1000)
            if not events:
                return False
        try:
            with self._io:
                data = self._socket.recv(_CHUNK)
        except _NOT_NOW:
            return alarmed and self._silence()
        except OSError as error:
            raise self._lost(str(error), in_doubt=True) from error
        if not data:
            why = "the server closed it"
            raise self._lost(why, in_doubt=True)
        try:
            self._hand_out(self._parser.feed(data))
        except ProtocolError as error:
            self.broken = str(error)
            msg = f"{self.label}: {error}"
            raise ProtocolError(msg, in_doubt=True) from error
        return True

    def _silence(self) -> bool:
        """Take back the alarm, which has been heard."""
        with contextlib.suppress(BlockingIOError):
            return bool(self._alarm.recv(64))
        return False

    def _hand_out(self, found: Sequence[packets.Packet]) -> None:
        calls = self._calls
        for answer in found:
            command = answer[0]
            if calls and command in (call := calls[0]).accepts:
                call.take(answer)
                if call.done:
                    calls.popleft()
            elif command == packets.NOOP:
                self.woken = True
            elif self.works is not None and command in packets.WORKS:
                self.works.append(answer)
            else:
                msg = f"unexpected answer {command} {answer[1]!r:.60}: is this a gearmand?"
                raise ProtocolError(msg)

    def poke(self) -> None:
        """Let those that wait look again."""
        with self._changed:
            self._changed.notify_all()

    # Ending

    def late(self, why: str) -> Timeout:
        """The error for a deadline that is over in the middle of an exchange, which breaks the connection."""
        self.broken = self.broken or why
        return Timeout(f"{self.label}: {why}", in_doubt=True)

    def _lost(self, why: str, *, in_doubt: bool = False) -> ConnectionLost:
        self.broken = self.broken or why
        return ConnectionLost(f"{self.label}: the connection is lost: {why}", in_doubt=in_doubt)

    def close(self) -> None:
        """End the connection, also under a thread that waits on it: the last one inside closes the descriptor."""
        self.broken = self.broken or "it was closed"
        with contextlib.suppress(OSError):  # it was gone
            self._socket.shutdown(socket.SHUT_RDWR)
        with self._writing, self._changed:
            if self._reading:
                self._closing = True
            else:
                self._socket.close()
            self._changed.notify_all()

    def abandon(self) -> None:
        """Close the descriptor without a word to the server: the connection is a parent process's."""
        self.broken = self.broken or "it is another process's"
        self._socket.close()
