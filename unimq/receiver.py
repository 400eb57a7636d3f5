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

from unimq.claims import link_of
from unimq.errors import ConnectError, ConnectionLost, Empty, InvalidMessage, LeaseLost, Timeout
from unimq.hosts import Host
from unimq.message import Letter
from unimq.owner import Owner
from unimq.settler import Settler
from unimq.source import Cancellation, Source
from unimq.state import QueueState

__all__ = ["Ahead", "Receiver", "hand_over_all", "hand_over_is_local", "park"]

T = TypeVar("T")

_PARKED_FOR: Final = 1.0
"""Seconds after which a message that nobody came for goes back to its queue."""
_SOON: Final = 1.0
"""Seconds in which a message may expire while it is handed over."""
_STALE: Final = 4
"""What part of a lease may go by in a buffer of unimq: a quarter."""


class Ahead(Generic[T]):
    """What was fetched together and is not handed over yet."""

    def __init__(self, letters: Iterable[Letter[T]]) -> None:
        self._letters = deque(letters)
        self._since = time.monotonic()

    def next(self) -> Letter[T] | None:
        """Take the first; `None` when nothing is left, or when a close was faster."""
        try:
            return self._letters.popleft()
        except IndexError:
            return None

    def all(self) -> list[Letter[T]]:
        """Take what is left."""
        return list(iter(self.next, None))

    def is_stale(self, letter: Letter[T]) -> bool:
        """Whether more than a quarter of its lease has gone by since it came: its consumer is to have the whole."""
        until = letter.lease_until
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

    def get_many(self, limit: int, timeout: float | None) -> list[Letter[T]]:
        """Between 1 and `limit` messages, waiting for the first one only; `Empty` when there is none in time."""
        until = math.inf if timeout is None else time.monotonic() + timeout
        while True:
            ready = hand_over_all(self.fetch(limit, until))
            if ready:
                return ready

    def fetch(
        self, limit: int, until: float, cancellation: Cancellation | None = None, *, ahead: bool = False
    ) -> list[Letter[T]]:
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

    def consume(self, prefetch: int, timeout: float | None) -> "Iterator[Letter[T]]":
        """Messages one by one, fetched up to `prefetch` at a time; ends when none came for `timeout` seconds."""
        prefetch = self.ahead(prefetch)
        try:
            while (ahead := self._next_ahead(prefetch, timeout)) is not None:
                try:
                    while (letter := ahead.next()) is not None:
                        yield from self.hand_over(self.refreshed([letter]) if ahead.is_stale(letter) else [letter])
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

    def keep(self, letters: Sequence[Letter[T]]) -> "Ahead[T]":
        """What an iteration fetched, until it is handed over one by one; a close gives the rest back."""
        ahead = Ahead(letters)
        self._ahead.append(ahead)
        return ahead

    def drop(self, ahead: "Ahead[T]") -> None:
        """Give back what is left of it."""
        with contextlib.suppress(ValueError):  # a close was faster
            self._ahead.remove(ahead)
        self.give_back(ahead.all())

    def refreshed(self, letters: Sequence[Letter[T]]) -> list[Letter[T]]:
        """Those of `letters`, which waited long, that have the whole of their lease again; the others go back."""
        ready: list[Letter[T]] = []
        for letter in letters:
            if not self._state.capabilities.extend:
                self.give_back([letter])
                continue
            with contextlib.suppress(LeaseLost):
                self._settler.extend(letter, None)
                ready.append(letter)
        return ready

    def ahead(self, prefetch: int) -> int:
        """How many messages may be fetched ahead: one where that would count deliveries nobody has looked at."""
        state = self._state
        counts = state.settings.max_deliveries is not None and state.capabilities.counts == "fetches"
        return 1 if counts else prefetch

    def park(self, letters: Sequence[Letter[T]]) -> None:
        """Keep what arrived for nobody for the next get of this queue; without one within a second it goes back."""
        if self._state.closed:
            self.give_back(letters)
            return
        by_host: dict[Host, list[Letter[T]]] = {}
        for letter in letters:
            by_host.setdefault(link_of(letter).host, []).append(letter)
        for host, mine in by_host.items():
            self._park_for(host, Ahead(mine))

    def _park_for(self, host: "Host", ahead: "Ahead[T]") -> None:
        self._parked.append(ahead)
        host.scheduler.at(time.monotonic() + _PARKED_FOR, lambda: self._give_back_parked(ahead))

    def give_back(self, letters: Sequence[Letter[T]]) -> None:
        """Return what was not handed over, in order. What cannot be returned stays with the server's lease."""
        self._settler.give_back(letters)

    def close(self) -> None:
        """Give back what is parked, and what iterations have fetched and not handed over."""
        for ahead in [*self._parked, *self._ahead]:
            self.give_back(ahead.all())
        self._parked.clear()
        self._ahead.clear()

    def take_parked(self, limit: int) -> list[Letter[T]]:
        """Up to `limit` of what arrived for nobody."""
        taken: list[Letter[T]] = []
        for ahead in list(self._parked):
            while len(taken) < limit and (letter := ahead.next()) is not None:
                taken += self.refreshed([letter]) if ahead.is_stale(letter) else [letter]
        return taken

    def _give_back_parked(self, ahead: "Ahead[T]") -> None:
        with contextlib.suppress(ValueError):
            self._parked.remove(ahead)
        self.give_back(ahead.all())

    def hand_over(self, letters: Sequence[Letter[T]]) -> list[Letter[T]]:
        """Those of `letters` that the application gets."""
        return hand_over_all(letters)

    def passes_locally(self, letter: Letter[T]) -> bool:
        """Whether `passes`, called at once, asks no server: there is nothing to deal with."""
        state, delivery = self._state, letter._delivery
        if delivery.expires_at is not None and delivery.expires_at <= time.time() + _SOON:
            return False
        if not state.inspects:
            return True
        most = state.settings.max_deliveries
        if most is not None and (delivery.delivery_count or 0) > most:
            return False
        return state.settings.invalid != "reject" or _damage(letter) is None

    def passes(self, letter: Letter[T]) -> bool:
        """Whether the application may have it now; if not, it is dealt with here."""
        link, until, state = letter._link, letter.lease_until, self._state
        if link is None or not (link.anywhere or link.alive) or letter._claim or letter.is_inherited:
            return False
        if until is not None and until <= time.monotonic():
            return False
        if (state.inspects or letter._delivery.expires_at is not None) and not self._is_good(letter):
            return False
        if state.keeps_lease and not link.host.keeper.prolong(letter, state.settings.lease):
            return False  # it begins now: the time before is not its consumer's
        if state.hooks.receive is not None:
            state.hooks.receive(letter)
        return True

    def _is_good(self, letter: Letter[T]) -> bool:
        """Whether it is good for its consumer; if not, it is dealt with."""
        delivery, settings = letter._delivery, self._state.settings
        try:
            if delivery.expires_at is not None and delivery.expires_at <= time.time():
                self._settler.ack(letter)
                return False
            if settings.max_deliveries is not None and (delivery.delivery_count or 0) > settings.max_deliveries:
                self._settler.reject_unseen(letter)
                return False
            if settings.invalid == "reject" and (damage := _damage(letter)) is not None:
                self._settler.reject(letter, f"cannot be decoded: {damage}")
                return False
        except (ConnectError, ConnectionLost, LeaseLost, Timeout):
            return False  # it is delivered again, and dealt with then
        return True


def hand_over_is_local(letter: Letter[Any]) -> bool:
    """Whether to hand it over, at once, asks no server."""
    return letter._channel.receiver.passes_locally(letter)


def hand_over_all(letters: Sequence[Letter[T]]) -> list[Letter[T]]:
    """Those that the application may have; one that cannot be dealt with keeps its neighbours safe."""
    ready: list[Letter[T]] = []
    for position, letter in enumerate(letters):
        try:
            if letter._channel.receiver.passes(letter):
                ready.append(letter)
        except BaseException:
            park([*ready, *letters[position + 1 :]])
            raise
    return ready


def park(letters: Sequence[Letter[Any]]) -> None:
    """Keep what arrived for nobody, each for the next get of its queue."""
    by_queue: dict[Owner, list[Letter[Any]]] = {}
    for letter in letters:
        by_queue.setdefault(letter._channel, []).append(letter)
    for queue, mine in by_queue.items():
        queue.receiver.park(mine)


def _damage(letter: Letter[Any]) -> InvalidMessage | None:
    """Why it cannot be decoded; else its body is decoded then, and kept."""
    try:
        letter.body  # noqa: B018
    except InvalidMessage as error:
        return error
    return None
