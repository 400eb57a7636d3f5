"""One queue: what is ready, what is not due, and who holds the rest. Methods are called with the broker's lock held.

Steps are ordered so that one that is cut short (an interrupt, say) may deliver a message twice and never loses it.
"""

import heapq
import math
from collections import deque
from collections.abc import Iterator
from itertools import islice
from typing import Final

import msgspec

from unimq.driver import Outgoing, Stats

__all__ = ["Entry", "Store"]

_SLACK: Final = 1000
"""How many ended leases may be remembered beyond the live ones."""


class Entry(msgspec.Struct, eq=False, gc=False):
    """One stored message. The collector is not told of it, or a million would slow down the whole process."""

    message: Outgoing
    id: str
    place: int
    """Its turn among its equals, lowest first."""
    rank: int
    """The level of its priority, 0 first."""
    enqueued_at: float
    count: int
    token: int = 0
    """Of its latest delivery: an older token is stale."""
    until: float | None = None
    """When the lease of that delivery ends."""
    owner: int = 0
    """The number of the session that it was delivered to."""

    def has_expired(self, wall: float) -> bool:
        """Whether it may not be delivered any more."""
        expires_at = self.message.expires_at
        return expires_at is not None and expires_at <= wall


class _Line:
    """The ready entries of one rank. What comes in its turn costs the same at any depth; what returns is sorted."""

    __slots__ = ("fresh", "rank", "returned")

    def __init__(self, rank: int) -> None:
        self.rank = rank
        self.fresh: deque[Entry] = deque()
        self.returned: list[tuple[int, Entry]] = []

    def __len__(self) -> int:
        return len(self.fresh) + len(self.returned)

    def __iter__(self) -> Iterator[Entry]:
        """In the order of delivery."""
        if not self.returned:
            return iter(self.fresh)
        back = (entry for _, entry in sorted(self.returned))
        return heapq.merge(back, self.fresh, key=_place)

    def add(self, entry: Entry) -> None:
        if not self.fresh or entry.place > self.fresh[-1].place:
            self.fresh.append(entry)
        else:
            heapq.heappush(self.returned, (entry.place, entry))

    def head(self) -> Entry | None:
        if self.returned and (not self.fresh or self.returned[0][0] < self.fresh[0].place):
            return self.returned[0][1]
        return self.fresh[0] if self.fresh else None

    def drop(self, head: Entry) -> None:
        if self.fresh and self.fresh[0] is head:
            self.fresh.popleft()
        elif self.returned and self.returned[0][1] is head:
            heapq.heappop(self.returned)

    def keep(self, entries: list[Entry]) -> None:
        """Hold nothing but these, which are in order."""
        self.fresh, self.returned = deque(entries), []


