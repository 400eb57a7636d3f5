"""The store: queues of entries behind one lock per broker, with heaps for what is ready, delayed and leased."""

import heapq
import itertools
import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from unimq.driver import Outgoing

__all__ = ["Broker", "Entry", "Store", "broker", "reset"]

_SLACK: Final = 1000
"""How many ended leases a heap may keep beyond the live ones before it is made anew."""


class Entry:
    """One stored message."""

    __slots__ = (
        "body",
        "count",
        "enqueued_at",
        "expires_at",
        "headers",
        "id",
        "lease",
        "place",
        "priority",
        "rank",
        "token",
        "until",
        "waiting",
    )

    def __init__(self, message: Outgoing, id_: str, place: int, rank: int, now: float) -> None:
        self.body: bytes = message.body
        self.headers: Mapping[str, str] | None = message.headers
        self.id = id_
        self.priority = message.priority
        self.rank = rank
        self.place = place
        self.expires_at = message.expires_at
        self.enqueued_at = now if message.enqueued_at is None else message.enqueued_at
        self.lease = message.lease
        self.count = message.delivery_count
        self.token = 0
        """Of the delivery that holds it; 0 while nobody does."""
        self.until: float | None = None
        self.waiting = True
        """Whether it is in the heap of ready or delayed ones; what was cancelled is skipped there."""


class Store:
    """One queue."""

    __slots__ = ("delayed", "held", "leases", "name", "ready", "waiting")

    def __init__(self, name: str) -> None:
        self.name = name
        self.ready: list[tuple[int, int, Entry]] = []
        self.delayed: list[tuple[float, int, Entry]] = []
        self.leases: list[tuple[float, int, Entry]] = []
        self.held: dict[int, Entry] = {}
        self.waiting = 0
        """How many entries are ready or delayed."""

    def add(self, entry: Entry, due: float | None) -> None:
        """Let it wait: from now on, or until `due`."""
        entry.waiting = True
        self.waiting += 1
        if due is None:
            heapq.heappush(self.ready, (entry.rank, entry.place, entry))
        else:
            heapq.heappush(self.delayed, (due, entry.place, entry))

    def take(self, now: float, wall: float) -> Entry | None:
        """The next ready entry, removed from the waiting ones; the expired ones before it are dropped."""
        self.advance(now)
        while self.ready:
            entry = heapq.heappop(self.ready)[2]
            if not entry.waiting:
                continue
            entry.waiting = False
            self.waiting -= 1
            if entry.expires_at is None or entry.expires_at > wall:
                return entry
        return None

    def hold(self, entry: Entry, token: int, until: float | None) -> None:
        """A consumer has it now."""
        entry.token, entry.until = token, until
        self.held[token] = entry
        if until is not None:
            heapq.heappush(self.leases, (until, token, entry))
            if len(self.leases) > 2 * len(self.held) + _SLACK:
                self.leases = [(e.until, e.token, e) for e in self.held.values() if e.until is not None]
                heapq.heapify(self.leases)

    def advance(self, now: float) -> None:
        """Make ready what is due, and take back what was held too long."""
        delayed, leases = self.delayed, self.leases
        while delayed and delayed[0][0] <= now:
            entry = heapq.heappop(delayed)[2]
            if entry.waiting:
                heapq.heappush(self.ready, (entry.rank, entry.place, entry))
        while leases and leases[0][0] <= now:
            _, token, entry = heapq.heappop(leases)
            if entry.token == token and entry.until is not None and self.held.get(token) is entry:
                if entry.until <= now:
                    del self.held[token]
                    entry.token = 0
                    self.add(entry, None)
                else:
                    heapq.heappush(leases, (entry.until, token, entry))

    def next_due(self) -> float | None:
        """When something becomes ready by itself."""
        tops = [heap[0][0] for heap in (self.delayed, self.leases) if heap]
        return min(tops) if tops else None

    def waiting_entries(self) -> Iterable[Entry]:
        """Those that nobody holds."""
        return (item[2] for heap in (self.ready, self.delayed) for item in heap if item[2].waiting)


class Broker:
    """The queues of one name. Its clocks may be replaced, by tests that do not want to wait."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.clock: Callable[[], float] = time.monotonic
        self.wall: Callable[[], float] = time.time
        self.stores: dict[str, Store] = {}
        self.numbers = itertools.count(1)
        self.changed = threading.Condition(threading.Lock())
        self.waiters = 0

    def store(self, name: str) -> Store:
        """The queue of that name, made when it is first used."""
        found = self.stores.get(name)
        if found is None:
            found = self.stores[name] = Store(name)
        return found

    def wake(self) -> None:
        """Let the waiting receives look; to be called with the lock held."""
        if self.waiters:
            self.changed.notify_all()


_brokers: dict[str, Broker] = {}
_lock = threading.Lock()


def broker(name: str = "") -> Broker:
    """The broker of that name in this process."""
    with _lock:
        return _brokers.setdefault(name, Broker(name))


def reset(name: str | None = None) -> None:
    """Forget the messages of that broker, or of all. Queues that are open keep working, on nothing."""
    with _lock:
        found = list(_brokers.values()) if name is None else [_brokers[name]] if name in _brokers else []
    for one in found:
        with one.changed:
            one.stores.clear()


def _after_fork() -> None:
    """A lock that another thread held at the fork would never be released in the child."""
    global _lock  # noqa: PLW0603
    _lock = threading.Lock()
    for one in _brokers.values():
        one.changed = threading.Condition(threading.Lock())
        one.waiters = 0


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
