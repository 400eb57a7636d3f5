"""Taking messages: those of one queue that may be delivered now, leased in the same statement."""

import math
import operator
import time
from typing import Final

from unimq.driver import Delivery
from unimq_sqlite import statements as sql
from unimq_sqlite.faults import locked
from unimq_sqlite.rows import delivery_of
from unimq_sqlite.schema import Row
from unimq_sqlite.store import Store

__all__ = ["look", "ripen", "take"]

_place: Final = operator.itemgetter(1, 0)
"""Rank and place of a row: the order of delivery."""
_GRACE: Final = 1.0
"""Seconds beyond its deadline that a get waits for the lock, where a message is ready: a poll's grace."""
_RIPENING_MOST: Final = 0.1
"""Seconds that a get whose deadline is over spends on what is due before it says that there is nothing."""


def take(store: Store, queue: str, limit: int, lease: float, deadline: float) -> list[Delivery]:
    """Up to `limit` messages, each held for `lease` seconds from now; empty when there are none.

    One statement as a rule. It finds nothing when the queue is empty, and when something is due, which must be made
    ready first, or what has a higher priority would come late.
    """

    def statement() -> tuple[list[Row], float]:
        now = time.time()
        due = now + lease
        if limit == 1:
            return store.execute(sql.TAKE_ONE, (queue, now, due)).fetchall(), due
        return store.execute(sql.TAKE_MANY, (queue, now, due, limit)).fetchall(), due

    until = max(deadline, time.monotonic() + _GRACE)
    taken = store.attempt(statement)
    while taken is None or not taken[0]:
        # Looking takes no lock: an empty queue is empty even while the file is locked.
        ready, next_due = look(store, queue, deadline)
        if not ready and next_due > time.time():
            return []
        if taken is not None:
            taken = _take_what_is_due(store, queue, limit, lease, until)
            break
        if time.monotonic() >= until:
            raise locked(store.path)
        taken = store.attempt(statement)
    return _deliveries(queue, *taken)


def _deliveries(queue: str, rows: list[Row], due: float) -> list[Delivery]:
    if len(rows) > 1:
        rows.sort(key=_place)  # RETURNING promises no order
    held_until = time.monotonic() + due - time.time()
    return [delivery_of(queue, row, held_until) for row in rows]


def _take_what_is_due(store: Store, queue: str, limit: int, lease: float, deadline: float) -> tuple[list[Row], float]:
    give_up = max(deadline, time.monotonic() + _RIPENING_MOST)
    while True:
        with store.transaction(deadline):
            now = time.time()
            due = now + lease
            complete = _ripen_some(store, queue, now)
            rows: list[Row] = store.execute(sql.TAKE_ANYWAY, (queue, now, due, limit)).fetchall()
        if rows or complete or time.monotonic() >= give_up:
            return rows, due


def ripen(store: Store, queue: str, deadline: float) -> None:
    """Make ready what is due, and drop what has expired, until `deadline`."""
    complete = False
    while not complete:
        with store.transaction(deadline):
            complete = _ripen_some(store, queue, time.time())
        complete = complete or time.monotonic() >= deadline


def _ripen_some(store: Store, queue: str, now: float) -> bool:
    """One chunk of that, those that were due earliest first, inside a transaction; whether that was all."""
    dropped = store.execute(sql.DROP_EXPIRED, (queue, now)).rowcount
    return dropped + store.execute(sql.RIPEN, (queue, now)).rowcount < sql.CHUNK


def look(store: Store, queue: str, deadline: float) -> tuple[bool, float]:
    """Whether something waits, and when something changes by itself (Unix epoch, seconds). Takes no lock."""
    ready, due = store.rows(deadline, sql.LOOK, (queue,))[0]
    return bool(ready), math.inf if due is None else due
