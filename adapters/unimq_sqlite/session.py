"""One connection to a store, with the methods of the driver contract."""

import contextlib
import math
import sqlite3
import time
from collections.abc import Sequence
from typing import Any, Final

from unimq.capabilities import Capabilities
from unimq.driver import BaseSession, Delivery, Outgoing, Settling, Stats
from unimq.errors import Full, LeaseLost, Timeout, UnimqError
from unimq_sqlite import statements as sql
from unimq_sqlite.rows import delivery_of, id_of, is_plain, nonces, parse_id, plain_row_of, row_of
from unimq_sqlite.sharing import Bell
from unimq_sqlite.store import Store
from unimq_sqlite.taking import look, ripen, take
from unimq_sqlite.waiting import Waiter

__all__ = ["SQLiteSession"]

_MENDED: Final = (3, 51, 3)
_FAULT: Final = "; 3.51.3 mends a rare fault of the log that may damage a file: a newer Python build may have it"
_LOOK_AT_CLOCK_EVERY: Final = 2.0
"""Seconds after which a wait reckons anew when something is due: the clock may have been set, the machine asleep."""


class SQLiteSession(BaseSession):
    """A session of the driver contract."""

    settling: Settling = "any-session"

    def __init__(self, store: Store, capabilities: Capabilities, bell: Bell, max_size: int | None) -> None:
        self.capabilities = capabilities
        self._store = store
        self._execute = store.execute
        self._bell = bell
        self._waiter = Waiter(store, bell)
        self._max_size = max_size
        self._nonces = nonces()
        self._turn = 0

    # Messages

    def send(self, queue: str, messages: Sequence[Outgoing], deadline: float) -> Sequence[str | UnimqError | None]:
        """Store one by a single statement, many in one transaction."""
        self._store.check_now_and_then()
        if len(messages) == 1 and self._max_size is None:
            outcomes: list[str | UnimqError | None] = [self._insert_one(queue, messages[0], deadline)]
        else:
            outcomes = self._send_many(queue, messages, deadline)
        self._bell.ring(queue, len(messages))
        return outcomes

    def _insert_one(self, queue: str, message: Outgoing, deadline: float) -> str:
        nonce = next(self._nonces)
        plain = is_plain(message)
        values = (plain_row_of if plain else row_of)(queue, message, None, nonce, time.time())
        cursor = self._store.write(deadline, sql.INSERT_PLAIN if plain else sql.INSERT, values)
        return id_of(cursor.lastrowid or 0, nonce, message.id)

    def _send_many(self, queue: str, messages: Sequence[Outgoing], deadline: float) -> list[str | UnimqError | None]:
        with self._store.transaction(deadline):
            room = len(messages) if self._max_size is None else self._room(queue, self._max_size)
            ids = self._insert(queue, messages[:room])
        refused = len(messages) - len(ids)
        if not refused:
            return [*ids]
        where = f"queue {queue!r} of sqlite store {self._store.path!r}"
        full = Full(f"{where} holds max_size={self._max_size} messages or more: nothing was stored")
        return [*ids, *[full] * refused]

    def _insert(self, queue: str, messages: Sequence[Outgoing]) -> list[str]:
        """Store them inside a transaction that has the write lock: nobody else takes the next places."""
        now, nonce = time.time(), next(self._nonces)
        first = int(self._execute(sql.LAST).fetchall()[0][0]) + 1
        plain = all(map(is_plain, messages))
        make = plain_row_of if plain else row_of
        rows = [make(queue, message, seq, nonce, now) for seq, message in enumerate(messages, first)]
        self._store.connection.executemany(sql.INSERT_PLAIN if plain else sql.INSERT, rows)
        return [id_of(seq, nonce, message.id) for seq, message in enumerate(messages, first)]

    def _room(self, queue: str, most: int) -> int:
        waiting = int(self._execute(sql.WAITING, (queue, most)).fetchall()[0][0])
        if waiting >= most:  # unless some have expired
            now = time.time()
            while self._execute(sql.DROP_EXPIRED, (queue, now)).rowcount:
                waiting = int(self._execute(sql.WAITING, (queue, most)).fetchall()[0][0])
        return max(0, most - waiting)

    def receive(
        self, queues: Sequence[str], limit: int, lease: float, deadline: float, *, ahead: bool = False
    ) -> Sequence[Delivery]:
        """Take what is there; wait for the first."""
        self._store.check_now_and_then()
        waiter = self._waiter
        waiter.begin()
        try:
            found = self._take(queues, limit, lease, deadline)
            while not found and self._until_ready(queues, deadline):
                found = self._take(queues, limit, lease, deadline)
            return found
        finally:
            waiter.end()

    def watch(self, queues: Sequence[str], deadline: float) -> bool:
        """Sleep until a put, or the end of a delay or lease, makes something ready."""
        self._waiter.begin()
        try:
            return self._until_ready(queues, deadline)
        finally:
            self._waiter.end()

    def _until_ready(self, queues: Sequence[str], deadline: float) -> bool:
        """Wait until there may be something to take; false at `deadline`, or when interrupted."""
        waiter = self._waiter
        while not waiter.interrupted and time.monotonic() < deadline:
            mark = waiter.mark()  # before looking, so that nothing is overlooked
            ready = self._next_ready(queues)
            if ready <= time.monotonic():
                return True
            waiter.wait(tuple(queues), mark, min(deadline, ready, time.monotonic() + _LOOK_AT_CLOCK_EVERY))
        return False

    def _take(self, queues: Sequence[str], limit: int, lease: float, deadline: float) -> list[Delivery]:
        if len(queues) == 1:
            return take(self._store, queues[0], limit, lease, deadline)
        # The next one first, or a busy queue would starve the others.
        self._turn = (self._turn + 1) % len(queues)
        found: list[Delivery] = []
        for queue in [*queues[self._turn :], *queues[: self._turn]]:
            if len(found) == limit:
                break
            try:
                found += take(self._store, queue, limit - len(found), lease, deadline)
            except UnimqError:
                if not found:  # or what was taken would be nobody's until its lease ends
                    raise
                break
        return found

    def _next_ready(self, queues: Sequence[str]) -> float:
        """When there may be something to take; now where something waits. Takes no lock."""
        looks = [look(self._store, queue, 0.0) for queue in queues]
        if any(ready for ready, _ in looks):
            return time.monotonic()
        return time.monotonic() + min((due for _, due in looks), default=math.inf) - time.time()

    # Settling

    def ack(self, deliveries: Sequence[Delivery], deadline: float) -> Sequence[UnimqError | None]:
        """Remove them."""
        return self._settle(sql.ACK, (), deliveries, deadline)

    def release(
        self, deliveries: Sequence[Delivery], delay: float, deadline: float, *, unseen: bool = False
    ) -> Sequence[UnimqError | None]:
        """Give them back, to their places."""
        if unseen:
            outcomes = self._settle(sql.RELEASE_UNSEEN, (), deliveries, deadline)
        elif delay:
            outcomes = self._settle(sql.RELEASE_LATER, (time.time() + delay,), deliveries, deadline)
        else:
            outcomes = self._settle(sql.RELEASE, (), deliveries, deadline)
        for delivery in deliveries:
            self._bell.ring(delivery.queue, 1)
        return outcomes

    def _settle(
        self, statement: str, first: tuple[float, ...], deliveries: Sequence[Delivery], deadline: float
    ) -> Sequence[UnimqError | None]:
        if len(deliveries) == 1:
            # A lease that ends while the lock is waited for counts as held, unless somebody took the message: the token
            # has its count.
            values = (*first, *deliveries[0].token, time.time())
            done = self._store.write(deadline, statement, values).rowcount
            return [None if done else _lost(deliveries[0])]
        with self._store.transaction(deadline):
            now = time.time()
            all_values = [(*first, *one.token, now) for one in deliveries]
            self._execute("SAVEPOINT together")
            if self._store.connection.executemany(statement, all_values).rowcount == len(all_values):
                return [None] * len(all_values)
            # Some were lost: one by one it is known which.
            self._execute("ROLLBACK TO together")
            counts = [self._execute(statement, one).rowcount for one in all_values]
        return [None if done else _lost(one) for one, done in zip(deliveries, counts, strict=True)]

    def move(
        self, queue: str, pairs: Sequence[tuple[Delivery, Outgoing]], deadline: float
    ) -> Sequence[str | UnimqError | None]:
        """Store the messages and remove the deliveries, in one transaction."""
        with self._store.transaction(deadline):
            now = time.time()
            removed = [self._execute(sql.ACK, (*one.token, now)).rowcount for one, _ in pairs]
            kept = [message for done, (_, message) in zip(removed, pairs, strict=True) if done]
            ids = iter(self._insert(queue, kept) if kept else ())
        self._bell.ring(queue, len(kept))
        return [next(ids) if done else _lost(one) for done, (one, _) in zip(removed, pairs, strict=True)]

    def extend(self, deliveries: Sequence[Delivery], seconds: float, deadline: float) -> Sequence[float | UnimqError]:
        """Set the ends of the leases."""
        outcomes = self._settle(sql.EXTEND, (time.time() + seconds,), deliveries, deadline)
        return [seconds if outcome is None else outcome for outcome in outcomes]

    # Looking after it

    def peek(self, queue: str, limit: int, deadline: float) -> Sequence[Delivery]:
        """The next ones, in their order."""
        rows = self._store.rows(deadline, sql.PEEK, (queue, time.time(), limit))
        return [delivery_of(queue, row, None) for row in rows]

    def cancel(self, queue: str, message_id: str, deadline: float) -> bool:
        """Remove what has that id and is held by nobody: all of it, where a repeated put stored it more than once."""
        place = parse_id(message_id)
        if place is not None and self._delete(deadline, sql.CANCEL, queue, *place):
            return True
        return self._delete(deadline, sql.CANCEL_OWN, queue, message_id) > 0

    def _delete(self, deadline: float, statement: str, queue: str, *values: int | str) -> int:
        return self._store.run(deadline, lambda: self._execute(statement, (queue, time.time(), *values)).rowcount)

    def stats(self, queue: str, deadline: float) -> Stats:
        """Count; in time that grows with the queue."""
        now = time.time()
        row: tuple[Any, ...] = self._store.rows(deadline, sql.STATS, (queue, now))[0]
        ready, oldest, ripe, oldest_ripe, delayed, leased = row
        oldest = min((one for one in (oldest, oldest_ripe) if isinstance(one, float)), default=None)
        return Stats(ready + ripe, delayed, leased, None if oldest is None else max(0.0, now - oldest))

    def purge(self, queue: str, deadline: float) -> int:
        """Remove what nobody holds, in small transactions; ends early at the deadline."""
        ripen(self._store, queue, deadline)
        return self._delete_all(queue, (sql.DELETE_READY, sql.DELETE_DELAYED), deadline)[0]

    def delete(self, queue: str, deadline: float) -> None:
        """Remove all of it, in small transactions."""
        removed, complete = self._delete_all(queue, (sql.DELETE_READY, sql.DELETE_DUE), deadline)
        if not complete:
            where = f"queue {queue!r} of sqlite store {self._store.path!r}"
            msg = f"{where}: {removed} messages were removed, not all in time: delete it again"
            raise Timeout(msg)

    def _delete_all(self, queue: str, statements: tuple[str, ...], deadline: float) -> tuple[int, bool]:
        """How many were removed, of those that were there at the start, and whether that were all."""
        last = self._store.rows(deadline, sql.LAST)[0][0]
        removed = 0
        for statement in statements:
            count = sql.CHUNK
            while count == sql.CHUNK:
                values = (queue, last, sql.CHUNK)
                count = self._store.run(deadline, lambda: self._execute(statement, values).rowcount)  # noqa: B023
                removed += count
                if count and time.monotonic() >= deadline:
                    return removed, False
        return removed, True

    def queues(self, deadline: float) -> Sequence[str]:
        """Those that hold messages."""
        return [name for (name,) in self._store.rows(deadline, sql.QUEUES)]

    # The connection

    def ping(self, deadline: float) -> str:
        """Read from the file, which must still be at its path."""
        self._store.check()
        self._store.rows(deadline, sql.LAST)
        return f"SQLite {sqlite3.sqlite_version}{_FAULT if sqlite3.sqlite_version_info < _MENDED else ''}"

    def interrupt(self) -> None:
        """Wake the receive that waits."""
        self._waiter.interrupt()

    def close(self) -> None:
        """Close the connection."""
        with contextlib.suppress(sqlite3.Error):
            self._store.connection.close()


def _lost(delivery: Delivery) -> LeaseLost:
    return LeaseLost(f"message {delivery.id!r} of queue {delivery.queue!r}: its lease ended, or it was delivered again")
