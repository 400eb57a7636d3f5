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
    link_of,
    lost,
    on_holder,
    raws,
    refusal,
    settled_by,
)
from unimq.copies import copy_of, dead_letter_of
from unimq.driver import Outgoing, Session
from unimq.errors import InvalidArgument, LeaseLost, UnimqError
from unimq.hosts import Link
from unimq.message import Letter
from unimq.options import seconds, short
from unimq.outcomes import errors_of, in_parts, outcome_of, raise_one, raise_unsent, the_one
from unimq.owner import Outcome
from unimq.seats import ENDED
from unimq.sender import Sender
from unimq.state import QueueState

__all__ = ["Settler"]

T = TypeVar("T")
R = TypeVar("R")

_Group = tuple[Sequence[Letter[T]], Call, float, bool]

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

    def ack(self, letter: Letter[T], outcome: Outcome = "ack") -> None:
        """Remove it for good: done, or discarded."""
        state, me = self._state, object()
        try:
            link = claim(letter, me)
            if link.settling == "nowhere":
                self._check_pool()
            else:
                deadline, anywhere = state.deadline(), link.anywhere
                how = ack_one if anywhere else ack_here
                state.pool.lend(link.host, deadline, how, (letter, deadline), None if anywhere else link)
            if state.keeps_lease:
                link.host.keeper.settled(letter)
        except BaseException:  # also an interruption at any moment
            letter._claim.leave(me)
            raise
        if state.hooks.settle is not None:
            state.hooks.settle(letter, outcome)

    def ack_many(self, messages: Iterable[Letter[T]]) -> list[UnimqError | None]:
        """Remove many; the outcome of each. One exchange for each session that they came over."""
        return self._many(self._ours(messages), ack_all, "ack")

    def nack(self, letter: Letter[T], delay: float | timedelta) -> None:
        """Give it back to be delivered again, or to the dead letters when it was delivered often enough."""
        raise_one(self.nack_all([letter], self._nack_delay(delay)))

    def nack_many(self, messages: Iterable[Letter[T]], delay: float | timedelta) -> list[UnimqError | None]:
        """Give many back; the outcome of each. Few exchanges for each session that they came over."""
        wait = self._nack_delay(delay)
        letters = self._ours(messages)
        return in_parts(letters, lambda one: one._channel, lambda owner, part: owner.settler.nack_all(part, wait))

    def nack_all(self, letters: Sequence[Letter[T]], wait: float) -> list[UnimqError | None]:
        """Give back many of this queue; the outcome of each."""
        return in_parts(
            letters,
            self._is_last,
            lambda last, part: (
                self._reject_all(
                    part, lambda one: (_MAX_DELIVERIES_REASON.format(one.delivery_count), one.delivery_count, "")
                )
                if last
                else self._return(part, wait, "nack")
            ),
        )

    def release(self, letter: Letter[T]) -> None:
        """Give it back as if nobody had got it."""
        self._nack_delay(0)  # whether there is a way back
        raise_one(self._return([letter], 0.0, "release", unseen=True))

    def reject(self, letter: Letter[T], reason: str, details: str = "") -> None:
        """Move it to the dead-letter queue; inside one, discard it."""
        for name, value in (("reason", reason), ("details", details)):
            if not isinstance(value, str):
                msg = f"{name}={short(value)}: must be a str"
                raise InvalidArgument(msg)
        raise_one(self._reject_all([letter], lambda one: (reason, one.delivery_count, details)))

    def reject_unseen(self, letter: Letter[T]) -> None:
        """Move to the dead-letter queue what was delivered often enough before this delivery, which nobody sees."""
        before = (letter.delivery_count or 1) - 1
        reason = _TOO_OFTEN_REASON.format(before, self._state.settings.max_deliveries)
        raise_one(self._reject_all([letter], lambda _: (reason, before, "")))

    def _reject_all(
        self, letters: Sequence[Letter[T]], why: Callable[[Letter[T]], tuple[str, int | None, str]]
    ) -> list[UnimqError | None]:
        """`why` gives the reason, how many deliveries there were, and details."""
        state = self._state
        if state.is_dead:
            return self._many(letters, ack_all, "reject")
        if not state.capabilities.dead_letters:
            state.refuse("dead_letters")
        dead = self._dead()
        return self._move(letters, dead, lambda letter: dead_letter_of(letter, dead, *why(letter)), "reject")

    def check_extend(self, letter: Letter[T]) -> None:
        """Refuse what cannot be extended: here, or this message."""
        link_of(letter)
        if not self._state.capabilities.extend:
            self._state.refuse("extend")

    def extend(self, letter: Letter[T], duration: float | timedelta | None) -> float:
        """Keep the lease for at least that long from now; returns the seconds granted."""
        self.check_extend(letter)
        state = self._state
        wanted = state.settings.lease if duration is None else seconds(duration, "seconds")
        return the_one(self._extend_all([letter], wanted))

    def keep(self, letter: Letter[T]) -> None:
        """Extend it in time, again and again."""
        self.check_extend(letter)
        link_of(letter).host.keeper.keep(letter)

    def _extend_all(
        self, letters: Sequence[Letter[T]], wanted: float, patience: float | None = None
    ) -> list[float | UnimqError]:
        # No claim: another thread may settle it meanwhile, and the server tells which came first.
        def prolong(session: Session, ours: Sequence[Letter[Any]], deadline: float) -> Sequence[object]:
            return [
                outcome if isinstance(outcome, UnimqError) else granted(letter, outcome)
                for letter, outcome in zip(ours, session.extend(raws(ours), wanted, deadline), strict=True)
            ]

        def extend(letters: Sequence[Letter[T]]) -> Sequence[float | UnimqError]:
            if self._state.keeps_lease:
                return [self._prolong(letter, wanted) for letter in letters]
            outcomes = self._group(letters, prolong, settles=False, patience=patience)
            return cast("Sequence[float | UnimqError]", outcomes)

        refused = [refusal(one) if one.settled or one.is_inherited else None for one in letters]
        ours = [letter for letter, why in zip(letters, refused, strict=True) if why is None]
        results = iter(in_parts(ours, settled_by, lambda _, part: extend(part)))
        return [next(results) if why is None else why for why in refused]

    def _prolong(self, letter: Letter[T], wanted: float) -> float | LeaseLost:
        """Extend a lease that unimq itself ends."""
        link = link_of(letter)
        if not link.holds(letter._raw):
            return lost(letter, "it was delivered again")
        return wanted if link.host.keeper.prolong(letter, wanted) else lost(letter, "its lease ended")

    def put_back(self, letter: Letter[T], target: Sender[Any], headers: Mapping[str, str] | None) -> None:
        """Move it to `target` as a message that was never delivered; what redrive does."""
        verbatim = reserved.DEAD_VERBATIM in letter.headers
        changes = {"headers": headers, "delivery_count": 0}
        raise_one(self._move([letter], target, lambda one: copy_of(one, target, verbatim=verbatim, **changes), None))

    # What the library does by itself

    def give_back(self, letters: Iterable[Letter[T]]) -> None:
        """Return unhandled messages in their order. What fails stays with the server, whose lease gives it back."""
        mine = [letter for letter in letters if not (letter.settled or letter.is_inherited)]
        if mine:
            self._return(mine, 0.0, None, unseen=True)

    def end_leases(self, letters: Sequence[Letter[T]]) -> list[UnimqError | None]:
        """Give back what was in hand for too long; the outcome of each."""
        return self._return(letters, 0.0, None, ended=True)

    def keep_leases(self, letters: Sequence[Letter[T]]) -> list[float | UnimqError]:
        """Extend what is kept; the seconds granted, or why not."""
        return self._extend_all(letters, self._state.settings.lease, _PATIENCE)

    # How

    def _ours(self, messages: Iterable[Letter[T]]) -> list[Letter[T]]:
        """A list of messages of this client, whatever the caller gave."""
        letters: list[Letter[T]] = list(messages) if isinstance(messages, Iterable) else [messages]
        for letter in letters:
            if not isinstance(letter, Letter) or letter._channel.pool is not self._state.pool:
                msg = f"messages: {short(letter)} is no message of queue {self._state.shown!r}"
                raise InvalidArgument(msg)
        return letters

    def with_session(self, letter: Letter[T], call: "Callable[[Session, Letter[Any], float], R]") -> R:
        """Run `call`, which does not settle it, with a session that could."""
        link, pool, deadline = link_of(letter), self._state.pool, self._state.deadline()
        if link.anywhere:
            return pool.lend(link.host, deadline, lambda other, _: call(other.session, letter, deadline), None)
        return pool.lend(link.host, deadline, on_holder, (letter, call, deadline), link)

    def _many(
        self,
        letters: Sequence[Letter[T]],
        call: Call,
        told: Outcome | None,
        prepare: Callable[[Letter[T]], None] | None = None,
        *,
        ended: bool = False,
    ) -> list[UnimqError | None]:
        """Settle each letter on its own session, one `call` per session, and say what became of each.

        `prepare` is run with each letter when it is claimed; what it raises is what became of it. What has `ended` is
        given up by unimq itself, which has other things to do than to wait for a busy session.
        """
        claims = [(letter, ENDED if ended else object()) for letter in letters]
        settled: set[int] = set()

        def take(letter: Letter[T], me: object) -> None:
            claim(letter, me)
            if prepare is not None:
                prepare(letter)

        def settle(letters: Sequence[Letter[T]]) -> Sequence[UnimqError | None]:
            outcomes = errors_of(self._group(letters, call, patience=_PATIENCE if ended else None))
            settled.update(id(one) for one, outcome in zip(letters, outcomes, strict=True) if outcome is None)
            return outcomes

        try:
            outcomes = [outcome_of(claim if prepare is None else take, letter, me) for letter, me in claims]
            # No condition in a loop of this block: Python 3.13 protects the jump back of such a one by no `finally`.
            ours = list(compress(letters, [refused is None for refused in outcomes]))
            results = iter(in_parts(ours, settled_by, lambda _, part: settle(part)))
            outcomes = [next(results) if refused is None else refused for refused in outcomes]
        finally:  # also when it was interrupted: what is not settled is still in hand
            for letter, me in claims:
                if id(letter) not in settled:
                    letter._claim.leave(me)
        self._settled(list(compress(letters, [outcome is None for outcome in outcomes])), told)
        return outcomes

    def _group(
        self, letters: Sequence[Letter[T]], call: Call, *, settles: bool = True, patience: float | None = None
    ) -> Sequence[object]:
        """Run `call` with what came over one session, on it or, where any will do, on another one of its host.

        A busy session is waited for until the deadline, or for `patience` seconds.
        """
        link, pool = link_of(letters[0]), self._state.pool
        if link.settling == "nowhere" and call is ack_all:
            return [outcome_of(self._check_pool) for _ in letters]
        deadline = self._state.deadline()
        free_by = deadline if patience is None else min(deadline, time.monotonic() + patience)
        group = letters, call, deadline, settles
        try:
            if link.anywhere:
                return pool.lend(link.host, free_by, self._anywhere, group)
            return pool.lend(link.host, free_by, self._held_group, group, link)
        except UnimqError as error:
            return [error] * len(letters)

    def _anywhere(self, link: Link, group: "_Group[T]") -> Sequence[object]:
        letters, call, deadline, _ = group
        outcomes = call(link.session, letters, deadline)
        self._state.pool.discard_broken(link, outcomes)
        raise_unsent(outcomes)
        return outcomes

    def _held_group(self, link: Link, group: "_Group[T]") -> Sequence[object]:
        letters, call, deadline, settles = group
        holds = [link.holds(letter._raw) for letter in letters]
        ours = list(compress(letters, holds))
        results = call(link.session, ours, deadline) if ours else ()
        for letter, outcome in zip(ours, results, strict=True):
            if isinstance(outcome, LeaseLost) or (settles and not isinstance(outcome, UnimqError)):
                link.held.pop(letter._raw.token, None)
        self._state.pool.discard_broken(link, results)
        if len(ours) == len(letters):
            return results
        result = iter(results)
        return [
            next(result) if is_held else lost(letter, "it was delivered again")
            for letter, is_held in zip(letters, holds, strict=True)
        ]

    def _return(
        self,
        letters: Sequence[Letter[T]],
        wait: float,
        told: Outcome | None,
        *,
        unseen: bool = False,
        ended: bool = False,
    ) -> list[UnimqError | None]:
        """Give letters back to their queue; `unseen` ones uncounted, and to where they were as far as possible."""
        native = self._state.capabilities.nack.level == "native"
        if native or (unseen and link_of(letters[0]).session.takes_back):
            return self._many(
                letters,
                lambda session, ours, deadline: session.release(raws(ours), wait, deadline, unseen=unseen),
                told,
                check_over if ended else None,
                ended=ended,
            )

        def copy(letter: Letter[T]) -> Outgoing:
            count = letter.delivery_count or 0
            # What could not be decoded goes back byte for byte, so that a newer unimq can still read it.
            verbatim = letter._invalid is not None
            counted = max(0, count - 1) if unseen else count
            return copy_of(letter, self._sender, verbatim=verbatim, delay=wait, delivery_count=counted)

        return self._move(letters, self._sender, copy, told, ended=ended)

    def _move(
        self,
        letters: Sequence[Letter[T]],
        target: Sender[Any],
        make: Callable[[Letter[T]], Outgoing],
        told: Outcome | None,
        *,
        ended: bool = False,
    ) -> list[UnimqError | None]:
        """Send what `make` gives for each letter to `target`, then settle the letter."""
        made: dict[int, Outgoing] = {}
        elsewhere = target.state.pool is not self._state.pool

        def prepare(letter: Letter[T]) -> None:
            if ended:
                check_over(letter)
            made[id(letter)] = message = make(letter)
            if elsewhere:
                target.send_one(message, None, target.state.deadline())

        def move(session: Session, ours: Sequence[Letter[T]], deadline: float) -> Sequence[object]:
            return session.move(target.state.name, [(letter._raw, made[id(letter)]) for letter in ours], deadline)

        return self._many(letters, ack_all if elsewhere else move, told, prepare, ended=ended)

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

    def _is_last(self, letter: Letter[T]) -> bool:
        most = self._state.settings.max_deliveries
        return most is not None and (letter.delivery_count or 0) >= most

    def _settled(self, letters: Sequence[Letter[T]], told: Outcome | None) -> None:
        state = self._state
        if state.keeps_lease:
            for letter in letters:
                link_of(letter).host.keeper.settled(letter)
        if told is not None and state.hooks.settle is not None:
            for letter in letters:
                state.hooks.settle(letter, told)

    def tell(self, letter: Letter[T], outcome: Outcome) -> None:
        """Let the hook `settle` know."""
        if self._state.hooks.settle is not None:
            self._state.hooks.settle(letter, outcome)
