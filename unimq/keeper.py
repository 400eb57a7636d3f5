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
from typing import TYPE_CHECKING, Any, Final

from unimq.errors import AlreadySettled, Closed, LeaseLost, UnimqError, Unsupported
from unimq.links import ENDED
from unimq.scheduler import Scheduler

if TYPE_CHECKING:
    from unimq.channel import Channel
    from unimq.message import Letter

__all__ = ["Keeper"]

_LEAST: Final = 0.05
"""Seconds: the shortest lease."""
_AGAIN: Final = 1.0
"""Seconds until the next look where something could not be given back: its session was busy, or the server refused."""
_REST: Final = 2e-6
"""Seconds for each lease between two looks: looking takes a tenth of a microsecond, and so 5 % of the time at most."""
_FINAL: Final = (AlreadySettled, Closed, LeaseLost, Unsupported)
"""After which a lease is prolonged no more."""


class Keeper:
    """The leases of one host."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._ending: dict[Letter[Any], None] = {}
        self._kept: dict[weakref.ref[Letter[Any]], float] = {}
        """When they are prolonged. A message that was forgotten is not kept alive."""
        self._looks_at = math.inf

    def begin(self, letter: "Letter[Any]", lease: float) -> None:
        """End its lease after `lease` seconds, unless it is settled before."""
        letter.lease_until = until = time.monotonic() + lease
        self._ending[letter] = None
        if until < self._looks_at:
            self._look_at(until)

    def settled(self, letter: "Letter[Any]") -> None:
        """It is in hand no more."""
        self._ending.pop(letter, None)

    def prolong(self, letter: "Letter[Any]", lease: float) -> bool:
        """Let a lease that is ended here begin again; false where it is over.

        Who ends it takes the claim first and then looks at its end; here the end is moved first. So one of the two
        sees the other, and what was taken back is never granted.
        """
        now, until = time.monotonic(), letter.lease_until
        if until is None or until <= now:
            return False
        letter.lease_until = now + lease
        if letter._claim.get(0) is ENDED:
            letter.lease_until = until
            return False
        if letter.lease_until < self._looks_at:
            self._look_at(letter.lease_until)
        return True

    def keep(self, letter: "Letter[Any]") -> None:
        """Prolong its lease in time, again and again."""
        self._kept[weakref.ref(letter)] = due = _third(letter)
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
            ends = [letter.lease_until or 0.0 for letter in list(self._ending)]
            first = min([*ends, *list(self._kept.values())], default=math.inf)
            when = max(first, time.monotonic() + pause)
            if when < self._looks_at:
                self._look_at(when)

    def _end_over(self, now: float) -> bool:
        """Give back what is due; whether nothing is left of that."""
        over = [letter for letter in list(self._ending) if (letter.lease_until or 0.0) <= now]
        all_done = True
        for channel, letters in _by_channel(over):
            for letter, failed in zip(letters, channel.settler.end_leases(letters), strict=True):
                link = letter._link
                if failed is None or isinstance(failed, LeaseLost) or link is None or not link.holds(letter._raw):
                    self._ending.pop(letter, None)
                else:
                    all_done = False
        return all_done

    def _prolong_kept(self, now: float) -> None:
        due: list[Letter[Any]] = []
        for found, when in list(self._kept.items()):
            if when <= now:
                letter = found()
                if letter is None or letter.settled:
                    del self._kept[found]
                else:
                    self._kept[found] = _third(letter)
                    due.append(letter)
        for channel, letters in _by_channel(due):
            for letter, outcome in zip(letters, channel.settler.keep_leases(letters), strict=True):
                found, failed = weakref.ref(letter), isinstance(outcome, UnimqError)
                if isinstance(outcome, _FINAL) or (failed and not letter.lease_remaining):
                    del self._kept[found]
                else:
                    self._kept[found] = _third(letter)  # what failed is tried again, as long as there is time


def _third(letter: "Letter[Any]") -> float:
    """When a third of what is left of its lease is over."""
    return time.monotonic() + max(letter.lease_remaining or 0.0, _LEAST) / 3


def _by_channel(letters: "Iterable[Letter[Any]]") -> "list[tuple[Channel[Any], list[Letter[Any]]]]":
    found: dict[Channel[Any], list[Letter[Any]]] = {}
    for letter in letters:
        found.setdefault(letter._channel, []).append(letter)
    return list(found.items())
