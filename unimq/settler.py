"""Settling: ack, nack, reject and extend, one message or many, and what the library gives back by itself.

A message is claimed before anything is sent, so that two threads cannot both settle it; a settlement that failed gives
the claim back, because the message is still in hand. Requeueing and dead-lettering are moves: send, then settle, in
one transaction where the backend has them. A crash in between duplicates, it never loses.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

import msgspec

from unimq import headers as reserved
from unimq.copies import copy_of, dead_letter_of
from unimq.driver import Delivery, Outgoing, Session
from unimq.errors import AlreadySettled, InvalidArgument, LeaseLost, UnimqError
from unimq.hooks import Outcome
from unimq.links import Link
from unimq.message import Letter
from unimq.options import seconds, short
from unimq.outcomes import errors_of, in_parts, outcome_of, raise_one, the_one
from unimq.sender import unsupported

if TYPE_CHECKING:
    from unimq.channel import Channel

__all__ = ["Settler"]

T = TypeVar("T")
R = TypeVar("R")

_Call = Callable[[Session, Sequence[Letter[Any]], float], Sequence[object]]
"""Settles letters of one session; an outcome for each, which is an error or something else."""

_MAX_DELIVERIES_REASON: Final = "nacked after {} deliveries, the most that is allowed"
_TOO_OFTEN_REASON: Final = "delivered {} times, {} are allowed"


class Settler(Generic[T]):
    """The settling half of one queue."""

    def __init__(self, channel: "Channel[T]") -> None:
        self._channel = channel

    # What an application asks for

    def ack(self, letter: Letter[T], outcome: Outcome = "ack") -> None:
        """Remove it for good: done, or discarded."""
        self._claim(letter)
        try:
            if _link_of(letter).settling == "nowhere":
                self._check_pool()
            else:
                self._with_session(
                    letter, lambda session, deadline: raise_one(session.ack([letter._raw], deadline)), settles=True
                )
        except BaseException:
            letter._claim.release()
            raise
        self._tell(letter, outcome)

    def ack_many(self, messages: Iterable[Letter[T]]) -> list[UnimqError | None]:
        """Remove many; the outcome of each. One exchange for each session that they came over."""
        return self._many(self._ours(messages), _ack, "ack")

    def nack(self, letter: Letter[T], delay: float | timedelta) -> None:
        """Give it back to be delivered again, or to the dead letters when it was delivered often enough."""
        raise_one(self._nack_all([letter], self._nack_delay(delay)))

    def nack_many(self, messages: Iterable[Letter[T]], delay: float | timedelta) -> list[UnimqError | None]:
        """Give many back; the outcome of each. Few exchanges for each session that they came over."""
        wait = self._nack_delay(delay)
        letters = self._ours(messages)
        return in_parts(letters, lambda one: one._channel, lambda channel, part: channel.settler._nack_all(part, wait))

    def _nack_all(self, letters: Sequence[Letter[T]], wait: float) -> list[UnimqError | None]:
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
        reason = _TOO_OFTEN_REASON.format(before, self._channel.settings.max_deliveries)
        raise_one(self._reject_all([letter], lambda _: (reason, before, "")))

    def _reject_all(
        self, letters: Sequence[Letter[T]], why: Callable[[Letter[T]], tuple[str, int | None, str]]
    ) -> list[UnimqError | None]:
        """`why` gives the reason, how many deliveries there were, and details."""
        channel = self._channel
        if channel.is_dead:
            return self._many(letters, _ack, "reject")
        if not channel.capabilities.dead_letters:
            raise unsupported(channel, "dead_letters")
        dead = channel.dead_channel()
        return self._move(letters, dead, lambda letter: dead_letter_of(letter, dead, *why(letter)), "reject")

    def check_extend(self, letter: Letter[T]) -> None:
        """Refuse what cannot be extended: here, or this message."""
        _link_of(letter)
        if not self._channel.capabilities.extend:
            raise unsupported(self._channel, "extend")

    def extend(self, letter: Letter[T], duration: float | timedelta | None) -> float:
        """Keep the lease for at least that long from now; returns the seconds granted."""
        self.check_extend(letter)
        channel = self._channel
        wanted = channel.settings.lease if duration is None else seconds(duration, "seconds")
        if letter.settled or letter.is_inherited:
            self._claim(letter)  # tells why it cannot be extended any more

        # No claim: another thread may settle it meanwhile, and the server tells which came first.
        def prolong(session: Session, deadline: float) -> float:
            granted = wanted if channel.keeps_lease else the_one(session.extend([letter._raw], wanted, deadline))
            letter.lease_until = time.monotonic() + granted
            self._hold(letter, msgspec.structs.replace(letter._raw, lease_until=letter.lease_until))
            return granted

        return self._with_session(letter, prolong)

    def _hold(self, letter: Letter[T], raw: Delivery) -> None:
        """Let `raw` stand for the delivery from now on."""
        letter._raw = raw
        held = _link_of(letter).held
        if raw.token in held:
            held[raw.token] = raw

    def put_back(self, letter: Letter[T], target: "Channel[Any]", headers: Mapping[str, str] | None) -> None:
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

    def keep_lease(self, letter: Letter[T]) -> None:
        """Give it back when its lease ends, on a backend whose own lease ends with the connection only."""
        letter.lease_until = time.monotonic() + self._channel.settings.lease
        self._channel.scheduler.at(letter.lease_until, lambda: self._end_lease(letter))

    def _end_lease(self, letter: Letter[T]) -> None:
        until = letter.lease_until
        if until is not None and until > time.monotonic():
            self._channel.scheduler.at(until, lambda: self._end_lease(letter))
        elif not letter.settled:
            self._return([letter], 0.0, None, prepare=_ended)

    # How

    def _ours(self, messages: Iterable[Letter[T]]) -> list[Letter[T]]:
        """A list of messages of this client, whatever the caller gave."""
        letters: list[Letter[T]] = list(messages) if isinstance(messages, Iterable) else [messages]
        for letter in letters:
            if not isinstance(letter, Letter) or letter._channel.client is not self._channel.client:
                msg = f"messages: {short(letter)} is no message of queue {self._channel.shown!r}"
                raise InvalidArgument(msg)
        return letters

    def _claim(self, letter: Letter[T]) -> None:
        _link_of(letter)
        if letter.is_inherited:
            raise _lost(letter, "it is in the hands of the process that forked this one")
        if letter._claim.acquire(blocking=False):
            return
        if letter._lost:
            raise _lost(letter, "its lease ended")
        msg = f"message {letter.id!r} of queue {letter.queue!r} was settled before"
        raise AlreadySettled(msg)

    def _with_session(self, letter: Letter[T], call: "Callable[[Session, float], R]", *, settles: bool = False) -> R:
        link, token = _link_of(letter), letter._raw.token
        deadline = self._channel.deadline()
        if link.anywhere:
            return self._channel.pool.run(link.host, deadline, lambda other: call(other.session, deadline))

        def settle(link: Link) -> R:
            if link.held.get(token) is not letter._raw:
                raise _lost(letter, "it was delivered again")
            try:
                result = call(link.session, deadline)
            except LeaseLost:
                link.held.pop(token, None)
                raise
            if settles:
                link.held.pop(token, None)
            return result

        return self._channel.pool.on(link, deadline, settle)

    def _many(
        self,
        letters: Sequence[Letter[T]],
        call: _Call,
        told: Outcome | None,
        prepare: Callable[[Letter[T]], None] | None = None,
    ) -> list[UnimqError | None]:
        """Settle each letter on its own session, one `call` per session, and say what became of each.

        `prepare` is run with each letter when it is claimed; what it raises is what became of it.
        """
        claimed: list[Letter[T]] = []
        settled: set[int] = set()

        def claim(letter: Letter[T]) -> None:
            self._claim(letter)
            claimed.append(letter)
            if prepare is not None:
                prepare(letter)

        def settle(letters: Sequence[Letter[T]]) -> Sequence[UnimqError | None]:
            outcomes = self._group(letters, call)
            settled.update(id(one) for one, outcome in zip(letters, outcomes, strict=True) if outcome is None)
            return outcomes

        try:
            outcomes = [outcome_of(claim, letter) for letter in letters]
            ours = [letter for letter, refused in zip(letters, outcomes, strict=True) if refused is None]
            results = iter(in_parts(ours, _settled_by, lambda _, part: settle(part)))
            outcomes = [next(results) if refused is None else refused for refused in outcomes]
        finally:  # also when it was interrupted: what is not settled is still in hand
            for letter in claimed:
                if id(letter) not in settled:
                    letter._claim.release()
        for letter, outcome in zip(letters, outcomes, strict=True):
            if outcome is None and told is not None:
                self._tell(letter, told)
        return outcomes

    def _group(self, letters: Sequence[Letter[T]], call: _Call) -> Sequence[UnimqError | None]:
        link, pool = _link_of(letters[0]), self._channel.pool
        if link.settling == "nowhere" and call is _ack:
            return [outcome_of(self._check_pool) for _ in letters]
        deadline = self._channel.deadline()
        try:
            if link.anywhere:
                return pool.run(link.host, deadline, self._anywhere, letters, call, deadline)
            return pool.on(link, deadline, self._held_group, letters, call, deadline)
        except UnimqError as error:
            return [error] * len(letters)

    def _anywhere(
        self, link: Link, letters: Sequence[Letter[T]], call: _Call, deadline: float
    ) -> Sequence[UnimqError | None]:
        outcomes = errors_of(call(link.session, letters, deadline))
        self._channel.pool.discard_broken(link, outcomes)
        return outcomes

    def _held_group(
        self, link: Link, letters: Sequence[Letter[T]], call: _Call, deadline: float
    ) -> Sequence[UnimqError | None]:
        held = link.held
        outcomes: list[UnimqError | None] = [
            None if held.get(letter._raw.token) is letter._raw else _lost(letter, "it was delivered again")
            for letter in letters
        ]
        ours = [position for position, refused in enumerate(outcomes) if refused is None]
        if not ours:
            return outcomes
        results = errors_of(call(link.session, [letters[position] for position in ours], deadline))
        for position, outcome in zip(ours, results, strict=True):
            outcomes[position] = outcome
            if outcome is None or isinstance(outcome, LeaseLost):
                held.pop(letters[position]._raw.token, None)
        self._channel.pool.discard_broken(link, results)
        return outcomes

    def _return(
        self,
        letters: Sequence[Letter[T]],
        wait: float,
        told: Outcome | None,
        *,
        unseen: bool = False,
        prepare: Callable[[Letter[T]], None] | None = None,
    ) -> list[UnimqError | None]:
        """Give letters back to their queue; `unseen` ones uncounted, and to where they were as far as possible."""
        native = self._channel.capabilities.nack.level == "native"
        if native or (unseen and _link_of(letters[0]).session.takes_back):
            return self._many(
                letters,
                lambda session, ours, deadline: session.release(_raws(ours), wait, deadline, unseen=unseen),
                told,
                prepare,
            )

        def copy(letter: Letter[T]) -> Outgoing:
            if prepare is not None:
                prepare(letter)
            count = letter.delivery_count or 0
            # What could not be decoded goes back byte for byte, so that a newer unimq can still read it.
            verbatim = letter._invalid is not None
            counted = max(0, count - 1) if unseen else count
            return copy_of(letter, self._channel, verbatim=verbatim, delay=wait, delivery_count=counted)

        return self._move(letters, self._channel, copy, told)

    def _move(
        self,
        letters: Sequence[Letter[T]],
        target: "Channel[Any]",
        make: Callable[[Letter[T]], Outgoing],
        told: Outcome | None,
    ) -> list[UnimqError | None]:
        """Send what `make` gives for each letter to `target`, then settle the letter."""
        made: dict[int, Outgoing] = {}
        elsewhere = target.pool is not self._channel.pool

        def prepare(letter: Letter[T]) -> None:
            made[id(letter)] = message = make(letter)
            if elsewhere:
                target.sender.send_one(message, None, target.deadline())

        def move(session: Session, ours: Sequence[Letter[T]], deadline: float) -> Sequence[object]:
            return session.move(target.name, [(letter._raw, made[id(letter)]) for letter in ours], deadline)

        return self._many(letters, _ack if elsewhere else move, told, prepare)

    def _check_pool(self) -> None:
        """Refuse to settle, even where nothing is to be done, for a client that was closed."""
        if self._channel.pool.closed:
            raise self._channel.closed_error()

    def _nack_delay(self, delay: float | timedelta) -> float:
        channel = self._channel
        if not channel.capabilities.nack:
            raise unsupported(channel, "nack")
        wait = seconds(delay, "delay")
        if wait and not channel.capabilities.nack_delay:
            raise unsupported(channel, "nack_delay")
        return wait

    def _is_last(self, letter: Letter[T]) -> bool:
        most = self._channel.settings.max_deliveries
        return most is not None and (letter.delivery_count or 0) >= most

    def _tell(self, letter: Letter[T], outcome: Outcome) -> None:
        if self._channel.hooks.settle is not None:
            self._channel.hooks.settle(letter, outcome)


def _link_of(letter: Letter[Any]) -> Link:
    if letter._link is None:
        msg = f"message {letter.id!r} of queue {letter.queue!r} was only peeked at: get it to settle it"
        raise InvalidArgument(msg)
    return letter._link


def _lost(letter: Letter[Any], why: str) -> LeaseLost:
    return LeaseLost(f"message {letter.id!r} of queue {letter.queue!r} is no longer yours to settle: {why}")


def _settled_by(letter: Letter[Any]) -> object:
    """What must be asked to settle it: its session, or any of its host."""
    link = _link_of(letter)
    return link.host if link.anywhere else link


def _raws(letters: Sequence[Letter[Any]]) -> list[Delivery]:
    return [letter._raw for letter in letters]


def _ack(session: Session, letters: Sequence[Letter[Any]], deadline: float) -> Sequence[object]:
    return session.ack(_raws(letters), deadline)


def _ended(letter: Letter[Any]) -> None:
    """Note why it is settled: by unimq itself."""
    letter._lost = True
