"""One connection to a broker: bytes out, frames in, answers to those who wait for them.

There is no thread that reads: of those who wait, one reads for all. Two threads at most use a connection at a time, one
that receives and one that does anything else. What the frames mean is the session's business.
"""

import contextlib
import itertools
import select
import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from unimq.errors import ConnectionLost, Timeout
from unimq_activemq.frames import Frame, Parser

__all__ = ["Subscription", "Token", "Wire"]

Token = tuple[str, str]
"""Tells a delivery: the id of the subscription it came over first, and what the broker called it there."""

_CHUNK: Final = 256 * 1024
_IDLE: Final = 0.05
"""Seconds of rest after which a connection may have died unnoticed, and is looked at before it is written to."""
_LAST_WORDS: Final = 0.2
"""Seconds to wait for the broker's reason when it has closed the connection on what was being sent."""


class Subscription:
    """What the broker has sent for one subscription, and what of it is in hand."""

    __slots__ = ("destination", "ended", "flows", "frames", "held", "id", "prefetch", "queue", "takes_more")

    def __init__(self, name: str, destination: str, queue: str, prefetch: int) -> None:
        self.id = name
        self.destination = destination
        self.queue = queue
        self.prefetch = prefetch
        """How many messages the broker sends before the first is acknowledged."""
        self.frames: deque[Frame] = deque()
        """What nobody has taken yet."""
        self.held: dict[Token, Frame] = {}
        """What was taken and is not settled, in the order of taking."""
        self.flows = False
        """Whether an iteration goes on with it; otherwise it ends when nothing of it is held."""
        self.takes_more = True
        """Whether the broker sends another message when one is acknowledged."""
        self.ended = False
        """Whether a browser has shown all."""


