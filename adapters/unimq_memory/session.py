"""One client's view of a broker. Nothing here knows a backend: the rules come from its `Behaviour`."""

import time
from collections.abc import Sequence
from typing import NoReturn

from unimq.capabilities import Capabilities
from unimq.driver import Delivery, Outgoing, Settling, Stats
from unimq.errors import ConnectionLost, Full, LeaseLost, UnimqError, Unsupported
from unimq_memory.behaviour import Behaviour
from unimq_memory.broker import Broker, Entry, Store

__all__ = ["MemorySession"]


class MemorySession:
    """A session of the driver contract."""

    def __init__(self, broker: Broker, capabilities: Capabilities, max_size: int | None) -> None:
        self.capabilities = capabilities
        self._behaviour = Behaviour.of(capabilities)
        self.settling: Settling = self._behaviour.settling
        self._broker = broker
        self._max_size = max_size
        self._mine: dict[int, Store] = {}
        """Where what this session holds is, by token; only where a session is bound to its deliveries."""
        self._bound = self.settling != "any-session"
        self._turn = 0
        self._interrupted = False
        self._receiving = False
        self._closed = False

    # Messages

    def send(self, queue: str, messages: Sequence[Outgoing], deadline: float) -> Sequence[str | UnimqError | None]:
        """Store them."""
        broker = self._broker
        with broker.changed:
            self._check_open()
            store = broker.store(queue)
            outcomes = [self._full(store) or self._add(store, message) for message in messages]
            broker.wake()
        return outcomes

    def _full(self, store: Store) -> Full | None:
        if self._max_size is None or store.waiting < self._max_size:
            return None
        where = f"queue {store.name!r} of memory://{self._broker.name}"
        return Full(f"{where} holds {store.waiting} messages, max_size={self._max_size}: nothing was stored")

    def _add(self, store: Store, message: Outgoing) -> str | None:
        broker, behaviour = self._broker, self._behaviour
        number = next(broker.numbers)
        entry = Entry(message, message.id or f"{number:x}", number, behaviour.rank(message.priority), broker.wall())
        store.add(entry, broker.clock() + behaviour.wait(message.delay) if message.delay else None)
        return entry.id if behaviour.id else None

    def receive(self, queues: Sequence[str], limit: int, lease: float, deadline: float) -> Sequence[Delivery]:
        """Wait for the first, take what is there."""
        broker = self._broker
        with broker.changed:
            self._receiving = True
            try:
                while True:
                    self._check_open()
                    found = self._take(queues, limit, lease)
                    rest = deadline - time.monotonic()
                    if found or rest <= 0 or self._interrupted:
                        return found
                    due = min((d for name in queues if (d := broker.store(name).next_due()) is not None), default=None)
                    if due is not None:
                        rest = min(rest, max(0.0, due - broker.clock()))
                    broker.waiters += 1
                    try:
                        broker.changed.wait(min(rest, 3600.0))
                    finally:
                        broker.waiters -= 1
            finally:
                self._receiving = self._interrupted = False

    def _take(self, queues: Sequence[str], limit: int, lease: float) -> list[Delivery]:
        if len(queues) > 1:  # the next one first, or a busy queue would starve the others
            self._turn = (self._turn + 1) % len(queues)
            queues = [*queues[self._turn :], *queues[: self._turn]]
        broker = self._broker
        now, wall = broker.clock(), broker.wall()
        found: list[Delivery] = []
        for name in queues:
            store = broker.stores.get(name)
            while store is not None and len(found) < limit and (entry := store.take(now, wall)) is not None:
                found.append(self._deliver(store, entry, lease, now))
        return found

    def _deliver(self, store: Store, entry: Entry, lease: float, now: float) -> Delivery:
        behaviour = self._behaviour
        token, until = None, None
        if not behaviour.destructive:
            token = next(self._broker.numbers)
            if behaviour.lease_by != "connection":
                until = now + ((entry.lease or lease) if behaviour.lease_by == "put" else lease)
            store.hold(entry, token, until)
            if self._bound:
                self._mine[token] = store
        if behaviour.counts == "fetches":
            entry.count += 1
        return self._shown(store, entry, (store.name, token), until)

    def _shown(self, store: Store, entry: Entry, token: object, until: float | None) -> Delivery:
        behaviour = self._behaviour
        count = None
        if behaviour.counts is not None:
            count = entry.count if behaviour.counts == "fetches" else entry.count + 1
        return Delivery(
            store.name,
            entry.body,
            token,
            entry.headers if behaviour.headers else None,
            entry.id if behaviour.id else None,
            entry.priority if behaviour.priority else None,
            count,
            None,
            entry.enqueued_at if behaviour.enqueued_at else None,
            entry.expires_at,
            until,
        )

    # Settling

    def ack(self, deliveries: Sequence[Delivery], deadline: float) -> Sequence[UnimqError | None]:
        """Remove them."""
        with self._broker.changed:
            self._check_open()
            return [self._end(delivery) for delivery in deliveries]

    def release(self, deliveries: Sequence[Delivery], delay: float, deadline: float) -> Sequence[UnimqError | None]:
        """Give them back."""
        if self.capabilities.nack.level != "native":
            self._refuse("nack")
        with self._broker.changed:
            self._check_open()
            outcomes: list[UnimqError | None] = []
            for delivery in deliveries:
                entry = self._held(delivery)
                outcomes.append(self._end(delivery))
                if entry is not None:
                    self._give_back(self._broker.store(delivery.queue), entry, delay)
            self._broker.wake()
            return outcomes

    def _give_back(self, store: Store, entry: Entry, delay: float) -> None:
        entry.token = 0
        if not self._behaviour.to_front:
            entry.place = next(self._broker.numbers)
        if self._behaviour.counts == "nacks":
            entry.count += 1
        store.add(entry, self._broker.clock() + self._behaviour.wait(delay) if delay else None)

    def move(self, delivery: Delivery, queue: str, message: Outgoing, deadline: float) -> str | None:
        """Store `message` and remove `delivery`, in one step."""
        with self._broker.changed:
            self._check_open()
            lost = self._end(delivery)
            if lost is not None:
                raise lost
            number = self._add(self._broker.store(queue), message)
            self._broker.wake()
        return number

    def extend(self, delivery: Delivery, seconds: float, deadline: float) -> float:
        """Prolong the lease."""
        if self.capabilities.extend.level != "native":
            self._refuse("extend")
        with self._broker.changed:
            self._check_open()
            entry = self._held(delivery)
            if entry is None:
                raise _lost(delivery)
            granted = (entry.lease or seconds) if self._behaviour.lease_by == "put" else seconds
            now = self._broker.clock()
            shortened = entry.until is not None and now + granted < entry.until
            entry.until = now + granted
            if shortened:  # one that was prolonged is looked at when the old lease would have ended
                self._broker.store(delivery.queue).hold(entry, entry.token, entry.until)
            return granted

    def _held(self, delivery: Delivery) -> Entry | None:
        queue, token = delivery.token
        if self._bound and token not in self._mine:
            return None
        store = self._broker.stores.get(queue)
        if store is None:
            return None
        store.advance(self._broker.clock())
        return store.held.get(token)

    def _end(self, delivery: Delivery) -> UnimqError | None:
        """Take a delivery out of its holder's hands."""
        if self._behaviour.destructive:
            return None
        queue, token = delivery.token
        entry = self._held(delivery)
        self._mine.pop(token, None)
        if entry is None:
            return _lost(delivery)
        del self._broker.stores[queue].held[token]
        return None

    # Looking after it

    def peek(self, queue: str, limit: int, deadline: float) -> Sequence[Delivery]:
        """The next ones, in their order."""
        self._needs("peek")
        with self._broker.changed:
            store = self._broker.store(queue)
            store.advance(self._broker.clock())
            wall = self._broker.wall()
            ready = sorted(item for item in store.ready if item[2].waiting)
            fresh = [e for _, _, e in ready if e.expires_at is None or e.expires_at > wall]
            return [self._shown(store, entry, None, None) for entry in fresh[:limit]]

    def cancel(self, queue: str, message_id: str, deadline: float) -> bool:
        """Remove one that nobody holds."""
        self._needs("cancel")
        with self._broker.changed:
            store = self._broker.store(queue)
            store.advance(self._broker.clock())
            found = next((entry for entry in store.waiting_entries() if entry.id == message_id), None)
            if found is not None:
                found.waiting = False
                store.waiting -= 1
            return found is not None

    def stats(self, queue: str, deadline: float) -> Stats:
        """Count."""
        self._needs("stats")
        with self._broker.changed:
            store = self._broker.stores.get(queue) or Store(queue)
            store.advance(self._broker.clock())
            wall = self._broker.wall()
            ready = [e for _, _, e in store.ready if e.waiting and (e.expires_at is None or e.expires_at > wall)]
            return Stats(
                ready=len(ready),
                delayed=sum(item[2].waiting for item in store.delayed),
                leased=len(store.held),
                oldest=max(0.0, wall - min(e.enqueued_at for e in ready)) if ready else None,
            )

    def purge(self, queue: str, deadline: float) -> int:
        """Remove what nobody holds."""
        self._needs("purge")
        with self._broker.changed:
            store = self._broker.store(queue)
            store.advance(self._broker.clock())
            removed, store.waiting = store.waiting, 0
            store.ready, store.delayed = [], []
            return removed

    def delete(self, queue: str, deadline: float) -> None:
        """Remove all of it."""
        self._needs("delete")
        with self._broker.changed:
            self._broker.stores.pop(queue, None)

    def queues(self, deadline: float) -> Sequence[str]:
        """Those that were used."""
        self._needs("queues")
        with self._broker.changed:
            return sorted(self._broker.stores)

    # The connection

    def ping(self, deadline: float) -> str:
        """There is no server but this process."""
        self._check_open()
        return "memory"

    def interrupt(self) -> None:
        """Wake the receive that waits."""
        with self._broker.changed:
            self._interrupted = self._receiving
            self._broker.changed.notify_all()

    def close(self) -> None:
        """Give back what this session holds, where that is bound to it."""
        with self._broker.changed:
            self._closed = True
            for token, store in self._mine.items():
                entry = store.held.pop(token, None)
                if entry is not None:
                    entry.token = 0
                    store.add(entry, None)
            self._mine.clear()
            self._broker.changed.notify_all()

    def _check_open(self) -> None:
        if self._closed:
            msg = f"memory://{self._broker.name}: the session was closed"
            raise ConnectionLost(msg)

    def _needs(self, name: str) -> None:
        if not self.capabilities[name]:
            self._refuse(name)

    def _refuse(self, name: str) -> NoReturn:
        msg = f"{name} is {self.capabilities[name].level} on memory://{self._broker.name}"
        raise Unsupported(msg)


def _lost(delivery: Delivery) -> LeaseLost:
    return LeaseLost(f"message {delivery.id!r} of queue {delivery.queue!r}: its lease ended, or it was delivered again")
