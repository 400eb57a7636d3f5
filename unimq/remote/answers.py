"""What a store's session does for one request of a client, and what is told of it."""

import time
from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec

from unimq.capabilities import CAPABILITY_NAMES, CapabilityName
from unimq.driver import Delivery, Session
from unimq.errors import LeaseLost, UnimqError, Unsupported
from unimq.remote import frames
from unimq.remote.checks import check_fetch, check_message, check_names, check_seconds
from unimq.remote.frames import Held, Problem
from unimq.remote.store import Store
from unimq.version import __version__

__all__ = ["Answers"]

_STORE_MOST: Final = 1.0
"""Seconds that one request may keep the others waiting, when the store has to be waited for."""


class Answers:
    """Answers every operation but the fetches."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._tokens = store.tokens
        self._limits = store.capabilities.limits
        self.stirred: set[str] = set()
        """Queues that may have something to take since somebody looked."""
        self._calls: dict[type, Callable[[Any, float], Any]] = {
            frames.Hello: self._hello,
            frames.Send: self._send,
            frames.Ack: self._ack,
            frames.Release: self._release,
            frames.Move: self._move,
            frames.Extend: self._extend,
            frames.Peek: self._peek,
            frames.Cancel: self._cancel,
            frames.StatsOf: self._stats,
            frames.Purge: self._purge,
            frames.Delete: self._delete,
            frames.Queues: self._queues,
            frames.Ping: self._ping,
        }

    def to(self, operation: frames.Operation, budget: float | None) -> Any:
        """The value that answers `operation`. Raises any `UnimqError`."""
        seconds = _STORE_MOST if budget is None or not budget < _STORE_MOST else budget
        return self._calls[type(operation)](operation, time.monotonic() + max(0.0, seconds))

    def shown(self, delivery: Delivery) -> Delivery:
        """A delivery as it travels: with the holder's name for it, and its lease as seconds left."""
        until = delivery.lease_until
        return msgspec.structs.replace(
            delivery,
            token=None if delivery.token is None else self._tokens.name(delivery),
            lease_until=None if until is None else until - time.monotonic(),
            native=None,
        )

    # Who answers

    def _hello(self, _: frames.Hello, deadline: float) -> frames.Welcome:
        can = self._store.capabilities
        words = self._store.use(lambda session: session.ping(deadline))
        able: list[str] = [name for name in CAPABILITY_NAMES if can[name]]
        body = frames.LARGEST_BODY if self._limits.body is None else self._limits.body
        return frames.Welcome(f"unimq {__version__}, {words}", self._store.url.scheme, able, body)

    def _ping(self, _: frames.Ping, deadline: float) -> str:
        return self._store.use(lambda session: session.ping(deadline))

    # Messages

    def _send(self, send: frames.Send, deadline: float) -> list[str | Problem | None]:
        check_names([send.queue], self._limits)
        for message in send.messages:
            check_message(message, self._limits)
        outcomes = self._store.use(lambda session: session.send(send.queue, send.messages, deadline), send.max_size)
        self.stirred.add(send.queue)
        return _told(outcomes)

    def _ack(self, ack: frames.Ack, deadline: float) -> list[Problem | None]:
        return self._settle(ack.deliveries, lambda session, ours, _: session.ack(ours, deadline))

    def _release(self, release: frames.Release, deadline: float) -> list[Problem | None]:
        self._needs("nack")
        check_seconds("delay", release.delay)
        outcomes = self._settle(
            release.deliveries,
            lambda session, ours, _: session.release(ours, release.delay, deadline, unseen=release.unseen),
        )
        self.stirred |= {held.queue for held in release.deliveries}
        return outcomes

    def _settle(
        self,
        all_held: list[Held],
        call: Callable[[Session, list[Delivery], list[int]], Sequence[Any]],
        *,
        settles: bool = True,
    ) -> list[Any]:
        """The outcome of each; `call` gets what is held, and the positions of that among all."""
        outcomes, ours = self._found(all_held)
        if not ours:
            return outcomes
        positions = [position for position, _ in ours]
        results = self._store.use(lambda session: call(session, [delivery for _, delivery in ours], positions))
        for position, outcome in zip(positions, results, strict=True):
            failed = isinstance(outcome, UnimqError)
            outcomes[position] = Problem.of(outcome) if failed else outcome
            if isinstance(outcome, LeaseLost) or (settles and not failed):
                self._tokens.settled(all_held[position])
        return outcomes

    def _found(self, all_held: list[Held]) -> tuple[list[Any], list[tuple[int, Delivery]]]:
        """An outcome for each, and those that are held, with their positions."""
        outcomes: list[Any] = [None] * len(all_held)
        ours: list[tuple[int, Delivery]] = []
        for position, held in enumerate(all_held):
            try:
                check_names([held.queue], self._limits)
                ours.append((position, self._tokens.find(held)))
            except UnimqError as error:
                outcomes[position] = Problem.of(error)
        return outcomes, ours

    def _move(self, move: frames.Move, deadline: float) -> list[str | Problem | None]:
        check_names([move.queue], self._limits)
        for _, message in move.pairs:
            check_message(message, self._limits)

        def moved(session: Session, ours: list[Delivery], positions: list[int]) -> Sequence[Any]:
            messages = [move.pairs[position][1] for position in positions]
            return session.move(move.queue, list(zip(ours, messages, strict=True)), deadline)

        outcomes = self._settle([held for held, _ in move.pairs], moved)
        self.stirred.add(move.queue)
        return outcomes

    def _extend(self, extend: frames.Extend, deadline: float) -> list[float | Problem]:
        self._needs("extend")
        check_seconds("seconds", extend.seconds)
        outcomes = self._settle(
            extend.deliveries, lambda session, ours, _: session.extend(ours, extend.seconds, deadline), settles=False
        )
        self.stirred |= {held.queue for held in extend.deliveries}  # a shorter lease ends earlier
        return outcomes

    # Looking after it

    def _peek(self, peek: frames.Peek, deadline: float) -> list[Delivery]:
        self._needs("peek")
        check_names([peek.queue], self._limits)
        check_fetch(peek.limit, 0.0, 0.0)
        found = self._store.use(lambda session: session.peek(peek.queue, peek.limit, deadline))
        parts = frames.split([frames.size_of(one) for one in found])
        return [self.shown(one) for one in (found[parts[0]] if parts else found)]

    def _cancel(self, cancel: frames.Cancel, deadline: float) -> bool:
        self._needs("cancel")
        check_names([cancel.queue], self._limits)
        return self._store.use(lambda session: session.cancel(cancel.queue, cancel.id, deadline))

    def _stats(self, stats: frames.StatsOf, deadline: float) -> Any:
        self._needs("stats")
        check_names([stats.queue], self._limits)
        return self._store.use(lambda session: session.stats(stats.queue, deadline))

    def _purge(self, purge: frames.Purge, deadline: float) -> int:
        self._needs("purge")
        check_names([purge.queue], self._limits)
        return self._store.use(lambda session: session.purge(purge.queue, deadline))

    def _delete(self, delete: frames.Delete, deadline: float) -> None:
        self._needs("delete")
        check_names([delete.queue], self._limits)
        self._store.use(lambda session: session.delete(delete.queue, deadline))

    def _queues(self, _: frames.Queues, deadline: float) -> list[str]:
        self._needs("queues")
        return list(self._store.use(lambda session: session.queues(deadline)))

    def _needs(self, name: CapabilityName) -> None:
        if not self._store.capabilities[name]:
            msg = f"{name} is {self._store.capabilities[name].level} in the store {self._store.url}"
            raise Unsupported(msg)


def _told(outcomes: Sequence[str | UnimqError | None]) -> list[str | Problem | None]:
    return [Problem.of(outcome) if isinstance(outcome, UnimqError) else outcome for outcome in outcomes]
