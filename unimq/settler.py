"""Settling: ack, nack, reject and extend, one message or many, and what the library gives back by itself.

A settlement that failed gives the claim on the message back, because it is still in hand. Requeueing and dead-lettering
are moves: send, then settle, in one transaction where the backend has them. A crash in between duplicates, it never
loses.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from itertools import compress
from typing import Any, Final, Generic, TypeVar, cast

from unimq import headers as reserved
from unimq.claims import (
    Call,
    ack_all,
    ack_here,
    ack_one,
    check_over,
    claim,
    granted,
    lost,
    on_holder,
    raws,
    refusal,
    session_of,
    settled_by,
)
from unimq.copies import copy_of, dead_letter_of
from unimq.driver import Outgoing, Session
from unimq.errors import InvalidArgument, LeaseLost, UnimqError
from unimq.hosts import PooledSession
from unimq.message import BaseMessage
from unimq.options import seconds, short
from unimq.outcomes import errors_of, in_parts, outcome_of, raise_one, raise_unsent, the_one
from unimq.owner import Outcome
from unimq.seats import ENDED
from unimq.sender import Sender
from unimq.state import QueueState

__all__ = ["Settler"]

T = TypeVar("T")
R = TypeVar("R")

_Group = tuple[Sequence[BaseMessage[T]], Call, float, bool]

_MAX_DELIVERIES_REASON: Final = "nacked after {} deliveries, the most that is allowed"
_PATIENCE: Final = 1.0
"""Seconds that unimq waits for a busy session when it ends or keeps leases: those of other sessions are due as well."""
_TOO_OFTEN_REASON: Final = "delivered {} times, {} are allowed"


class Settler(Generic[T]):
    """The settling half of one queue."""

    def __init__(self, state: QueueState[T], sender: Sender[T], dead: Callable[[], Sender[T]]) -> None:
        """`dead` gives what puts on the dead-letter queue."""
        self._state = state
        self._sender = sender
        self._dead = dead

    # What an application asks for

    def ack(self, message: BaseMessage[T], outcome: Outcome = "ack") -> None:
        """Remove it for good: done, or discarded."""
        state, me = self._state, object()
        try:
            pooled = claim(message, me)
            if pooled.settling == "nowhere":
                self._check_pool()
            else:
                deadline, anywhere = state.deadline(), pooled.anywhere
                how = ack_one if anywhere else ack_here
                state.pool.lend(pooled.host, deadline, how, (message, deadline), None if anywhere else pooled)
            if state.keeps_lease:
                pooled.host.keeper.settled(message)
        except BaseException:  # also an interruption at any moment
            message._claim.leave(me)
            raise
        if state.hooks.settle is not None:
            state.hooks.settle(message, outcome)

    def ack_many(self, messages: Iterable[BaseMessage[T]]) -> list[UnimqError | None]:
        """Remove many; the outcome of each. One exchange for each session that they came over."""
        return self._many(self._ours(messages), ack_all, "ack")

    def nack(self, message: BaseMessage[T], delay: float | timedelta) -> None:
        """Give it back to be delivered again, or to the dead letters when it was delivered often enough."""
        raise_one(self.nack_all([message], self._nack_delay(delay)))

    def nack_many(self, messages: Iterable[BaseMessage[T]], delay: float | timedelta) -> list[UnimqError | None]:
        """Give many back; the outcome of each. Few exchanges for each session that they came over."""
        wait = self._nack_delay(delay)
        ours = self._ours(messages)
        return in_parts(ours, lambda one: one._endpoint, lambda owner, part: owner.settler.nack_all(part, wait))

    def nack_all(self, messages: Sequence[BaseMessage[T]], wait: float) -> list[UnimqError | None]:
        """Give back many of this queue; the outcome of each."""
        return in_parts(
            messages,
            self._is_last,
            lambda last, part: (
                self._reject_all(
                    part, lambda one: (_MAX_DELIVERIES_REASON.format(one.delivery_count), one.delivery_count, "")
                )
                if last
                else self._return(part, wait, "nack")
            ),
        )

    def release(self, message: BaseMessage[T]) -> None:
        """Give it back as if nobody had got it."""
        self._nack_delay(0)  # whether there is a way back
        raise_one(self._return([message], 0.0, "release", unseen=True))

    def reject(self, message: BaseMessage[T], reason: str, details: str = "") -> None:
        """Move it to the dead-letter queue; inside one, discard it."""
        for name, value in (("reason", reason), ("details", details)):
            if not isinstance(value, str):
                msg = f"{name}={short(value)}: must be a str"
                raise InvalidArgument(msg)
        raise_one(self._reject_all([message], lambda one: (reason, one.delivery_count, details)))

    def reject_unseen(self, message: BaseMessage[T]) -> None:
        """Move to the dead-letter queue what was delivered often enough before this delivery, which nobody sees."""
        before = (message.delivery_count or 1) - 1
        reason = _TOO_OFTEN_REASON.format(before, self._state.settings.max_deliveries)
        raise_one(self._reject_all([message], lambda _: (reason, before, "")))

    def _reject_all(
        self, messages: Sequence[BaseMessage[T]], why: Callable[[BaseMessage[T]], tuple[str, int | None, str]]
    ) -> list[UnimqError | None]:
        """`why` gives the reason, how many deliveries there were, and details."""
        state = self._state
        if state.is_dead:
            return self._many(messages, ack_all, "reject")
        if not state.capabilities.dead_letters:
            state.refuse("dead_letters")
        dead = self._dead()
        return self._move(messages, dead, lambda message: dead_letter_of(message, dead, *why(message)), "reject")

    def check_extend(self, message: BaseMessage[T]) -> None:
        """Refuse what cannot be extended: here, or this message."""
        session_of(message)
        if not self._state.capabilities.extend:
            self._state.refuse("extend")

    def extend(self, message: BaseMessage[T], duration: float | timedelta | None) -> float:
        """Keep the lease for at least that long from now; returns the seconds granted."""
        self.check_extend(message)
        state = self._state
        wanted = state.settings.lease if duration is None else seconds(duration, "seconds")
        return the_one(self._extend_all([message], wanted))

    def keep(self, message: BaseMessage[T]) -> None:
        """Extend it in time, again and again."""
        self.check_extend(message)
        session_of(message).host.keeper.keep(message)

    def _extend_all(
        self, messages: Sequence[BaseMessage[T]], wanted: float, patience: float | None = None
    ) -> list[float | UnimqError]:
        # No claim: another thread may settle it meanwhile, and the server tells which came first.
        def prolong(session: Session, ours: Sequence[BaseMessage[Any]], deadline: float) -> Sequence[object]:
            return [
                outcome if isinstance(outcome, UnimqError) else granted(message, outcome)
                for message, outcome in zip(ours, session.extend(raws(ours), wanted, deadline), strict=True)
            ]

        def extend(messages: Sequence[BaseMessage[T]]) -> Sequence[float | UnimqError]:
            if self._state.keeps_lease:
                return [self._prolong(message, wanted) for message in messages]
            outcomes = self._group(messages, prolong, settles=False, patience=patience)
            return cast("Sequence[float | UnimqError]", outcomes)

        refused = [refusal(one) if one.settled or one.is_inherited else None for one in messages]
        ours = [message for message, why in zip(messages, refused, strict=True) if why is None]
        results = iter(in_parts(ours, settled_by, lambda _, part: extend(part)))
        return [next(results) if why is None else why for why in refused]

    def _prolong(self, message: BaseMessage[T], wanted: float) -> float | LeaseLost:
        """Extend a lease that unimq itself ends."""
        pooled = session_of(message)
        if not pooled.holds(message._raw):
            return lost(message, "it was delivered again")
        return wanted if pooled.host.keeper.prolong(message, wanted) else lost(message, "its lease ended")

    def put_back(self, message: BaseMessage[T], target: Sender[Any], headers: Mapping[str, str] | None) -> None:
        """Move it to `target` as a message that was never delivered; what redrive does."""
        verbatim = reserved.DEAD_VERBATIM in message.headers
        changes = {"headers": headers, "delivery_count": 0}
        raise_one(self._move([message], target, lambda one: copy_of(one, target, verbatim=verbatim, **changes), None))

    # What the library does by itself

    def give_back(self, messages: Iterable[BaseMessage[T]]) -> None:
        """Return unhandled messages in their order. What fails stays with the server, whose lease gives it back."""
        mine = [message for message in messages if not (message.settled or message.is_inherited)]
        if mine:
            self._return(mine, 0.0, None, unseen=True)

    def end_leases(self, messages: Sequence[BaseMessage[T]]) -> list[UnimqError | None]:
        """Give back what was in hand for too long; the outcome of each."""
        return self._return(messages, 0.0, None, ended=True)

    def keep_leases(self, messages: Sequence[BaseMessage[T]]) -> list[float | UnimqError]:
        """Extend what is kept; the seconds granted, or why not."""
        return self._extend_all(messages, self._state.settings.lease, _PATIENCE)

    # How

    def _ours(self, messages: Iterable[BaseMessage[T]]) -> list[BaseMessage[T]]:
        """A list of messages of this client, whatever the caller gave."""
        ours: list[BaseMessage[T]] = list(messages) if isinstance(messages, Iterable) else [messages]
        for message in ours:
            if not isinstance(message, BaseMessage) or message._endpoint.pool is not self._state.pool:
                msg = f"messages: {short(message)} is no message of queue {self._state.shown!r}"
                raise InvalidArgument(msg)
        return ours

    def with_session(self, message: BaseMessage[T], call: "Callable[[Session, BaseMessage[Any], float], R]") -> R:
        """Run `call`, which does not settle it, with a session that could."""
        pooled, pool, deadline = session_of(message), self._state.pool, self._state.deadline()
        if pooled.anywhere:
            return pool.lend(pooled.host, deadline, lambda other, _: call(other.session, message, deadline), None)
        return pool.lend(pooled.host, deadline, on_holder, (message, call, deadline), pooled)

    def _many(
        self,
        messages: Sequence[BaseMessage[T]],
        call: Call,
        told: Outcome | None,
        prepare: Callable[[BaseMessage[T]], None] | None = None,
        *,
        ended: bool = False,
    ) -> list[UnimqError | None]:
        """Settle each message on its own session, one `call` per session, and say what became of each.

        `prepare` is run with each message when it is claimed; what it raises is what became of it. What has `ended` is
        given up by unimq itself, which has other things to do than to wait for a busy session.
        """
        claims = [(message, ENDED if ended else object()) for message in messages]
        settled: set[int] = set()

        def take(message: BaseMessage[T], me: object) -> None:
            claim(message, me)
            if prepare is not None:
                prepare(message)

        def settle(messages: Sequence[BaseMessage[T]]) -> Sequence[UnimqError | None]:
            outcomes = errors_of(self._group(messages, call, patience=_PATIENCE if ended else None))
            settled.update(id(one) for one, outcome in zip(messages, outcomes, strict=True) if outcome is None)
            return outcomes

        try:
            outcomes = [outcome_of(claim if prepare is None else take, message, me) for message, me in claims]
            # No condition in a loop of this block: Python 3.13 protects the jump back of such a one by no `finally`.
            ours = list(compress(messages, [refused is None for refused in outcomes]))
            results = iter(in_parts(ours, settled_by, lambda _, part: settle(part)))
            outcomes = [next(results) if refused is None else refused for refused in outcomes]
        finally:  # also when it was interrupted: what is not settled is still in hand
            for message, me in claims:
                if id(message) not in settled:
                    message._claim.leave(me)
        self._settled(list(compress(messages, [outcome is None for outcome in outcomes])), told)
        return outcomes

    def _group(
        self, messages: Sequence[BaseMessage[T]], call: Call, *, settles: bool = True, patience: float | None = None
    ) -> Sequence[object]:
        """Run `call` with what came over one session, on it or, where any will do, on another one of its host.

        A busy session is waited for until the deadline, or for `patience` seconds.
        """
        pooled, pool = session_of(messages[0]), self._state.pool
        if pooled.settling == "nowhere" and call is ack_all:
            return [outcome_of(self._check_pool) for _ in messages]
        deadline = self._state.deadline()
        free_by = deadline if patience is None else min(deadline, time.monotonic() + patience)
        group = messages, call, deadline, settles
        try:
            if pooled.anywhere:
                return pool.lend(pooled.host, free_by, self._anywhere, group)
            return pool.lend(pooled.host, free_by, self._held_group, group, pooled)
        except UnimqError as error:
            return [error] * len(messages)

    def _anywhere(self, pooled: PooledSession, group: "_Group[T]") -> Sequence[object]:
        messages, call, deadline, _ = group
        outcomes = call(pooled.session, messages, deadline)
        self._state.pool.discard_broken(pooled, outcomes)
        raise_unsent(outcomes)
        return outcomes

    def _held_group(self, pooled: PooledSession, group: "_Group[T]") -> Sequence[object]:
        messages, call, deadline, settles = group
        holds = [pooled.holds(message._raw) for message in messages]
        ours = list(compress(messages, holds))
        results = call(pooled.session, ours, deadline) if ours else ()
        for message, outcome in zip(ours, results, strict=True):
            if isinstance(outcome, LeaseLost) or (settles and not isinstance(outcome, UnimqError)):
                pooled.held.pop(message._raw.token, None)
        self._state.pool.discard_broken(pooled, results)
        if len(ours) == len(messages):
            return results
        result = iter(results)
        return [
            next(result) if is_held else lost(message, "it was delivered again")
            for message, is_held in zip(messages, holds, strict=True)
        ]

    def _return(
        self,
        messages: Sequence[BaseMessage[T]],
        wait: float,
        told: Outcome | None,
        *,
        unseen: bool = False,
        ended: bool = False,
    ) -> list[UnimqError | None]:
        """Give messages back to their queue; `unseen` ones uncounted, and to where they were as far as possible."""
        native = self._state.capabilities.nack.level == "native"
        if native or (unseen and session_of(messages[0]).session.takes_back):
            return self._many(
                messages,
                lambda session, ours, deadline: session.release(raws(ours), wait, deadline, unseen=unseen),
                told,
                check_over if ended else None,
                ended=ended,
            )

        def copy(message: BaseMessage[T]) -> Outgoing:
            count = message.delivery_count or 0
            # What could not be decoded goes back byte for byte, so that a newer unimq can still read it.
            verbatim = message._invalid is not None
            counted = max(0, count - 1) if unseen else count
            return copy_of(message, self._sender, verbatim=verbatim, delay=wait, delivery_count=counted)

        return self._move(messages, self._sender, copy, told, ended=ended)

    def _move(
        self,
        messages: Sequence[BaseMessage[T]],
        target: Sender[Any],
        make: Callable[[BaseMessage[T]], Outgoing],
        told: Outcome | None,
        *,
        ended: bool = False,
    ) -> list[UnimqError | None]:
        """Send what `make` gives for each message to `target`, then settle the message."""
        made: dict[int, Outgoing] = {}
        elsewhere = target.state.pool is not self._state.pool

        def prepare(message: BaseMessage[T]) -> None:
            if ended:
                check_over(message)
            made[id(message)] = outgoing = make(message)
            if elsewhere:
                target.send_one(outgoing, None, target.state.deadline())

        def move(session: Session, ours: Sequence[BaseMessage[T]], deadline: float) -> Sequence[object]:
            return session.move(target.state.name, [(message._raw, made[id(message)]) for message in ours], deadline)

        return self._many(messages, ack_all if elsewhere else move, told, prepare, ended=ended)

    def _check_pool(self) -> None:
        """Refuse to settle, even where nothing is to be done, for a client that was closed."""
        if self._state.pool.closed:
            raise self._state.closed_error()

    def _nack_delay(self, delay: float | timedelta) -> float:
        state = self._state
        if not state.capabilities.nack:
            state.refuse("nack")
        wait = seconds(delay, "delay")
        if wait and not state.capabilities.nack_delay:
            state.refuse("nack_delay")
        return wait

    def _is_last(self, message: BaseMessage[T]) -> bool:
        most = self._state.settings.max_deliveries
        return most is not None and (message.delivery_count or 0) >= most

    def _settled(self, messages: Sequence[BaseMessage[T]], told: Outcome | None) -> None:
        state = self._state
        if state.keeps_lease:
            for message in messages:
                session_of(message).host.keeper.settled(message)
        if told is not None and state.hooks.settle is not None:
            for message in messages:
                state.hooks.settle(message, told)

    def tell(self, message: BaseMessage[T], outcome: Outcome) -> None:
        """Let the hook `settle` know."""
        if self._state.hooks.settle is not None:
            self._state.hooks.settle(message, outcome)