class Store:
    """One queue."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.delayed: list[tuple[float, int, Entry]] = []
        self.leases: list[tuple[float, int]] = []
        """When to look at which token; one that was prolonged or settled is found out then."""
        self.held: dict[int, Entry] = {}
        self._lines: list[_Line] = []
        """In the order of their ranks."""
        self._first_expiry = math.inf
        """Nothing that waits expires before."""

    def size(self) -> int:
        """How many wait, ready or delayed; the expired ones that nobody met count until `sweep`."""
        return sum(map(len, self._lines)) + len(self.delayed)

    def add(self, entry: Entry, due: float | None) -> None:
        """Let it wait: ready from now on, or until `due`."""
        expires_at = entry.message.expires_at
        if expires_at is not None and expires_at < self._first_expiry:
            self._first_expiry = expires_at
        if due is None:
            self._line(entry.rank).add(entry)
        else:
            heapq.heappush(self.delayed, (due, entry.place, entry))

    def _line(self, rank: int) -> _Line:
        for line in self._lines:
            if line.rank == rank:
                return line
        line = _Line(rank)
        self._lines = sorted([*self._lines, line], key=lambda one: one.rank)
        return line

    # Delivering

    def next_ready(self, wall: float) -> Entry | None:
        """The entry whose turn it is, still in its place; the expired ones before it are dropped."""
        for line in self._lines:
            while (entry := line.head()) is not None:
                if not entry.has_expired(wall):
                    return entry
                line.drop(entry)
        return None

    def remove_ready(self, entry: Entry) -> None:
        """Take what `next_ready` gave out of its place."""
        self._line(entry.rank).drop(entry)

    def hold(self, entry: Entry, token: int, until: float | None, owner: int) -> None:
        """A consumer has it now, under `token`, until that clock time; `None`: for as long as it likes."""
        entry.token, entry.until, entry.owner = token, until, owner
        if until is not None:
            self.watch(token, until)
        self.held[token] = entry

    def watch(self, token: int, until: float) -> None:
        """Look at that delivery when its lease may have ended."""
        heapq.heappush(self.leases, (until, token))
        if len(self.leases) > 2 * len(self.held) + _SLACK:
            self.leases = [(e.until, t) for t, e in self.held.items() if e.until is not None]
            self.leases.append((until, token))
            heapq.heapify(self.leases)

    def take_back(self, token: int, *, counted: bool) -> None:
        """End that delivery from this side: the message is ready again, in its old place."""
        entry = self.held[token]
        if entry.token == token:
            entry.count += counted
            self.add(entry, None)
        del self.held[token]

    def advance(self, now: float, wall: float, *, counted: bool) -> None:
        """Make ready what is due, and take back what was held too long; `counted` adds one to its count."""
        delayed, leases = self.delayed, self.leases
        while delayed and delayed[0][0] <= wall:
            self._line(delayed[0][2].rank).add(delayed[0][2])
            heapq.heappop(delayed)
        while leases and leases[0][0] <= now:
            token = leases[0][1]
            entry = self.held.get(token)
            if entry is not None and entry.token == token and entry.until is not None and entry.until > now:
                heapq.heapreplace(leases, (entry.until, token))
                continue
            if entry is not None:
                self.take_back(token, counted=counted)
            heapq.heappop(leases)

    def next_due(self, now: float, wall: float) -> float:
        """Seconds after which something may become ready by itself, if nobody sets the wall clock meanwhile."""
        return min(
            self.delayed[0][0] - wall if self.delayed else math.inf,
            self.leases[0][0] - now if self.leases else math.inf,
        )

    # Looking after it; these take time that grows with the queue

    def sweep(self, wall: float) -> None:
        """Drop whatever has expired, wherever it waits."""
        if wall < self._first_expiry:
            return
        for line in self._lines:
            line.keep([entry for entry in line if not entry.has_expired(wall)])
        self.delayed = [item for item in self.delayed if not item[2].has_expired(wall)]
        heapq.heapify(self.delayed)
        expiries = (entry.message.expires_at for entry in self._waiting())
        self._first_expiry = min((at for at in expiries if at is not None), default=math.inf)

    def first(self, limit: int) -> list[Entry]:
        """The next `limit` ready ones, in the order of delivery."""
        return list(islice((entry for line in self._lines for entry in line), limit))

    def stats(self, wall: float) -> Stats:
        """Count what is here."""
        ready = sum(map(len, self._lines))
        oldest = min((entry.enqueued_at for line in self._lines for entry in line), default=None)
        age = None if oldest is None else max(0.0, wall - oldest)
        return Stats(ready=ready, delayed=len(self.delayed), leased=len(self.held), oldest=age)

    def cancel(self, message_id: str) -> bool:
        """Forget those of that id that nobody holds; false when there are none."""
        before = self.size()
        for line in self._lines:
            if any(entry.id == message_id for entry in line):
                line.keep([entry for entry in line if entry.id != message_id])
        self.delayed = [item for item in self.delayed if item[2].id != message_id]
        heapq.heapify(self.delayed)
        return self.size() < before

    def has(self, unique: str, wall: float) -> bool:
        """Whether one that was put with `unique` waits or is held, and has not expired."""
        here = (*self._waiting(), *self.held.values())
        return any(entry.message.unique == unique and not entry.has_expired(wall) for entry in here)

    def purge(self) -> int:
        """Forget all that nobody holds; how many those were."""
        removed = self.size()
        self._lines, self.delayed, self._first_expiry = [], [], math.inf
        return removed

    def _waiting(self) -> Iterator[Entry]:
        for line in self._lines:
            yield from line
        yield from (item[2] for item in self.delayed)


def _place(entry: Entry) -> int:
    return entry.place
