"""Receiving: ask the hosts, wait, hand over. What arrives and is not handed over goes back to its queue.

A message is checked at the moment it is handed to the application, not when it arrived: a connection or lease that
ended meanwhile makes it somebody else's, what has expired is removed, what was delivered too often or cannot be decoded
(`?invalid=reject`) goes to the dead-letter queue.
"""

import contextlib
import math
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, Generic, TypeVar

from unimq.claims import session_of
from unimq.errors import ConnectError, ConnectionLost, Empty, InvalidMessage, LeaseLost, Timeout
from unimq.hosts import Host
from unimq.message import BaseMessage
from unimq.owner import Owner
from unimq.settler import Settler
from unimq.source import Cancellation, Source
from unimq.state import QueueState

__all__ = ["Ahead", "Receiver", "deliver_all", "is_delivered_locally", "park"]

T = TypeVar("T")

_PARKED_FOR: Final = 1.0
"""Seconds after which a message that nobody came for goes back to its queue."""
_SOON: Final = 1.0
"""Seconds in which a message may expire while it is handed over."""
_STALE: Final = 4
"""What part of a lease may go by in a buffer of unimq: a quarter."""


class Ahead(Generic[T]):
    """What was fetched together and is not handed over yet."""

    def __init__(self, messages: Iterable[BaseMessage[T]]) -> None:
        self._messages = deque(messages)
        self._since = time.monotonic()

    def next(self) -> BaseMessage[T] | None:
        """Take the first; `None` when nothing is left, or when a close was faster."""
        try:
            return self._messages.popleft()
        except IndexError:
            return None

    def all(self) -> list[BaseMessage[T]]:
        """Take what is left."""
        return list(iter(self.next, None))

    def is_stale(self, message: BaseMessage[T]) -> bool:
        """Whether more than a quarter of its lease has gone by since it came: its consumer is to have the whole."""
        until = message.lease_until
        return until is not None and _STALE * (time.monotonic() - self._since) > until - self._since


