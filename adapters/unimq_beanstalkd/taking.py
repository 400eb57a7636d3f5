"""Taking messages: the tubes that are watched, the wait for the first job, and what the server tells of each."""

import time
from collections.abc import Sequence
from typing import Final

from unimq.driver import POLL_GRACE, Delivery
from unimq.errors import ConnectionLost, ProtocolError, UnimqError
from unimq_beanstalkd.messages import WINDOW, delivery_of
from unimq_beanstalkd.waiting import Waiting
from unimq_beanstalkd.wire import Wire

__all__ = ["Taking"]

Jobs = list[tuple[int, bytes]]
"""Number and body of each."""

_FIRST: Final = ("default",)
"""What a new connection watches."""


class Taking:
    """The receiving side of one connection.

    Tube, priority, lease and count of a job are told by `stats-job` only, which needs its number. The server gives the
    numbers in the order of the puts, so the next one is often as far from the last as that was from the one before: a
    reserve of one job carries the question for that one along, and only a wrong guess costs another exchange.
    """

    def __init__(self, wire: Wire) -> None:
        self.waiting = Waiting()
        self._wire = wire
        self._watching: Sequence[str] = _FIRST
        self._turn = 0
        self._last, self._next = 0, 1
        self._told: tuple[int, bytes] | None = None

    def receive(self, queues: Sequence[str], limit: int, deadline: float) -> list[Delivery]:
        """What is there of `queues`, else the first that comes until `deadline`."""
        jobs = self._favoured(queues, limit) if len(queues) > 1 else []
        return self._described(jobs or self._waited(queues, limit, deadline))

    def _favoured(self, queues: Sequence[str], limit: int) -> Jobs:
        """Poll one of several queues, each in its turn: by itself the server takes the oldest of all."""
        self._turn += 1
        return self._reserve([queues[self._turn % len(queues)]], limit, 0, time.monotonic())

    def _waited(self, queues: Sequence[str], limit: int, deadline: float) -> Jobs:
        """Ask until something is there, the deadline is over or `interrupt` is called."""
        waiting = self.waiting
        waiting.begin()
        while True:
            now = time.monotonic()
            seconds = Waiting.whole_seconds(deadline - now)
            if seconds and not waiting.blocks(self._wire):
                return []
            try:
                jobs = self._reserve(queues, limit, seconds, now + seconds)
            except ConnectionLost:
                if not waiting.ended:
                    raise
                return []  # broken off by us: the next call connects again
            finally:
                if seconds:
                    waiting.unblocks()
            if waiting.broke_off:
                return []  # what came in the same moment goes back with the connection
            if jobs or waiting.ended or deadline <= time.monotonic():
                return jobs
            waiting.rest(deadline)  # also where the server waited: it answers at once while a lease ends soon

    def _reserve(self, queues: Sequence[str], limit: int, seconds: int, until: float) -> Jobs:
        """Up to `limit` jobs, the first of which may take `seconds` to come."""
        wire, until = self._wire, until + POLL_GRACE
        count = min(limit, WINDOW)
        commands, watches = self.watch(queues)
        rest = b"reserve-with-timeout 0\r\n" * (count - 1) if count > 1 else b"stats-job %d\r\n" % self._next
        wire.write(b"%breserve-with-timeout %d\r\n%b" % (commands, seconds, rest), until)
        for _ in range(watches):
            wire.must(b"WATCHING", until)
        jobs: Jobs = []
        for _ in range(count):
            job = wire.reserved(until)
            if not isinstance(job, UnimqError):
                jobs.append(job)
        told = wire.told(until) if count == 1 else None
        self._told = (self._next, told) if isinstance(told, bytes) else None
        return jobs

    def _described(self, jobs: Jobs) -> list[Delivery]:
        """The jobs with what `stats-job` tells of them."""
        if not jobs:
            return []
        wire, now = self._wire, time.monotonic()
        until = now + POLL_GRACE
        guessed, guess = self._told or (0, b"")
        asked = [b"stats-job %d\r\n" % number for number, _ in jobs if number != guessed]
        if asked:
            wire.write(b"".join(asked), until)
        self._expect(jobs[-1][0])
        found: list[Delivery] = []
        for number, body in jobs:
            told = guess if number == guessed else wire.told(until)
            # One that nothing is told of is gone: its lease is over already, and somebody has removed it.
            if isinstance(told, bytes):
                found.append(self._delivery(number, body, told, now))
        return found

    def _delivery(self, number: int, body: bytes, told: bytes, now: float) -> Delivery:
        try:
            return delivery_of(number, body, told, now)
        except ValueError as error:
            self._wire.broken = True
            msg = f"{self._wire.label}: stats-job does not tell what it should: is this a beanstalkd?"
            raise ProtocolError(msg) from error

    def _expect(self, number: int) -> None:
        """Guess which job comes after this one."""
        step = number - self._last if self._last else 1
        self._last, self._next = number, max(1, number + step)

    def watch(self, queues: Sequence[str]) -> tuple[bytes, int]:
        """The commands that make `queues` those that are reserved from, and how many they are."""
        if queues == self._watching:
            return b"", 0
        wanted, watched = set(queues), set(self._watching)
        self._watching = queues
        commands = [b"watch %b\r\n" % name.encode() for name in sorted(wanted - watched)]
        commands += [b"ignore %b\r\n" % name.encode() for name in sorted(watched - wanted)]
        return b"".join(commands), len(commands)
