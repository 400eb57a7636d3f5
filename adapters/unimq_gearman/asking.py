"""Calling: foreground jobs, whose results come to the connection that submitted them.

They have a connection of their own, so that what a caller gave up can be taken back: gearmand forgets a foreground job
that nobody works on when its client goes away. A job that is begun is worked on all the same.
"""

import contextlib
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from unimq.answering import Progress
from unimq.driver import Delivery
from unimq.errors import ConnectionLost, RemoteError, UnimqError
from unimq_gearman import packets
from unimq_gearman.calls import Answers, Options, refusal
from unimq_gearman.packets import Packet, packet
from unimq_gearman.wire import Wire

__all__ = ["Asker"]

_Came = tuple[str, Delivery | Progress | UnimqError]
"""What came of a request, with its number."""

_DIGITS: Final = 18
_EXCEPTIONS: Final = packet(packets.OPTION_REQ, b"exceptions")


class _Job:
    """A job that somebody waits for, and what came of it so far."""

    __slots__ = ("data", "error", "number", "queue")

    def __init__(self, number: str, queue: str) -> None:
        self.number = number
        self.queue = queue
        self.data: list[bytes] = []
        self.error = b""


class _Submitted(Answers):
    """Notes the handle of each job when it is told, before anything else can come of that job."""

    __slots__ = ("_jobs", "_submitted")

    def __init__(self, jobs: Sequence[_Job], submitted: dict[bytes, _Job]) -> None:
        super().__init__(len(jobs))
        self._jobs = jobs
        self._submitted = submitted

    def take(self, packet: Packet) -> None:
        """Note the answer to the next request."""
        if packet[0] == packets.JOB_CREATED:
            self._submitted[packet[1][0]] = self._jobs[len(self.results)]
        super().take(packet)


class Asker:
    """The calling half of a session: any thread asks, one waits for what comes."""

    def __init__(self, open_wire: Callable[[socket.socket, float], Wire]) -> None:
        self._open = open_wire
        self._lock = threading.Lock()
        self._jobs: dict[bytes, _Job] = {}
        self._wire: Wire | None = None
        self._asking = 0
        self._interrupted = False
        self._heard, self._alarm = socket.socketpair()
        self._heard.settimeout(0)
        self._alarm.settimeout(0)

    def ask(self, queue: str, jobs: Sequence[tuple[str, bytes]], deadline: float) -> list[UnimqError | None]:
        """Submit jobs, each a number and a request; what became of each."""
        with self._lock:
            self._asking += 1
            wire = self._connected(deadline)
        try:
            call = _Submitted([_Job(number, queue) for number, _ in jobs], self._jobs)
            wire.exchange(b"".join(request for _, request in jobs), call, deadline)
            return [refusal(wire.label, answer) for answer in call.results]
        finally:
            with self._lock:
                self._asking -= 1

    def _connected(self, deadline: float) -> Wire:
        if self._wire is None:
            wire = self._open(self._heard, deadline)
            wire.exchange(_EXCEPTIONS, Options(), max(deadline, time.monotonic() + 1.0))
            wire.works = deque()
            self._wire = wire
        return self._wire

    def answers(self, deadline: float) -> list[_Came]:
        """What came of jobs, waiting until `deadline` for the first result."""
        with self._lock:
            wire = self._connected(deadline)
        found: list[_Came] = []
        self._interrupted = False
        try:
            while not found and not self._interrupted and time.monotonic() < deadline:
                wire.wait(lambda: bool(wire.works) or self._interrupted, deadline, alarmed=True)
                found = self._taken(wire)
        except ConnectionLost:
            if wire is self._wire:
                raise
        return found

    def _taken(self, wire: Wire) -> list[_Came]:
        found: list[_Came] = []
        while wire.works:
            result = self._result(wire.works.popleft())
            if result is not None:
                found.append(result)
        return found

    def _result(self, packet: Packet) -> _Came | None:
        """What a job ended with, if it ended."""
        command, (handle, *rest) = packet
        job = self._jobs.get(handle)
        if job is None:  # nobody waits for it any more
            return None
        if command == packets.WORK_DATA:
            job.data += rest
        elif command == packets.WORK_STATUS:
            return _progress(job.number, *rest)
        elif command == packets.WORK_WARNING:
            job.error = rest[0]
        elif command == packets.WORK_COMPLETE:
            del self._jobs[handle]
            return job.number, Delivery(job.queue, b"".join([*job.data, *rest]))
        elif command in {packets.WORK_FAIL, packets.WORK_EXCEPTION}:  # an exception ends a job, as a failure does
            del self._jobs[handle]
            return job.number, RemoteError((rest[0] if rest else job.error).decode("utf-8", "replace"))
        return None

    def forget(self, numbers: Sequence[str]) -> None:
        """Take back what nobody waits for, if that leaves nothing that somebody does."""
        gone = set(numbers)
        with self._lock:
            for handle in [handle for handle, job in list(self._jobs.items()) if job.number in gone or not gone]:
                self._jobs.pop(handle, None)
            if self._jobs or self._asking or self._wire is None:
                return
            wire, self._wire = self._wire, None
        wire.close()

    def interrupt(self) -> None:
        """Let the one who waits return."""
        self._interrupted = True
        with contextlib.suppress(OSError):  # it is full, or closed
            self._alarm.send(b"!")

    def close(self) -> None:
        """End the connection: the server forgets what nobody has begun."""
        if self._wire is not None:
            self._wire.close()
        self._close_alarm()

    def abandon(self) -> None:
        """Close a child process's copies of the descriptors."""
        if self._wire is not None:
            self._wire.abandon()
        self._close_alarm()

    def _close_alarm(self) -> None:
        for end in (self._heard, self._alarm):
            with contextlib.suppress(OSError):
                end.close()


def _progress(number: str, done: bytes, total: bytes) -> "_Came | None":
    """What a worker says of how far it is, unless that is no pair of numbers: the protocol takes any text."""
    if not (done.isdigit() and total.isdigit() and max(len(done), len(total)) <= _DIGITS):
        return None
    return number, Progress(int(done), int(total))
