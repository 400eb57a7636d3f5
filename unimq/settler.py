"""Settling: ack, nack, reject and extend, one message or many, and what the library gives back by itself.

A message is claimed before anything is sent, so that two threads cannot both settle it; a settlement that failed gives
the claim back, because the message is still in hand. Requeueing and dead-lettering are moves: send, then settle, in
one transaction where the backend has them. A crash in between duplicates, it never loses.
"""

import contextlib
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

import msgspec

from unimq import headers as reserved
from unimq.driver import Delivery, Outgoing, Session
from unimq.errors import AlreadySettled, BatchError, InvalidArgument, LeaseLost, TooLarge, UnimqError
from unimq.hooks import Outcome
from unimq.links import Link, ends_session
from unimq.message import Letter
from unimq.options import seconds, short
from unimq.sender import unsupported

if TYPE_CHECKING:
    from unimq.channel import Channel

__all__ = ["Settler", "raise_failures"]

T = TypeVar("T")
R = TypeVar("R")

_SHORT_REASON: Final = 100
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
        self._settle(letter, lambda session, deadline: _check(session.ack([letter._raw], deadline)))
        self._tell(letter, outcome)

    def ack_many(self, messages: Iterable[Letter[T]]) -> list[UnimqError | None]:
        """Remove many; the outcome of each. One exchange for each session that they came over."""
        return self._many(self._ours(messages), lambda session, raw, deadline: session.ack(raw, deadline), "ack")

    def nack(self, letter: Letter[T], delay: float | timedelta) -> None:
        """Give it back to be delivered again, or to the dead letters when it was delivered often enough."""
        wait = self._nack_delay(delay)
        if self._is_last(letter):
            self.reject(letter, _MAX_DELIVERIES_REASON.format(letter.delivery_count))
            return
        self._claim(letter)
        if self._channel.capabilities.nack.level == "native":
            self._settle(letter, lambda session, deadline: _check(session.release([letter._raw], wait, deadline)))
        else:
            self._requeue(letter, wait, counts=True)
        self._tell(letter, "nack")

    def nack_many(self, messages: Iterable[Letter[T]], delay: float | timedelta) -> list[UnimqError | None]:
        """Give many back; the outcome of each."""
        wait = self._nack_delay(delay)
        letters = self._ours(messages)
        if self._channel.capabilities.nack.level == "native" and not any(map(self._is_last, letters)):
            return self._many(letters, lambda session, raw, deadline: session.release(raw, wait, deadline), "nack")
        return [_outcome(self.nack, letter, wait) for letter in letters]

    def reject(self, letter: Letter[T], reason: str) -> None:
        """Move it to the dead-letter queue; inside one, discard it."""
        if not isinstance(reason, str):
            msg = f"reason={short(reason)}: must be a str"
            raise InvalidArgument(msg)
        self._reject(letter, reason, letter.delivery_count)

    def reject_unseen(self, letter: Letter[T]) -> None:
        """Move to the dead-letter queue what was delivered often enough before this delivery, which nobody sees."""
        before = (letter.delivery_count or 1) - 1
        self._reject(letter, _TOO_OFTEN_REASON.format(before, self._channel.settings.max_deliveries), before)

    def _reject(self, letter: Letter[T], reason: str, deliveries: int | None) -> None:
        channel = self._channel
        if channel.is_dead:
            self._claim(letter)
            self._settle(letter, lambda session, deadline: _check(session.ack([letter._raw], deadline)))
        else:
            if not channel.capabilities.dead_letters:
                raise unsupported(channel, "dead_letters")
            dead = channel.dead_channel()
            self._claim(letter)
            self._move(letter, dead, lambda: _as_dead(letter, dead, reason, deliveries))
        self._tell(letter, "reject")

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
            granted = wanted if channel.keeps_lease else session.extend(letter._raw, wanted, deadline)
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
        self._claim(letter)
        self._move(letter, target, lambda: _copy(letter, target, verbatim=verbatim, headers=headers, delivery_count=0))

    # What the library does by itself

    def give_back(self, letters: Iterable[Letter[T]]) -> None:
        """Return unhandled messages in their order. What fails stays with the server, whose lease gives it back."""
        mine = [letter for letter in letters if not (letter.settled or letter.is_inherited)]
        if not mine:
            return
        if self._channel.capabilities.nack.level == "native":
            self._many(mine, lambda session, raw, deadline: session.release(raw, 0.0, deadline), None)
            return
        for letter in mine:
            with contextlib.suppress(UnimqError):
                self._claim(letter)
                self._requeue(letter, 0.0, counts=False)

    def keep_lease(self, letter: Letter[T]) -> None:
        """Give it back when its lease ends, on a backend whose own lease ends with the connection only."""
        letter.lease_until = time.monotonic() + self._channel.settings.lease
        self._channel.scheduler.at(letter.lease_until, lambda: self._end_lease(letter))

    def _end_lease(self, letter: Letter[T]) -> None:
        until = letter.lease_until
        if until is not None and until > time.monotonic():
            self._channel.scheduler.at(until, lambda: self._end_lease(letter))
        elif letter._claim.acquire(blocking=False):
            letter._lost = True
            if self._channel.capabilities.nack.level == "native":
                self._settle(letter, lambda session, deadline: _check(session.release([letter._raw], 0.0, deadline)))
            else:
                self._requeue(letter, 0.0, counts=True)

    # How

    def _ours(self, messages: Iterable[Letter[T]]) -> list[Letter[T]]:
        """A list of messages of this client, whatever the caller gave."""
        letters: list[Letter[T]] = list(messages) if isinstance(messages, Iterable) else [messages]
        for letter in letters:
            if not isinstance(letter, Letter) or letter._channel.client is not self._channel.client:
                msg = f"messages: {short(letter)} is no message of queue {self._channel.name!r}"
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

    def _settle(self, letter: Letter[T], call: "Callable[[Session, float], None]") -> None:
        """Run `call` where the claimed `letter` can be settled; the claim is given back when that fails."""
        try:
            self._with_session(letter, call, settles=True)
        except BaseException:
            letter._claim.release()
            raise

    def _with_session(self, letter: Letter[T], call: "Callable[[Session, float], R]", *, settles: bool = False) -> R:
        link, token = _link_of(letter), letter._raw.token
        deadline = self._channel.deadline()
        with self._lock(link, deadline) as session:
            if link.settling == "any-session":
                return call(session, deadline)
            if link.held.get(token) is not letter._raw:
                raise _lost(letter, "it was delivered again")
            try:
                result = call(session, deadline)
            except LeaseLost:
                link.held.pop(token, None)
                raise
            if settles:
                link.held.pop(token, None)
            return result

    def _lock(self, link: Link, deadline: float) -> Link:
        if link.settling == "any-session":
            return self._channel.pool.borrow(link.host, deadline)
        return self._channel.pool.lock(link, deadline)

    def _many(
        self,
        letters: Sequence[Letter[T]],
        call: Callable[[Session, Sequence[Delivery], float], Sequence[UnimqError | None]],
        told: Outcome | None,
    ) -> list[UnimqError | None]:
        """Settle each letter on its own session, one `call` per session, and say what became of each."""
        outcomes: list[UnimqError | None] = [None] * len(letters)
        groups: dict[object, list[int]] = {}
        for position, letter in enumerate(letters):
            outcomes[position] = refused = _outcome(self._claim, letter)
            if refused is None:
                link = _link_of(letter)
                key = link.host if link.settling == "any-session" else link
                groups.setdefault(key, []).append(position)
        for positions in groups.values():
            group = [letters[position] for position in positions]
            for position, outcome in zip(positions, self._group(group, call), strict=True):
                outcomes[position] = outcome
                if outcome is not None:
                    letters[position]._claim.release()
                elif told is not None:
                    self._tell(letters[position], told)
        return outcomes

    def _group(
        self,
        letters: Sequence[Letter[T]],
        call: Callable[[Session, Sequence[Delivery], float], Sequence[UnimqError | None]],
    ) -> Sequence[UnimqError | None]:
        link = _link_of(letters[0])
        deadline = self._channel.deadline()
        try:
            with self._lock(link, deadline) as session:
                if link.settling == "any-session":
                    return call(session, [letter._raw for letter in letters], deadline)
                return self._held_group(link, letters, lambda ours: call(session, ours, deadline))
        except UnimqError as error:
            return [error] * len(letters)

    def _held_group(
        self,
        link: Link,
        letters: Sequence[Letter[T]],
        call: Callable[[Sequence[Delivery]], Sequence[UnimqError | None]],
    ) -> Sequence[UnimqError | None]:
        held = link.held
        outcomes: list[UnimqError | None] = [
            None if held.get(letter._raw.token) is letter._raw else _lost(letter, "it was delivered again")
            for letter in letters
        ]
        ours = [position for position, refused in enumerate(outcomes) if refused is None]
        if ours:
            for position, outcome in zip(ours, call([letters[position]._raw for position in ours]), strict=True):
                outcomes[position] = outcome
                if outcome is None or isinstance(outcome, LeaseLost):
                    held.pop(letters[position]._raw.token, None)
                elif ends_session(outcome):
                    self._channel.pool.discard(link, outcome)
        return outcomes

    def _requeue(self, letter: Letter[T], wait: float, *, counts: bool) -> None:
        count = letter.delivery_count or 0
        counted = count if counts else max(0, count - 1)
        # What could not be decoded goes back byte for byte, so that a newer unimq can still read it.
        verbatim = letter._invalid is not None
        fields = {"delay": wait, "delivery_count": counted}
        self._move(letter, self._channel, lambda: _copy(letter, self._channel, verbatim=verbatim, **fields))

    def _move(self, letter: Letter[T], target: "Channel[Any]", make: Callable[[], Outgoing]) -> None:
        """Send what `make` gives to `target`, then settle the claimed `letter`."""
        try:
            message = make()
            if target.pool is not self._channel.pool:
                target.sender.send_one(message, None, target.deadline())
        except BaseException:
            letter._claim.release()
            raise

        def move(session: Session, deadline: float) -> None:
            session.move(letter._raw, target.name, message, deadline)

        def ack(session: Session, deadline: float) -> None:
            _check(session.ack([letter._raw], deadline))

        self._settle(letter, move if target.pool is self._channel.pool else ack)

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