class Wire:
    """Frames over a socket."""

    def __init__(self, connection: socket.socket, where: str) -> None:
        connection.settimeout(0)
        self._socket = connection
        self._where = where
        self._woken, self._waker = socket.socketpair()
        self._woken.settimeout(0)
        self._waker.settimeout(0)
        self._poll = select.poll()
        self._poll.register(connection, select.POLLIN)
        self._poll.register(self._woken, select.POLLIN)
        self._state = threading.Condition()
        self._reading = False
        # OpenSSL allows one thread at a time on a connection.
        self._io: contextlib.AbstractContextManager[object] = (
            threading.Lock() if isinstance(connection, ssl.SSLSocket) else contextlib.nullcontext()
        )
        self._writing = threading.Lock()
        self._parser = Parser()
        self._names = itertools.count(1)
        self._answers: dict[str, Frame | None] = {}
        self._broken: Exception | None = None
        self._closed = False
        self.speaks_every = self.hears_every = 0.0
        """Seconds between our signs of life, and between the broker's; 0: none are wanted."""
        self._heard = time.monotonic()
        """When something came from the broker last."""
        self.subscriptions: dict[str, Subscription] = {}
        """By their ids, those whose messages are wanted; what arrives for others has gone back to the broker."""
        self.ended: deque[str] = deque(maxlen=64)
        """The last subscriptions for one message that ended with its acknowledgement."""
        self.strays: deque[str | None] = deque(maxlen=64)
        """The broker's ids of what came for one of those in that moment, and has gone back."""
        self.welcome: Frame | None = None
        """What the broker answered to the login."""
        self.complaint: str | None = None
        """What the broker said last in an ERROR that answers no particular frame."""

    # Names

    def name(self) -> str:
        """A name that this connection has not used yet."""
        return str(next(self._names))

    def receipt(self) -> str:
        """The name of a receipt that will be waited for."""
        name = self.name()
        self._answers[name] = None
        return name

    # Out

    def write(self, data: bytes, deadline: float) -> None:
        """Send all of `data`.

        Raises:
            ConnectionLost: `in_doubt` when some of it may have left.
            Timeout: some has, and the rest could not be written by `deadline`.
        """
        with self._writing:
            rest = memoryview(data)
            while rest:
                try:
                    self._check()
                    with self._io:
                        sent = self._socket.send(rest)
                except (BlockingIOError, ssl.SSLWantWriteError, ssl.SSLWantReadError):
                    self._wait_for_room(deadline)
                except ConnectionLost as error:
                    error.in_doubt = len(rest) < len(data)
                    raise
                except OSError as error:
                    raise self._lost_while_writing(error, in_doubt=len(rest) < len(data)) from error
                else:
                    rest = rest[sent:]

    def _wait_for_room(self, deadline: float) -> None:
        """Wait until more can be written. Reads meanwhile, or a broker that writes itself would wait for us."""
        left = deadline - time.monotonic()
        if left <= 0:
            msg = f"{self._where}: the broker did not take all of a frame in time"
            raise Timeout(msg, in_doubt=True)
        with self._state:
            reads = not self._reading
            self._reading = True
        try:
            events = select.POLLOUT | (select.POLLIN if reads else 0)
            room = select.poll()
            room.register(self._socket, events)
            found = room.poll(min(left, 1.0) * 1000)
            if reads and any(event & ~select.POLLOUT for _, event in found):
                self._take(self._read())
        finally:
            if reads:
                with self._state:
                    self._stopped_reading()

    def _lost_while_writing(self, error: OSError, *, in_doubt: bool) -> ConnectionLost:
        """What to raise: the broker's reason, which stands before the end of what it sent."""
        with contextlib.suppress(ConnectionLost, Timeout):
            self.wait(lambda: False, time.monotonic() + _LAST_WORDS)
        return ConnectionLost(f"{self._where}: the connection broke: {self.complaint or error}", in_doubt=in_doubt)

    # In

    def wait(self, done: Callable[[], object], deadline: float) -> bool:
        """Read until `done()` or the deadline; whether it is done. A past deadline takes what is there.

        Raises:
            ConnectionLost: the connection broke, and it is not done.
        """
        state = self._state
        with state:
            while not done():
                self._check()
                left = deadline - time.monotonic()
                if self._reading:
                    if left <= 0:
                        return False
                    state.wait(min(left, threading.TIMEOUT_MAX))
                    continue
                self._reading = True
                state.release()
                try:
                    frames = self._read_within(left)
                finally:
                    state.acquire()
                    self._stopped_reading()
                self._take(frames)
                if left <= 0:
                    return bool(done())
            return True

    def answers(self, receipts: Sequence[str], deadline: float) -> list[str | None]:
        """Wait for what was answered to the frames with these receipts: `None` for done, or the broker's complaint.

        Raises:
            ConnectionLost: the connection broke before the last answer.
            Timeout: some were not answered by `deadline`.
        """
        answers = self._answers
        if not self.wait(lambda: all(answers[receipt] for receipt in receipts), deadline):
            msg = f"{self._where}: no answer from the broker in time"
            raise Timeout(msg)
        frames = [answers.pop(receipt) for receipt in receipts]
        return [None if frame is None or frame.cmd == "RECEIPT" else complaint(frame) for frame in frames]

    def look(self) -> None:
        """Raise `ConnectionLost` if the connection died while nobody used it. To be called before a write."""
        if time.monotonic() - self._heard > _IDLE:
            self.wait(lambda: False, 0.0)
        self._check()

    @property
    def beat_every(self) -> float | None:
        """Seconds between two calls of `beat`: twice as often as signs are wanted. `None`: it need not be called."""
        wanted = [one for one in (self.speaks_every, self.hears_every) if one]
        return min(wanted) / 2 if wanted else None

    def beat(self, deadline: float) -> None:
        """Give a sign of life. Raises `ConnectionLost` when the broker has given none for twice the time agreed."""
        self.look()
        silent = time.monotonic() - self._heard
        if self.hears_every and silent > 2 * self.hears_every:
            msg = f"{self._where}: the broker gave no sign of life for {silent:.1f} s, {self.hears_every:g} were agreed"
            raise ConnectionLost(msg)
        if self.speaks_every:
            self.write(b"\n", deadline)

    def wake(self) -> None:
        """Let those that wait look at what they wait for. From any thread; does not block."""
        with contextlib.suppress(OSError):  # full: it is awake; closed: nobody waits
            self._waker.send(b"!")

    def _read_within(self, seconds: float) -> list[Frame]:
        """Frames, or none after `seconds` or a wake. Nobody else reads."""
        pending = isinstance(self._socket, ssl.SSLSocket) and self._socket.pending()
        milliseconds = max(0.0, min(seconds, 86400.0)) * 1000
        found = self._poll.poll(0 if pending else milliseconds)
        woken = self._woken.fileno()
        frames: list[Frame] = []
        for descriptor, _ in found:
            if descriptor == woken:
                with contextlib.suppress(BlockingIOError):
                    self._woken.recv(4096)
        if pending or any(descriptor != woken for descriptor, _ in found):
            frames = self._read()
        return frames

    def _read(self) -> list[Frame]:
        try:
            with self._io:
                data = self._socket.recv(_CHUNK)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return []
        except OSError as error:
            self._broken = error
            return []
        if not data:
            self._broken = ConnectionError("the broker closed the connection")
            return []
        self._heard = time.monotonic()
        return self._parser.feed(data)

    def _stopped_reading(self) -> None:
        self._reading = False
        self._state.notify_all()
        if self._closed:
            self.abandon()

    def _take(self, frames: Sequence[Frame]) -> None:
        """Give each frame to who waits for it."""
        for frame in frames:
            headers = frame.headers
            if frame.cmd == "MESSAGE":
                self._deliver(frame)
            elif frame.cmd == "RECEIPT" or "receipt-id" in headers:
                if headers.get("receipt-id") in self._answers:
                    self._answers[headers["receipt-id"]] = frame
            elif frame.cmd == "ERROR":
                self.complaint = complaint(frame)
            elif frame.cmd == "CONNECTED":
                self.welcome = frame

    def _deliver(self, frame: Frame) -> None:
        subscription = self.subscriptions.get(frame.headers.get("subscription", ""))
        if subscription is None:
            if frame.headers.get("subscription") in self.ended:
                self.strays.append(frame.headers.get("message-id"))
            return
        if "browser" in frame.headers and frame.headers["browser"] == "end":
            subscription.ended = True
        else:
            subscription.frames.append(frame)

    def _check(self) -> None:
        if self._broken is not None:
            why = self.complaint or self._broken
            msg = f"{self._where}: the connection broke: {why}"
            raise ConnectionLost(msg) from self._broken

    def close(self) -> None:
        """End the connection at once. The broker takes back what was not acknowledged. Idempotent."""
        with self._state:
            self._closed = True
            self._broken = self._broken or ConnectionError("it was closed here")
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)
            self.wake()
            if not self._reading:  # otherwise the one who reads does it: a descriptor must not go while it is polled
                self.abandon()

    def abandon(self) -> None:
        """Close this process's descriptors, and say nothing to the broker."""
        for one in (self._socket, self._waker, self._woken):
            with contextlib.suppress(OSError):
                one.close()


def complaint(frame: Frame) -> str:
    """What an ERROR says, in a line."""
    return frame.headers.get("message") or frame.body.decode(errors="replace").split("\n")[0][:300] or "an ERROR"