class Receiver(Generic[T]):
    """The receiving half of one queue."""

    def __init__(self, state: QueueState[T], settler: Settler[T]) -> None:
        self._state = state
        self._settler = settler
        # Without a lock, which a fork could leave held: each step on a deque or list is one of the interpreter's.
        self._parked: deque[Ahead[T]] = deque()
        self._ahead: list[Ahead[T]] = []
        self._source = Source([state])

    def get_many(self, limit: int, timeout: float | None) -> list[BaseMessage[T]]:
        """Between 1 and `limit` messages, waiting for the first one only; `Empty` when there is none in time."""
        until = math.inf if timeout is None else time.monotonic() + timeout
        while True:
            ready = deliver_all(self.fetch(limit, until))
            if ready:
                return ready

    def fetch(
        self, limit: int, until: float, cancellation: Cancellation | None = None, *, ahead: bool = False
    ) -> list[BaseMessage[T]]:
        """What is parked, or else arrives first; not handed over yet. `Empty` at `until`, a monotonic time.

        With `ahead`, more may be on its way until `stop_ahead`.
        """
        state = self._state
        if state.closed or state.pool.closed:
            raise state.closed_error()
        if self._parked and (parked := self.take_parked(limit)):
            return parked
        return self._source.fetch(limit, until, cancellation, ahead=ahead)

    def stop_ahead(self) -> None:
        """An iteration is over: what is on its way and was not fetched goes back."""
        self._source.stop_ahead()

    def consume(self, prefetch: int, timeout: float | None) -> "Iterator[BaseMessage[T]]":
        """Messages one by one, fetched up to `prefetch` at a time; ends when none came for `timeout` seconds."""
        prefetch = self.ahead(prefetch)
        try:
            while (ahead := self._next_ahead(prefetch, timeout)) is not None:
                try:
                    while (message := ahead.next()) is not None:
                        yield from self.deliver(self.refreshed([message]) if ahead.is_stale(message) else [message])
                finally:
                    self.drop(ahead)
        finally:
            if prefetch > 1:
                self.stop_ahead()

    def _next_ahead(self, prefetch: int, timeout: float | None) -> "Ahead[T] | None":
        until = math.inf if timeout is None else time.monotonic() + timeout
        try:
            return self.keep(self.fetch(prefetch, until, ahead=prefetch > 1))
        except Empty:
            return None

    def keep(self, messages: Sequence[BaseMessage[T]]) -> "Ahead[T]":
        """What an iteration fetched, until it is handed over one by one; a close gives the rest back."""
        ahead = Ahead(messages)
        self._ahead.append(ahead)
        return ahead

    def drop(self, ahead: "Ahead[T]") -> None:
        """Give back what is left of it."""
        with contextlib.suppress(ValueError):  # a close was faster
            self._ahead.remove(ahead)
        self.give_back(ahead.all())

    def refreshed(self, messages: Sequence[BaseMessage[T]]) -> list[BaseMessage[T]]:
        """Those of `messages`, which waited long, that have the whole of their lease again; the others go back."""
        ready: list[BaseMessage[T]] = []
        for message in messages:
            if not self._state.capabilities.extend:
                self.give_back([message])
                continue
            with contextlib.suppress(LeaseLost):
                self._settler.extend(message, None)
                ready.append(message)
        return ready

    def ahead(self, prefetch: int) -> int:
        """How many messages may be fetched ahead: one where that would count deliveries nobody has looked at."""
        state = self._state
        counts = state.settings.max_deliveries is not None and state.capabilities.counts == "fetches"
        return 1 if counts else prefetch

    def park(self, messages: Sequence[BaseMessage[T]]) -> None:
        """Keep what arrived for nobody for the next get of this queue; without one within a second it goes back."""
        if self._state.closed:
            self.give_back(messages)
            return
        by_host: dict[Host, list[BaseMessage[T]]] = {}
        for message in messages:
            by_host.setdefault(session_of(message).host, []).append(message)
        for host, mine in by_host.items():
            self._park_for(host, Ahead(mine))

    def _park_for(self, host: "Host", ahead: "Ahead[T]") -> None:
        self._parked.append(ahead)
        host.scheduler.at(time.monotonic() + _PARKED_FOR, lambda: self._give_back_parked(ahead))

    def give_back(self, messages: Sequence[BaseMessage[T]]) -> None:
        """Return what was not handed over, in order. What cannot be returned stays with the server's lease."""
        self._settler.give_back(messages)

    def close(self) -> None:
        """Give back what is parked, and what iterations have fetched and not handed over."""
        for ahead in [*self._parked, *self._ahead]:
            self.give_back(ahead.all())
        self._parked.clear()
        self._ahead.clear()

    def take_parked(self, limit: int) -> list[BaseMessage[T]]:
        """Up to `limit` of what arrived for nobody."""
        taken: list[BaseMessage[T]] = []
        for ahead in list(self._parked):
            while len(taken) < limit and (message := ahead.next()) is not None:
                taken += self.refreshed([message]) if ahead.is_stale(message) else [message]
        return taken

    def _give_back_parked(self, ahead: "Ahead[T]") -> None:
        with contextlib.suppress(ValueError):
            self._parked.remove(ahead)
        self.give_back(ahead.all())

    def deliver(self, messages: Sequence[BaseMessage[T]]) -> list[BaseMessage[T]]:
        """Those of `messages` that the application gets."""
        return deliver_all(messages)

    def passes_locally(self, message: BaseMessage[T]) -> bool:
        """Whether `passes`, called at once, asks no server: there is nothing to deal with."""
        state, delivery = self._state, message._delivery
        if delivery.expires_at is not None and delivery.expires_at <= time.time() + _SOON:
            return False
        if not state.inspects:
            return True
        most = state.settings.max_deliveries
        if most is not None and (delivery.delivery_count or 0) > most:
            return False
        return state.settings.invalid != "reject" or _damage(message) is None

    def passes(self, message: BaseMessage[T]) -> bool:
        """Whether the application may have it now; if not, it is dealt with here."""
        pooled, until, state = message._session, message.lease_until, self._state
        if pooled is None or not (pooled.anywhere or pooled.alive) or message._claim or message.is_inherited:
            return False
        if until is not None and until <= time.monotonic():
            return False
        if (state.inspects or message._delivery.expires_at is not None) and not self._is_good(message):
            return False
        if state.keeps_lease and not pooled.host.keeper.prolong(message, state.settings.lease):
            return False  # it begins now: the time before is not its consumer's
        if state.hooks.receive is not None:
            state.hooks.receive(message)
        return True

    def _is_good(self, message: BaseMessage[T]) -> bool:
        """Whether it is good for its consumer; if not, it is dealt with."""
        delivery, settings = message._delivery, self._state.settings
        try:
            if delivery.expires_at is not None and delivery.expires_at <= time.time():
                self._settler.ack(message)
                return False
            if settings.max_deliveries is not None and (delivery.delivery_count or 0) > settings.max_deliveries:
                self._settler.reject_unseen(message)
                return False
            if settings.invalid == "reject" and (damage := _damage(message)) is not None:
                self._settler.reject(message, f"cannot be decoded: {damage}")
                return False
        except (ConnectError, ConnectionLost, LeaseLost, Timeout):
            return False  # it is delivered again, and dealt with then
        return True


def is_delivered_locally(message: BaseMessage[Any]) -> bool:
    """Whether to hand it over, at once, asks no server."""
    return message._endpoint.receiver.passes_locally(message)


def deliver_all(messages: Sequence[BaseMessage[T]]) -> list[BaseMessage[T]]:
    """Those that the application may have; one that cannot be dealt with keeps its neighbours safe."""
    ready: list[BaseMessage[T]] = []
    for position, message in enumerate(messages):
        try:
            if message._endpoint.receiver.passes(message):
                ready.append(message)
        except BaseException:
            park([*ready, *messages[position + 1 :]])
            raise
    return ready


def park(messages: Sequence[BaseMessage[Any]]) -> None:
    """Keep what arrived for nobody, each for the next get of its queue."""
    by_queue: dict[Owner, list[BaseMessage[Any]]] = {}
    for message in messages:
        by_queue.setdefault(message._endpoint, []).append(message)
    for queue, mine in by_queue.items():
        queue.receiver.park(mine)


def _damage(message: BaseMessage[Any]) -> InvalidMessage | None:
    """Why it cannot be decoded; else its body is decoded then, and kept."""
    try:
        message.body  # noqa: B018
    except InvalidMessage as error:
        return error
    return None
