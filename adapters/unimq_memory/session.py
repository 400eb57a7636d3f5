"""One client's view of a broker. Nothing here knows a backend: the rules come from its `Behaviour`."""

import math
import threading
import time
from collections.abc import Sequence
from typing import Final

from unimq.capabilities import Capabilities, CapabilityName
from unimq.driver import BaseSession, Delivery, Outgoing, Settling, Stats
from unimq.errors import ConnectionLost, Full, LeaseLost, UnimqError, Unsupported
from unimq_memory.behaviour import Behaviour
from unimq_memory.broker import Broker
from unimq_memory.store import Entry, Store

__all__ = ["MemorySession"]

_LOOK_AT_CLOCK_EVERY: Final = 2.0
"""Seconds after which a wait reckons anew when something is due: the clock may have been set, the machine asleep."""


class MemorySession(BaseSession):
    """A session of the driver contract."""

    blocks = False

    def __init__(self, broker: Broker, capabilities: Capabilities, behaviour: Behaviour, max_size: int | None) -> None:
        self.capabilities = capabilities
        self.settling: Settling = behaviour.settling
        self._behaviour = behaviour
        self._broker = broker
        self._max_size = max_size
        self._number = next(broker.numbers)
        self._turn = 0
        self._waiting = False
        self._interrupted = False
        self._closed = False

    # Messages

    def send(self, queue: str, messages: Sequence[Outgoing], deadline: float) -> Sequence[str | UnimqError | None]:
        """Store them."""
        broker = self._broker
        with broker.lock:
            self._check_open()
            store = broker.store(queue)
            outcomes = [self._refusal(store, message) or self._add(store, message) for message in messages]
            broker.wake()
        return outcomes

    def _refusal(self, store: Store, message: Outgoing) -> UnimqError | None:
        if message.delay and not self._behaviour.delay:
            return self._unsupported("delay")
        if message.expires_at is not None and not self._behaviour.ttl:
            return self._unsupported("ttl")
        if self._max_size is None or store.size() < self._max_size:
            return None
        store.sweep(self._broker.wall())
        if store.size() < self._max_size:
            return None
        where = f"queue {store.name!r} of memory://{self._broker.name}"
        return Full(f"{where} holds {store.size()} messages, max_size={self._max_size}: nothing was stored")

    def _add(self, store: Store, message: Outgoing) -> str | None:
        broker, behaviour = self._broker, self._behaviour
        if message.unique is not None and store.has(message.unique, broker.wall()):
            return message.unique
        number = next(broker.numbers)
        enqueued_at = broker.wall() if message.enqueued_at is None else message.enqueued_at
        rank = behaviour.ranks[message.priority]
        entry = Entry(
            message, message.id or message.unique or f"{number:x}", number, rank, enqueued_at, message.delivery_count
        )
        store.add(entry, broker.wall() + behaviour.wait(message.delay) if message.delay else None)
        return entry.id if behaviour.id else None

    def receive(
        self, queues: Sequence[str], limit: int, lease: float, deadline: float, *, ahead: bool = False
    ) -> Sequence[Delivery]:
        """Wait for the first, take what is there."""
        with self._broker.lock:
            self._check_open()
            found = self._take(queues, limit, lease)
            while not found and not self._interrupted and (rest := deadline - time.monotonic()) > 0:
                self._wait(queues, rest)
                self._check_open()
                found = self._take(queues, limit, lease)
            self._interrupted = False
            return found

    def _wait(self, queues: Sequence[str], rest: float) -> None:
        """Sleep until something changes, something is due, or `rest` seconds are over."""
        broker = self._broker
        stores = [store for name in queues if (store := broker.stores.get(name)) is not None]
        due = min((store.next_due(broker.clock(), broker.wall()) for store in stores), default=math.inf)
        if due < math.inf:
            rest = min(rest, max(0.0, due), _LOOK_AT_CLOCK_EVERY)
        broker.waiters += 1
        self._waiting = True
        try:
            broker.changed.wait(min(rest, threading.TIMEOUT_MAX))
        finally:
            self._waiting = False
            broker.waiters -= 1

    def _take(self, queues: Sequence[str], limit: int, lease: float) -> list[Delivery]:
        if len(queues) > 1:  # the next one first, or a busy queue would starve the others
            self._turn = (self._turn + 1) % len(queues)
            queues = [*queues[self._turn :], *queues[: self._turn]]
        broker = self._broker
        now, wall = broker.clock(), broker.wall()
        found: list[Delivery] = []
        for name in queues:
            store = broker.stores.get(name)
            if store is None:
                continue
            self._advance(store)
            while len(found) < limit and (entry := store.next_ready(wall)) is not None:
                found.append(self._deliver(store, entry, lease, now))
        return found

    def _deliver(self, store: Store, entry: Entry, lease: float, now: float) -> Delivery:
        behaviour = self._behaviour
        token, until = next(self._broker.numbers), None
        if behaviour.counts_fetches:
            entry.count += 1
        if behaviour.lease_by != "connection":
            until = now + (lease if behaviour.lease_by == "get" else entry.message.lease or lease)
        if behaviour.remembers:
            store.hold(entry, token, until, self._number)
        store.remove_ready(entry)
        return self._shown(store, entry, token, until)

    def _shown(self, store: Store, entry: Entry, token: int | None, until: float | None) -> Delivery:
        behaviour, message = self._behaviour, entry.message
        count = None
        if behaviour.shows_count:
            count = entry.count if behaviour.counts_fetches else entry.count + 1
        return Delivery(
            store.name,
            message.body,
            token,
            message.headers if behaviour.headers else None,
            entry.id if behaviour.id else None,
            message.priority if behaviour.priority else None,
            count,
            None,
            entry.enqueued_at if behaviour.enqueued_at else None,
            message.expires_at if behaviour.ttl else None,
            until,
        )

    def _advance(self, store: Store) -> None:
        store.advance(self._broker.clock(), self._broker.wall(), counted=self._behaviour.counts_losses)

    # Settling

    def ack(self, deliveries: Sequence[Delivery], deadline: float) -> Sequence[UnimqError | None]:
        """Remove them."""
        with self._broker.lock:
            self._check_open()
            return [self._remove(delivery) for delivery in deliveries]

    def release(
        self, deliveries: Sequence[Delivery], delay: float, deadline: float, *, unseen: bool = False
    ) -> Sequence[UnimqError | None]:
        """Give them back."""
        self._needs("nack")
        if delay:
            self._needs("nack_delay")
        with self._broker.lock:
            self._check_open()
            outcomes = [self._give_back(delivery, delay, unseen=unseen) for delivery in deliveries]
            self._broker.wake()
        return outcomes

    def _give_back(self, delivery: Delivery, delay: float, *, unseen: bool) -> LeaseLost | None:
        found = self._held(delivery)
        if found is None:
            return _lost(delivery)
        store, entry = found
        behaviour, broker = self._behaviour, self._broker
        if unseen:
            entry.count -= behaviour.counts_fetches
        else:
            entry.count += behaviour.counts_nacks
            if not behaviour.to_front:
                entry.place = next(broker.numbers)
        store.add(entry, broker.wall() + behaviour.wait(delay) if delay else None)
        del store.held[entry.token]
        return None

    def move(
        self, queue: str, pairs: Sequence[tuple[Delivery, Outgoing]], deadline: float
    ) -> Sequence[str | UnimqError | None]:
        """Store the messages and remove the deliveries, in one step; nothing is stored for a lease that is lost."""
        with self._broker.lock:
            self._check_open()
            outcomes = [self._move(queue, delivery, message) for delivery, message in pairs]
            self._broker.wake()
        return outcomes

    def _move(self, queue: str, delivery: Delivery, message: Outgoing) -> str | LeaseLost | None:
        if not self._behaviour.destructive and self._held(delivery) is None:
            return _lost(delivery)
        # `max_size` is for puts: what was in the system already is never refused.
        moved = self._add(self._broker.store(queue), message)
        self._remove(delivery)
        return moved

    def extend(self, deliveries: Sequence[Delivery], seconds: float, deadline: float) -> Sequence[float | UnimqError]:
        """Prolong the leases, or shorten them."""
        self._needs("extend")
        with self._broker.lock:
            self._check_open()
            return [self._extend(delivery, seconds) for delivery in deliveries]

    def _extend(self, delivery: Delivery, seconds: float) -> float | LeaseLost:
        found = self._held(delivery)
        if found is None:
            return _lost(delivery)
        store, entry = found
        granted = (entry.message.lease or seconds) if self._behaviour.lease_by == "put" else seconds
        if entry.until is not None:
            until = self._broker.clock() + granted
            shortened, entry.until = until < entry.until, until
            if shortened:  # a longer lease is found out when the old one would have ended
                store.watch(entry.token, until)
                self._broker.wake()
        return granted

    def watch(self, queues: Sequence[str], deadline: float) -> bool:
        """Sleep until a put, or the end of a delay or lease, makes something ready."""
        with self._broker.lock:
            self._check_open()
            ready = self._is_ready(queues)
            while not ready and not self._interrupted and (rest := deadline - time.monotonic()) > 0:
                self._wait(queues, rest)
                self._check_open()
                ready = self._is_ready(queues)
            self._interrupted = False
            return ready

    def _is_ready(self, queues: Sequence[str]) -> bool:
        broker = self._broker
        stores = [store for name in queues if (store := broker.stores.get(name)) is not None]
        for store in stores:
            self._advance(store)
        return any(store.next_ready(broker.wall()) is not None for store in stores)

    def _held(self, delivery: Delivery) -> tuple[Store, Entry] | None:
        """Where it is, if it is still ours to settle."""
        store = self._broker.stores.get(delivery.queue)
        if store is None:
            return None
        self._advance(store)
        entry = store.held.get(delivery.token)
        if entry is None or (self.settling != "any-session" and entry.owner != self._number):
            return None
        return store, entry

    def _remove(self, delivery: Delivery) -> LeaseLost | None:
        found = self._held(delivery)
        if found is not None:
            del found[0].held[found[1].token]
        return None if found is not None or self._behaviour.destructive else _lost(delivery)

    # Looking after it

    def peek(self, queue: str, limit: int, deadline: float) -> Sequence[Delivery]:
        """The next ones, in their order."""
        self._needs("peek")
        with self._broker.lock:
            store = self._current(queue)
            return [self._shown(store, entry, None, None) for entry in store.first(limit)]

    def cancel(self, queue: str, message_id: str, deadline: float) -> bool:
        """Remove one that nobody holds."""
        self._needs("cancel")
        with self._broker.lock:
            return self._current(queue).cancel(message_id)

    def stats(self, queue: str, deadline: float) -> Stats:
        """Count."""
        self._needs("stats")
        with self._broker.lock:
            return self._current(queue).stats(self._broker.wall())

    def purge(self, queue: str, deadline: float) -> int:
        """Remove what nobody holds."""
        self._needs("purge")
        with self._broker.lock:
            return self._current(queue).purge()

    def _current(self, queue: str) -> Store:
        """The queue as it is now; looking at an unknown one does not make it."""
        self._check_open()
        store = self._broker.stores.get(queue)
        if store is None:
            return Store(queue)
        self._advance(store)
        store.sweep(self._broker.wall())
        return store

    def delete(self, queue: str, deadline: float) -> None:
        """Remove all of it."""
        self._needs("delete")
        with self._broker.lock:
            self._check_open()
            self._broker.stores.pop(queue, None)

    def queues(self, deadline: float) -> Sequence[str]:
        """Those that were put to."""
        self._needs("queues")
        with self._broker.lock:
            self._check_open()
            return sorted(self._broker.stores)

    # The connection

    def ping(self, deadline: float) -> str:
        """There is no server but this process."""
        self._check_open()
        return "memory"

    def interrupt(self) -> None:
        """Wake the receive that waits."""
        with self._broker.lock:
            if self._waiting:
                self._interrupted = True
                self._broker.changed.notify_all()

    def close(self) -> None:
        """Let go of what this session holds, where that ends with it."""
        broker, behaviour = self._broker, self._behaviour
        with broker.lock:
            if behaviour.lease_by != "get" and not self._closed:
                for store in broker.stores.values():
                    self._let_go(store)
            self._closed = True
            broker.changed.notify_all()

    def _let_go(self, store: Store) -> None:
        for token in [token for token, entry in store.held.items() if entry.owner == self._number]:
            if self._behaviour.destructive:
                del store.held[token]
            else:
                store.take_back(token, counted=self._behaviour.counts_losses)

    def _check_open(self) -> None:
        if self._closed:
            msg = f"memory://{self._broker.name}: the session was closed"
            raise ConnectionLost(msg)

    def _needs(self, name: CapabilityName) -> None:
        if not self.capabilities[name]:
            raise self._unsupported(name)

    def _unsupported(self, name: CapabilityName) -> Unsupported:
        level = self.capabilities[name].level
        return Unsupported(f"{name} is {level} on memory://{self._broker.name}: nothing was done")


def _lost(delivery: Delivery) -> LeaseLost:
    return LeaseLost(f"message {delivery.id!r} of queue {delivery.queue!r}: its lease ended, or it was delivered again")
