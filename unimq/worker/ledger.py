"""What a worker is doing: messages at work, what became of those before, and whether the server answers."""

import math
import threading
import time
from collections import Counter
from typing import Any, Final, Generic, TypeVar

import msgspec

from unimq.errors import Timeout, UnimqError
from unimq.message import BaseMessage
from unimq.records import about
from unimq.worker.handling import Fate, log
from unimq.worker.pauses import Pauses

__all__ = ["Health", "Ledger"]

M = TypeVar("M", bound=BaseMessage[Any])

_BUSY_MOST: Final = 10.0
"""Seconds for which a server may be busy, and give no answer for that reason, before it is told to be away."""


class Health(msgspec.Struct, frozen=True):
    """What a worker is doing."""

    connected: bool
    """Whether the server was reached when that was last tried; false before the first time."""
    running: int
    """Handlers at work."""
    longest: float
    """Seconds for which the oldest of them has been at work; 0.0 where none is."""
    done: int
    """Messages acked since the worker was made."""
    retried: int
    """Tries that failed and are followed by another."""
    rejected: int
    """Messages given up."""
    lost: int
    """Messages whose settlement failed: they are delivered again."""
    error: str | None
    """Why the server cannot be reached, where it cannot."""


class Ledger(Generic[M]):
    """The books of one worker, which any thread may read and write. `M` is the message of its face."""

    def __init__(self, where: str) -> None:
        """`where` is the masked URL, for the log."""
        self._where = where
        self._lock = threading.Lock()
        self._running: dict[M, float] = {}
        self._counts: Counter[Fate] = Counter()
        self._connected = False
        self._away: str | None = None
        self._busy_since: float | None = None
        self._pauses = Pauses()
        self._due = 0.0
        """When the server is tried again, as a `time.monotonic()` value."""

    def begins(self, message: M) -> None:
        """A handler is called."""
        with self._lock:
            self._running[message] = time.monotonic()

    def again(self, message: M) -> None:
        """It has failed, and is called again with the same message."""
        message._again()
        with self._lock:
            self._counts["retried"] += 1

    def ended(self, message: M, fate: Fate | None) -> None:
        """It has ended; whatever it did is lost where the message was taken away meanwhile, or `fate` is `None`."""
        with self._lock:
            ours = self._running.pop(message, None) is not None
            if fate is not None:
                self._counts[fate if ours else "lost"] += 1

    def to_extend(self, lease: float, longest: float = math.inf) -> list[M]:
        """The messages at work of whose `lease` a third is over, begun no more than `longest` seconds ago."""
        now = time.monotonic()
        with self._lock:
            young = [message for message, start in self._running.items() if now - start < longest]
        return [one for one in young if one.lease_remaining is not None and one.lease_remaining < lease * 2 / 3]

    def take_away(self) -> list[M]:
        """The messages at work, which are so no more."""
        with self._lock:
            left = list(self._running)
            self._running.clear()
            return left

    def reached(self) -> None:
        """The server has answered."""
        if not self._connected or self._busy_since is not None:
            with self._lock:
                was, self._away, self._connected = self._away, None, True
                self._busy_since = None
                self._pauses.begin_anew()
                self._due = 0.0
            if was is not None:
                log.warning("%s is back", self._where, extra=about("back", backend=self._where))

    def missed(self, error: UnimqError) -> float:
        """The server has not; returns the seconds until the next try, the same one for all who miss it meanwhile.

        One that was too busy is asked again at once, and counts as reached for some seconds.
        """
        now = time.monotonic()
        with self._lock:
            if isinstance(error, Timeout) and not error.ends_session:  # nothing is wrong with the connection
                self._busy_since = self._busy_since or now
                if now - self._busy_since < _BUSY_MOST:
                    return 0.0
            was, self._away, self._connected = self._away, str(error), False
            if now >= self._due:
                self._due = now + self._pauses.next()
            pause = self._due - now
        if was is None:
            extra = about("away", backend=self._where)
            log.warning("%s is away, and is tried until it is back: %s", self._where, error, extra=extra)
        return pause

    def health(self) -> Health:
        """All of it, at this moment."""
        with self._lock:
            since = list(self._running.values())
            counts: dict[str, int] = {name: self._counts[name] for name in ("done", "retried", "rejected", "lost")}
            connected, away = self._connected, self._away
        longest = time.monotonic() - min(since) if since else 0.0
        return Health(connected=connected, running=len(since), longest=longest, error=away, **counts)
