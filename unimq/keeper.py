"""The leases of one host that unimq itself looks after: those that it ends, and those that it prolongs.

It ends leases where the backend's own end with the connection only, and prolongs those of `message.keep()`. One timer
serves them all, however many there are: when it fires, they are looked through, and what is due at the same time goes
to the server together. Nothing here takes a lock, because it is called at every get and settlement, where an exception
may come at any moment: each step on a dict is one of the interpreter's.
"""

import math
import time
import weakref
from collections.abc import Iterable
from typing import Any, Final, Protocol

from unimq.errors import AlreadySettled, Closed, LeaseLost, UnimqError, Unsupported
from unimq.scheduler import Scheduler
from unimq.seats import ENDED, Seat

__all__ = ["Keeper", "Lessor"]

_LEAST: Final = 0.05
"""Seconds: the shortest lease."""
_AGAIN: Final = 1.0
"""Seconds until the next look where something could not be given back: its session was busy, or the server refused."""
_REST: Final = 2e-6
"""Seconds for each lease between two looks: looking takes a tenth of a microsecond, and so 5 % of the time at most."""
_FINAL: Final = (AlreadySettled, Closed, LeaseLost, Unsupported)
"""After which a lease is prolonged no more."""


class Lessor(Protocol):
    """Ends and prolongs the leases of a queue's messages."""

    def end_leases(self, messages: Any) -> list[UnimqError | None]:
        """Give back what was in hand for too long; the outcome of each."""
        ...

    def keep_leases(self, messages: Any) -> list[float | UnimqError]:
        """Extend what is kept; the seconds granted, or why not."""
        ...


class _Owner(Protocol):
    @property
    def settler(self) -> Lessor: ...


class _Leased(Protocol):
    """What is looked after of a message."""

    lease_until: float | None
    _claim: Seat

    @property
    def lease_remaining(self) -> float | None: ...
    @property
    def settled(self) -> bool: ...
    @property
    def _is_held(self) -> bool: ...
    @property
    def _endpoint(self) -> _Owner: ...


class Keeper:
    """The leases of one host."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._ending: dict[_Leased, None] = {}
        self._kept: dict[weakref.ref[_Leased], float] = {}
        """When they are prolonged. A message that was forgotten is not kept alive."""
        self._looks_at = math.inf

    def begin(self, message: _Leased, lease: float) -> None:
        """End its lease after `lease` seconds, unless it is settled before."""
        message.lease_until = until = time.monotonic() + lease
        self._ending[message] = None
        if until < self._looks_at:
            self._look_at(until)

    def settled(self, message: _Leased) -> None:
        """It is in hand no more."""
        self._ending.pop(message, None)

    def prolong(self, message: _Leased, lease: float) -> bool:
        """Let a lease that is ended here begin again; false where it is over.

        Who ends it takes the claim first and then looks at its end; here the end is moved first. So one of the two
        sees the other, and what was taken back is never granted.
        """
        now, until = time.monotonic(), message.lease_until
        if until is None or until <= now:
            return False
        message.lease_until = now + lease
        if message._claim.get(0) is ENDED:
            message.lease_until = until
            return False
        if message.lease_until < self._looks_at:
            self._look_at(message.lease_until)
        return True

    def keep(self, message: _Leased) -> None:
        """Prolong its lease in time, again and again."""
        self._kept[weakref.ref(message)] = due = _third(message)
        if due < self._looks_at:
            self._look_at(due)

    def _look_at(self, when: float) -> None:
        self._looks_at = when
        self._scheduler.at(when, lambda: self._look(when))

    def _look(self, due: float) -> None:
        if due != self._looks_at:
            return  # an earlier one came in between
        self._looks_at = math.inf  # before looking: whoever begins a lease now is seen, or asks for a look
        pause = _AGAIN
        try:
            self._prolong_kept(time.monotonic())
            if self._end_over(time.monotonic()):
                pause = _REST * len(self._ending)
        finally:
            ends = [message.lease_until or 0.0 for message in list(self._ending)]
            first = min([*ends, *list(self._kept.values())], default=math.inf)
            when = max(first, time.monotonic() + pause)
            if when < self._looks_at:
                self._look_at(when)

    def _end_over(self, now: float) -> bool:
        """Give back what is due; whether nothing is left of that."""
        over = [message for message in list(self._ending) if (message.lease_until or 0.0) <= now]
        all_done = True
        for settler, messages in _by_settler(over):
            for message, failed in zip(messages, settler.end_leases(messages), strict=True):
                if failed is None or isinstance(failed, LeaseLost) or not message._is_held:
                    self._ending.pop(message, None)
                else:
                    all_done = False
        return all_done

    def _prolong_kept(self, now: float) -> None:
        due: list[_Leased] = []
        for found, when in list(self._kept.items()):
            if when <= now:
                message = found()
                if message is None or message.settled:
                    del self._kept[found]
                else:
                    self._kept[found] = _third(message)
                    due.append(message)
        for settler, messages in _by_settler(due):
            for message, outcome in zip(messages, settler.keep_leases(messages), strict=True):
                found, failed = weakref.ref(message), isinstance(outcome, UnimqError)
                if isinstance(outcome, _FINAL) or (failed and not message.lease_remaining):
                    del self._kept[found]
                else:
                    self._kept[found] = _third(message)  # what failed is tried again, as long as there is time


def _third(message: _Leased) -> float:
    """When a third of what is left of its lease is over."""
    return time.monotonic() + max(message.lease_remaining or 0.0, _LEAST) / 3


def _by_settler(messages: Iterable[_Leased]) -> list[tuple[Lessor, list[_Leased]]]:
    found: dict[Lessor, list[_Leased]] = {}
    for message in messages:
        found.setdefault(message._endpoint.settler, []).append(message)
    return list(found.items())
