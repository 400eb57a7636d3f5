"""One connection to a store, with the methods of the driver contract."""

import contextlib
import sqlite3
import time
from collections.abc import Sequence
from typing import Any

from unimq.capabilities import Capabilities
from unimq.driver import Delivery, Outgoing, Settling, Stats
from unimq.errors import Full, LeaseLost, UnimqError
from unimq_sqlite import statements as sql
from unimq_sqlite.rows import delivery_of, id_of, parse_id, row_of
from unimq_sqlite.schema import Row
from unimq_sqlite.store import Store
from unimq_sqlite.waiting import Bell, Waiter

__all__ = ["SQLiteSession"]


class SQLiteSession:
    """A session of the driver contract."""

    settling: Settling = "any-session"

    def __init__(self, store: Store, capabilities: Capabilities, bell: Bell, max_size: int | None) -> None:
        self.capabilities = capabilities
        self._store = store
        self._execute = store.execute
        self._bell = bell
        self._waiter = Waiter(store, bell)
        self._max_size = max_size
        self._turn = 0

    # Messages

    def send(self, queue: str, messages: Sequence[Outgoing], deadline: float) -> Sequence[str | UnimqError | None]:
        """Store one by a single statement, many in one transaction."""
        if len(messages) == 1 and self._max_size is None:
            return [self._insert_one(queue, messages[0], deadline)]
        with self._store.transaction(deadline):
            room = len(messages) if self._max_size is None else self._room(queue, self._max_size)
            ids: list[str | UnimqError | None] = list(self._insert(queue, messages[:room]))
        self._bell.ring()
        full = Full(f"queue {queue!r} of {self._store.path!r} is full, max_size={self._max_size}: nothing was stored")
        return ids + [full] * (len(messages) - len(ids))

    def _insert_one(self, queue: str, message: Outgoing, deadline: float) -> str:
        statement = sql.INSERT
        values = row_of(queue, message, None, time.time())
        _, _, rank, due, nonce, count, own_id, expires, enqueued, headers, body = values
        if due is None and not count and own_id is None and expires is None and headers is None:
            statement, values = sql.INSERT_PLAIN, (queue, rank, nonce, enqueued, body)
        seq = self._store.write(deadline, statement, values).lastrowid or 0
        self._bell.ring()
        return id_of(seq, nonce, own_id)

    def _room(self, queue: str, most: int) -> int:
        return max(0, most - int(self._execute(sql.WAITING, (queue, most)).fetchall()[0][0]))

    def _insert(self, queue: str, messages: Sequence[Outgoing]) -> list[str]:
        now = time.time()
        first = int(self._execute(sql.LAST).fetchall()[0][0]) + 1
        rows = [row_of(queue, message, first + number, now) for number, message in enumerate(messages)]
        self._store.connection.executemany(sql.INSERT, rows)
        return [id_of(row[0], row[4], row[6]) for row in rows]

    def receive(self, queues: Sequence[str], limit: int, lease: float, deadline: float) -> Sequence[Delivery]:
        """Take what is there; wait for the first."""
        found = self._take(queues, limit, lease, deadline)
        if found or time.monotonic() >= deadline:
            return found
        with self._waiter as waiter:
            while True:
                mark = self._store.run(deadline, waiter.mark)  # before looking, so that nothing is overlooked
                found = self._take(queues, limit, lease, deadline)
                if found or waiter.interrupted or time.monotonic() >= deadline:
                    return found
                due = min(self._next_due(name) for name in queues)
                self._store.run(deadline, lambda: waiter.wait(mark, min(deadline, due)))  # noqa: B023 - called at once

    def _take(self, queues: Sequence[str], limit: int, lease: float, deadline: float) -> list[Delivery]:
        if len(queues) > 1:  # the next one first, or a busy queue would starve the others
            self._turn = (self._turn + 1) % len(queues)
            queues = [*queues[self._turn :], *queues[: self._turn]]
        found: list[Delivery] = []
        for queue in queues:
            while len(found) < limit and (rows := self._take_from(queue, limit - len(found), lease, deadline)):
                found += rows
        return found

    def _take_from(self, queue: str, limit: int, lease: float, deadline: float) -> list[Delivery]:
        """Up to `limit` of one queue; empty when it has none. Those that have expired are dropped."""
        while True:
            now = time.time()
            due = now + lease
            rows = self._lease(queue, limit, now, due, deadline)
            if not rows:
                return []
            fresh = [row for row in rows if row[5] is None or row[5] > now]
            if len(fresh) < len(rows):
                gone = [(row[0],) for row in rows if row[5] is not None and row[5] <= now]
                with self._store.transaction(deadline):
                    self._store.connection.executemany(sql.DROP, gone)
            if fresh:
                return [delivery_of(queue, row, due) for row in fresh]

    def _lease(self, queue: str, limit: int, now: float, due: float, deadline: float) -> list[Row]:
        statement: tuple[str, tuple[Any, ...]] = (sql.TAKE_ONE, (queue, now, due))
        if limit > 1:
            statement = (sql.TAKE_MANY, (queue, now, due, limit))
        # fetchall ends the statement: a cursor that is left open would keep the transaction open.
        rows: list[Row] = self._store.run(deadline, lambda: self._execute(*statement).fetchall())
        if not rows and self._make_ready(queue, now, deadline):
            rows = self._store.run(deadline, lambda: self._execute(*statement).fetchall())
        if len(rows) > 1:
            rows.sort(key=lambda row: row[1::-1])  # by rank and place; RETURNING promises no order
        return rows

    def _make_ready(self, queue: str, now: float, deadline: float) -> bool:
        """Whether there was anything whose delay or lease was over."""
        if self._next_due(queue, now) > time.monotonic():
            return False
        self._store.run(deadline, lambda: self._execute(sql.MAKE_READY, (queue, now)))
        return True

    def _next_due(self, queue: str, now: float | None = None) -> float:
        """When something of the queue becomes ready by itself, as a monotonic time."""
        due = self._store.run(0.0, lambda: self._execute(sql.NEXT_DUE, (queue,)).fetchall())[0][0]
        if due is None:
            return float("inf")
        return time.monotonic() + max(0.0, float(due) - (time.time() if now is None else now))

    # Settling

    def ack(self, deliveries: Sequence[Delivery], deadline: float) -> Sequence[UnimqError | None]:
        """Remove them."""
        return self._settle(sql.ACK, [(*d.token, time.time()) for d in deliveries], deliveries, deadline)

    def release(self, deliveries: Sequence[Delivery], delay: float, deadline: float) -> Sequence[UnimqError | None]:
        """Give them back, to their places."""
        now = time.time()
        due = now + delay if delay else None
        outcomes = self._settle(sql.RELEASE, [(due, *d.token, now) for d in deliveries], deliveries, deadline)
        self._bell.ring()
        return outcomes

    def _settle(
        self, statement: str, values: list[tuple[Any, ...]], deliveries: Sequence[Delivery], deadline: float
    ) -> Sequence[UnimqError | None]:
        if len(values) == 1:
            done = self._store.write(deadline, statement, values[0]).rowcount
            return [None if done else _lost(deliveries[0])]
        with self._store.transaction(deadline):
            counts = [self._execute(statement, one).rowcount for one in values]
        return [None if done else _lost(one) for one, done in zip(deliveries, counts, strict=True)]

    def move(self, delivery: Delivery, queue: str, message: Outgoing, deadline: float) -> str | None:
        """Store `message` and remove `delivery`, in one transaction."""
        with self._store.transaction(deadline):
            if not self._execute(sql.ACK, (*delivery.token, time.time())).rowcount:
                raise _lost(delivery)
            moved = self._insert(queue, [message])[0]
        self._bell.ring()
        return moved

    def extend(self, delivery: Delivery, seconds: float, deadline: float) -> float:
        """Set the end of the lease."""
        now = time.time()
        values = (now + seconds, *delivery.token, now)
        if not self._store.run(deadline, lambda: self._execute(sql.EXTEND, values).rowcount):
            raise _lost(delivery)
        return seconds

    # Looking after it

    def peek(self, queue: str, limit: int, deadline: float) -> Sequence[Delivery]:
        """The next ones, in their order."""
        now = time.time()
        self._make_ready(queue, now, deadline)
        rows = self._store.run(deadline, lambda: self._execute(sql.PEEK, (queue, now, limit)).fetchall())
        return [delivery_of(queue, row, None) for row in rows]

    def cancel(self, queue: str, message_id: str, deadline: float) -> bool:
        """Remove one that nobody holds."""
        now, ours = time.time(), parse_id(message_id)
        with self._store.transaction(deadline):
            done = self._execute(sql.CANCEL_OWN, (queue, message_id, now)).rowcount
            if not done and ours is not None:
                done = self._execute(sql.CANCEL, (queue, *ours, now)).rowcount
        return done > 0

    def stats(self, queue: str, deadline: float) -> Stats:
        """Count; in time that grows with the queue."""
        now = time.time()
        self._make_ready(queue, now, deadline)
        ready, oldest = self._store.run(deadline, lambda: self._execute(sql.COUNT_READY, (queue, now)).fetchall())[0]
        delayed, leased = self._store.run(deadline, lambda: self._execute(sql.COUNT_DUE, (queue,)).fetchall())[0]
        return Stats(ready, delayed, leased, None if oldest is None else max(0.0, now - oldest))

    def purge(self, queue: str, deadline: float) -> int:
        """Remove what nobody holds, in one transaction."""
        self._make_ready(queue, time.time(), deadline)
        with self._store.transaction(deadline):
            ready = self._execute(sql.DELETE_READY, (queue,)).rowcount
            return ready + self._execute(sql.DELETE_DELAYED, (queue,)).rowcount

    def delete(self, queue: str, deadline: float) -> None:
        """Remove all of it."""
        with self._store.transaction(deadline):
            self._execute(sql.DELETE_READY, (queue,))
            self._execute(sql.DELETE_DUE, (queue,))

    def queues(self, deadline: float) -> Sequence[str]:
        """Those that hold messages."""
        return [name for (name,) in self._store.run(deadline, lambda: self._execute(sql.QUEUES).fetchall())]

    # The connection

    def ping(self, deadline: float) -> str:
        """Read from the file."""
        self._store.run(deadline, lambda: self._execute("PRAGMA user_version").fetchall())
        return f"SQLite {sqlite3.sqlite_version}"

    def interrupt(self) -> None:
        """Wake the receive that waits."""
        self._waiter.interrupt()

    def close(self) -> None:
        """Close the connection."""
        with contextlib.suppress(sqlite3.Error):
            self._store.connection.close()


def _lost(delivery: Delivery) -> LeaseLost:
    return LeaseLost(f"message {delivery.id!r} of queue {delivery.queue!r}: its lease ended, or it was delivered again")
