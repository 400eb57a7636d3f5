"""Taking jobs: which connection asks for which functions, and how a worker sleeps until there is something to do.

gearmand gives a connection jobs of the functions that it can do, those of the last one said first. Taking a function
back (CANT_DO, RESET_ABILITIES) gives back the jobs that are held of it. So jobs of several queues are asked for on a
connection for each, in turn; what a connection can do is changed only while it holds nothing.

A sleeping worker (PRE_SLEEP) is woken once (NOOP), and not again before it has sent GRAB_JOB. With `gearmand -w 1` one
that left without a GRAB_JOB would swallow the wake-up that was meant for another.
"""

import socket
import time
from collections.abc import Callable, Sequence
from typing import Final

from unimq.driver import Delivery
from unimq_gearman import packets
from unimq_gearman.calls import Answers, refusal
from unimq_gearman.packets import packet
from unimq_gearman.wire import Wire

__all__ = ["Taker", "grab"]

GRACE: Final = 1.0
"""Seconds that a round trip may take although the deadline is over: a poll finds what is ready only by asking."""
_LOOK_AGAIN: Final = 5.0
"""Seconds after which a sleeping worker asks again: a job of SUBMIT_JOB_EPOCH wakes nobody when it is due."""
_LOOK_AGAIN_DELAYED: Final = 0.25
"""The same where such jobs are made on purpose."""
_LIE: Final = 0.005
"""A NOOP within this many seconds that brings no job: the server does so, without end, while a LOW job waits behind
one that is not due."""
_LIES: Final = 3
_BACKOFF_MOST: Final = 0.25

_GRAB: Final = packet(packets.GRAB_JOB_UNIQ)
_PRE_SLEEP: Final = packet(packets.PRE_SLEEP)


class Taker:
    """The working half of a session. One receive at a time; `interrupt` and the end of the session come from others."""

    def __init__(self, first: Wire, alarm: socket.socket, open_wire: Callable[[float], Wire], *, delayed: bool) -> None:
        self.wires = {first.number: first}
        self._alarm = alarm
        self._open = open_wire
        self._look_again = _LOOK_AGAIN_DELAYED if delayed else _LOOK_AGAIN
        self._turn = 0
        self._receiving = False
        self._interrupted = False
        self._asleep: Wire | None = None

    def receive(self, queues: Sequence[str], limit: int, deadline: float) -> list[Delivery]:
        """Up to `limit` jobs, waiting until `deadline` for the first."""
        self._interrupted, self._receiving = False, True
        try:
            functions = tuple(name.encode() for name in queues)
            lies = 0
            while True:
                found = self._take(functions, limit, deadline)
                if found or self._is_over(deadline):
                    return found
                wire = self._wire(functions, deadline)
                # Also where the queues were asked one by one: it has to ask before it can be woken again.
                found = grab(wire, 1, deadline)
                if found:
                    return found
                slept = self._sleep(wire, deadline)
                lies = lies + 1 if slept < _LIE and wire.woken else 0
                if lies >= _LIES:
                    self._rest(wire, min(_LIE * 2 ** (lies - _LIES), _BACKOFF_MOST), deadline)
        finally:
            self._receiving = False

    def _is_over(self, deadline: float) -> bool:
        return self._interrupted or time.monotonic() >= deadline

    def _take(self, functions: tuple[bytes, ...], limit: int, deadline: float) -> list[Delivery]:
        """What is there, of all in turn, the next one first: or a busy queue would starve the others."""
        if len(functions) == 1:
            return grab(self._wire(functions, deadline), limit, deadline)
        self._turn = (self._turn + 1) % len(functions)
        found: list[Delivery] = []
        for function in functions[self._turn :] + functions[: self._turn]:
            found += grab(self._wire((function,), deadline), limit - len(found), deadline)
            if len(found) == limit:
                break
        return found

    def _wire(self, abilities: tuple[bytes, ...], deadline: float) -> Wire:
        """The connection that works on exactly these functions, one that can be given them, or a new one."""
        wires = list(self.wires.values())
        for wire in wires:
            if wire.abilities == abilities:
                return wire
        free = next((wire for wire in wires if not wire.held), None)
        if free is None:
            free = self._open(deadline)
            self.wires[free.number] = free
        free.work_on(abilities, max(deadline, time.monotonic() + GRACE))
        return free

    # Sleeping

    def _sleep(self, wire: Wire, deadline: float) -> float:
        """Sleep until there is something to ask for, or to do otherwise; returns for how long."""
        began = time.monotonic()
        wire.woken = False
        wire.write(_PRE_SLEEP, None, max(deadline, began + GRACE))
        self._wait(wire, lambda: wire.woken or self._interrupted, min(deadline, began + self._look_again))
        return time.monotonic() - began

    def _rest(self, wire: Wire, seconds: float, deadline: float) -> None:
        self._wait(wire, lambda: self._interrupted, min(deadline, time.monotonic() + seconds))

    def _wait(self, wire: Wire, done: Callable[[], bool], until: float) -> None:
        self._asleep = wire
        try:
            wire.wait(done, until, alarmed=True)
        finally:
            self._asleep = None

    def interrupt(self) -> None:
        """Wake the receive that waits."""
        if not self._receiving or self._interrupted:
            return
        self._interrupted = True
        wire = self._asleep
        if wire is not None:
            try:
                self._alarm.send(b"!")
            except OSError:  # it is full, or the session is closed: nobody sleeps on
                return
            wire.poke()


def grab(wire: Wire, limit: int, deadline: float) -> list[Delivery]:
    """Up to `limit` jobs that are there, asked for in one exchange.

    Raises:
        ServerError: it refused.
    """
    call = Answers(limit)
    wire.exchange(_GRAB * limit, call, max(deadline, time.monotonic() + GRACE))
    number, names = wire.number, {function: function.decode() for function in wire.abilities}
    jobs = [arguments for command, arguments in call.results if command == packets.JOB_ASSIGN_UNIQ]
    wire.held.update([job[0] for job in jobs])
    found = [
        Delivery(names[function], body, (number, handle), None, _id(unique)) for handle, function, unique, body in jobs
    ]
    if not found:
        for answer in call.results:
            if (error := refusal(wire.label, answer)) is not None:
                raise error
    return found


def _id(unique: bytes) -> str | None:
    """What the producer named it: nothing, or a dash, is no name."""
    return None if unique in (b"", b"-") else unique.decode("utf-8", "backslashreplace")