def _copy(letter: Letter[Any], target: "Channel[Any]", *, verbatim: bool = False, **changes: Any) -> Outgoing:
    """The message as it was sent, for `target`; `verbatim` sends its bytes without an envelope around them."""
    delivery = letter._delivery
    fields: dict[str, Any] = {
        "headers": delivery.headers,
        "id": delivery.id,
        "priority": Outgoing(b"").priority if delivery.priority is None else delivery.priority,
        "expires_at": delivery.expires_at,
        "enqueued_at": delivery.enqueued_at,
        **changes,
    }
    if target.capabilities.lease_by == "put":
        fields["lease"] = target.settings.lease
    message = Outgoing(delivery.body, **fields)
    if not verbatim:
        return target.sender.encode(message)
    if target.capabilities.headers.level == "native":
        return message
    return msgspec.structs.replace(message, headers=None)


def _as_dead(letter: Letter[Any], target: "Channel[Any]", reason: str, deliveries: int | None) -> Outgoing:
    """The message for the dead-letter queue, with as much of its story as fits into the backend's body limit."""
    own = {k: v for k, v in letter.headers.items() if not k.startswith(reserved.DEAD_PREFIX)}
    origin = {reserved.DEAD_ORIGIN: letter.queue}
    if letter._invalid is not None or _is_plain(letter):
        origin[reserved.DEAD_VERBATIM] = "yes"
    story = {reserved.DEAD_REASON: reserved.reason_text(reason), reserved.DEAD_AT: f"{time.time():.6f}"}
    if deliveries is not None:
        story[reserved.DEAD_DELIVERIES] = str(deliveries)
    brief = {reserved.DEAD_REASON: reserved.reason_text(reason)[:_SHORT_REASON]}
    for headers in ({**own, **origin, **story}, {**own, **origin, **story, **brief}, {**own, **origin}):
        with contextlib.suppress(TooLarge):
            return _copy(letter, target, headers=headers, expires_at=None, delivery_count=0)
    return _copy(letter, target, verbatim=True, headers=None, expires_at=None)


