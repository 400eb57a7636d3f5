"""Several processes of one worker: each is started again when it dies, and all are stopped by one signal.

A child is told of a socket, and says once a second what it does. Its end closes the socket, and so does the parent's.
"""

import os
import selectors
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, Final

import msgspec

from unimq.records import about
from unimq.worker import Health
from unimq.worker.handling import log
from unimq.worker.pauses import LONGEST, Pauses
from unimq.worker.settings import STOP_SIGNALS

__all__ = ["Family", "report"]

_COMMAND: Final = (sys.executable, "-m", "unimq.cli", "work")
_EVERY: Final = 1.0
"""Seconds between two reports."""
_REPORT_BYTES: Final = 1 << 16


def report(number: int, health: Callable[[], Health]) -> None:
    """In a child: say over the socket with that file number what it does, from now on; end when the parent has."""
    channel = socket.socket(fileno=number)
    channel.settimeout(_EVERY)

    def tell() -> None:
        gone = False
        while not gone:
            with suppress(TimeoutError):
                gone = not channel.recv(1)
            try:
                channel.sendall(msgspec.json.encode(health()) + b"\n")
            except OSError:
                gone = True
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=tell, name="unimq report", daemon=True).start()


class _Child:
    """One process, from its start to its end."""

    def __init__(self, arguments: Sequence[str], environ: Mapping[str, str]) -> None:
        """Start it, in a process group of its own: Ctrl-C on the terminal is the parent's to pass on."""
        self.channel, theirs = socket.socketpair()
        with theirs:
            self.process = subprocess.Popen(  # noqa: S603 - this very program
                [*_COMMAND, "--report-to", str(theirs.fileno()), *arguments],
                env=environ,
                pass_fds=[theirs.fileno()],
                process_group=0,
            )
        self.health: Health | None = None
        self._since = time.monotonic()
        self._unread = b""

    def hear(self) -> bool:
        """Take what it says; false: it has ended."""
        try:
            heard = self.channel.recv(_REPORT_BYTES)
        except OSError:
            heard = b""
        *lines, self._unread = (self._unread + heard).split(b"\n")
        if lines:
            self.health = msgspec.json.decode(lines[-1], type=Health)
        return bool(heard)

    def bury(self) -> tuple[int, float]:
        """Its exit status, once it has ended, and how many seconds it has lived."""
        status = self.process.wait()
        self.channel.close()
        return status, time.monotonic() - self._since


class _Place:
    """Where there is always to be a child."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.child: _Child | None = None
        self.due = 0.0
        """When the next one is to be started, as a `time.monotonic()` value."""
        self._pauses = Pauses()

    def vacate(self, lived: float) -> None:
        """Its child has ended after so many seconds; one that lived for long is started again soon."""
        self.child = None
        if lived > LONGEST:
            self._pauses.begin_anew()
        self.due = time.monotonic() + self._pauses.next()


class Family:
    """The processes of one worker."""

    def __init__(self, count: int, arguments: Sequence[str], environ: Mapping[str, str]) -> None:
        """`count` processes of `unimq work` with these arguments, and these variables beside those of this one."""
        self._arguments = arguments
        self._environ = {**os.environ, **environ}
        self._places = [_Place(number) for number in range(1, count + 1)]
        self._selector = selectors.DefaultSelector()
        self._stopping = False
        self._ready = False
        self._deaths = 0

    def run(self) -> int:
        """Keep all of them running until a signal arrives; the exit status.

        It is not 0 where a process failed before any was ready: it would fail again.
        """
        status = 0
        wake, woken = socket.socketpair()
        with wake, woken, self._selector, self._signals(woken):
            self._selector.register(wake, selectors.EVENT_READ)
            while not self._stopping or any(place.child for place in self._places):
                pause = None if self._stopping else self._start_due()
                for key, _ in self._selector.select(pause):
                    if key.data is None:
                        self._stop(len(wake.recv(16)))
                    else:
                        status = self._hear(*key.data) or status
        return status

    def health(self) -> dict[str, Any]:
        """That of all together; may be asked from any thread."""
        children = [place.child for place in self._places if place.child]
        known = [child.health for child in children if child.health]
        counts = ("running", "done", "retried", "rejected", "lost")
        return {
            "connected": len(known) == len(self._places) and all(one.connected for one in known),
            **{name: sum(getattr(one, name) for one in known) for name in counts},
            "longest": max((one.longest for one in known), default=0.0),
            "error": next((one.error for one in known if one.error), None),
            "processes": len(children),
            "deaths": self._deaths,
        }

    def _start_due(self) -> float | None:
        """Start those whose time has come; returns the seconds until the next one is due."""
        now = time.monotonic()
        waits: list[float] = []
        for place in self._places:
            if place.child is None and place.due <= now:
                place.child = _Child(self._arguments, self._environ)
                self._selector.register(place.child.channel, selectors.EVENT_READ, (place, place.child))
            elif place.child is None:
                waits.append(place.due - now)
        return min(waits, default=None)

    def _hear(self, place: _Place, child: _Child) -> int:
        """Returns the status with which everything is to end, if this child has ended and that is a reason."""
        if child.hear():
            self._ready = self._ready or (child.health is not None and child.health.connected)
            return 0
        self._selector.unregister(child.channel)
        status, lived = child.bury()
        place.vacate(lived)
        if self._stopping:
            return max(status, 0)
        if not self._ready:
            self._stop(1)
            return 1 if status < 0 else status
        self._deaths += 1
        how = f"by {signal.Signals(-status).name}" if status < 0 else f"with status {status}"
        pid = child.process.pid
        extra = about("died", pid=pid, status=status)
        log.error("worker process %d (pid %d) ended %s and is started again", place.number, pid, how, extra=extra)
        return 0

    def _stop(self, orders: int) -> None:
        self._stopping = True
        for _ in range(orders):
            for place in self._places:
                if place.child:
                    place.child.process.terminate()

    @contextmanager
    def _signals(self, woken: socket.socket) -> Generator[None]:
        def stop(_number: int, _frame: FrameType | None) -> None:
            woken.send(b"x")

        before = {number: signal.signal(number, stop) for number in STOP_SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