def _is_plain(letter: Letter[Any]) -> bool:
    """Whether it came as nothing but its body, as a foreign program sends it; it goes back so."""
    return not letter._raw.headers and letter._raw.body == letter._delivery.body


def _link_of(letter: Letter[Any]) -> Link:
    if letter._link is None:
        msg = f"message {letter.id!r} of queue {letter.queue!r} was only peeked at: get it to settle it"
        raise InvalidArgument(msg)
    return letter._link


def _lost(letter: Letter[Any], why: str) -> LeaseLost:
    return LeaseLost(f"message {letter.id!r} of queue {letter.queue!r} is no longer yours to settle: {why}")


def _check(outcomes: Sequence[UnimqError | None]) -> None:
    """Raise the one outcome, if it is an error."""
    if outcomes[0] is not None:
        raise outcomes[0]


def _outcome(call: Callable[..., object], *arguments: object) -> UnimqError | None:
    try:
        call(*arguments)
    except UnimqError as error:
        return error
    return None


def raise_failures(what: str, outcomes: Sequence[UnimqError | None]) -> None:
    """Raise a `BatchError` when any member failed."""
    failed = [outcome for outcome in outcomes if outcome is not None]
    if failed:
        msg = f"{what}: {len(failed)} of {len(outcomes)} failed, the first with: {failed[0]}"
        raise BatchError(msg, outcomes)
