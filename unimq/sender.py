"""Putting: check and encode what the caller gave, before any I/O; then send it, with an outcome for every message."""

import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any, Final, Generic, NamedTuple, TypeVar, cast

from unimq import headers as reserved
from unimq.capabilities import Capabilities
from unimq.driver import Outgoing
from unimq.envelope import check_headers, is_plain
from unimq.errors import (
    BatchError,
    InvalidArgument,
    TooLarge,
    UnimqError,
    Unsupported,
)
from unimq.hosts import PooledSession
from unimq.options import seconds, short
from unimq.outcomes import is_unsent, raise_unsent
from unimq.receipts import Receipt
from unimq.state import QueueState

__all__ = ["Sender", "WithContext", "bodies_of", "text"]

T = TypeVar("T")
W = TypeVar("W")
R = TypeVar("R")
_Put = tuple[W, float, Capabilities]
"""What to send, until when, and by what it was encoded."""

_ID_CHARACTERS: Final = 200
_UNIQUE: Final = re.compile(r"[A-Za-z0-9][!-~]{0,63}")
_NO_METADATA: Final = (None, None, 0, None, None, None, None, None, None)
_ONE_BODY: Final = (str, bytes, bytearray, memoryview, Mapping)
_CHUNK: Final = 1000
"""Messages that one exchange of a put of many sends; more costs memory and gains nothing."""


class WithContext(NamedTuple):
    """In place of a put's headers: these, and others that are left out where the message cannot carry them."""

    headers: Mapping[str, str] | None
    context: Mapping[str, str]

    def merged(self) -> Mapping[str, str]:
        """All of them; what the application gave goes first."""
        return {**self.context, **(self.headers or {})}


class Sender(Generic[T]):
    """The sending half of one queue."""

    def __init__(self, state: QueueState[T]) -> None:
        self.state = state

    def build(  # noqa: PLR0913, PLR0917 - the arguments of a put
        self,
        body: T,
        headers: Mapping[str, str] | None = None,
        priority: int | None = None,
        delay: float | timedelta = 0,
        at: datetime | None = None,
        ttl: float | timedelta | None = None,
        id: str | None = None,  # noqa: A002 - the public argument's name
        reply_to: str | None = None,
        correlation_id: str | None = None,
        unique: str | None = None,
    ) -> Outgoing:
        """The encoded message. Everything that can be refused is refused here, before a byte is sent."""
        state = self.state
        raw = state.codec.encode(body)
        metadata = (headers, priority, delay, at, ttl, id, reply_to, correlation_id, unique)
        if metadata == _NO_METADATA and state.hooks.send is None:
            return self._plain(raw)
        if isinstance(headers, WithContext):
            return self._with_context(raw, headers, metadata[1:])
        return self.encode(self._with_metadata(raw, *metadata))

    def _with_context(self, raw: bytes, headers: WithContext, others: tuple[Any, ...]) -> Outgoing:
        with suppress(InvalidArgument, TooLarge, Unsupported, TypeError):  # what is left is said of it without
            return self.encode(self._with_metadata(raw, headers.merged(), *others))
        return self.encode(self._with_metadata(raw, headers.headers, *others))

    def build_many(self, bodies: Iterable[T], *metadata: Any) -> list[Outgoing]:
        """The encoded messages of a put of many, which have the same metadata."""
        if metadata == _NO_METADATA[: len(metadata)] and self.state.hooks.send is None:
            encode, plain = self.state.codec.encode, self._plain
            return [plain(encode(body)) for body in bodies_of(bodies)]
        return [self.build(body, *metadata) for body in bodies_of(bodies)]

    def _plain(self, raw: bytes) -> Outgoing:
        """The message that has a body and nothing else."""
        state = self.state
        message = Outgoing(raw) if state.put_lease is None else Outgoing(raw, lease=state.put_lease)
        if state.transforms and not (state.sends_plain and is_plain(raw)):
            return self.encode(message)
        if (limit := state.pool.capabilities.limits.body) is not None:
            self._check_size(message, limit)
        return message

    def _with_metadata(  # noqa: PLR0913, PLR0917
        self,
        raw: bytes,
        headers: Mapping[str, str] | None,
        priority: int | None,
        delay: float | timedelta,
        at: datetime | None,
        ttl: float | timedelta | None,
        own_id: str | None,
        reply_to: str | None,
        correlation_id: str | None,
        unique: str | None,
    ) -> Outgoing:
        fields: dict[str, Any] = {}
        all_headers = self._headers(headers, reply_to, correlation_id)
        if all_headers:
            fields["headers"] = all_headers
        if priority is not None:
            fields["priority"] = self._priority(priority)
        wait = self._delay(delay, at)
        if wait:
            fields["delay"] = wait
        if ttl is not None:
            self._needs("ttl")
            lifetime = seconds(ttl, "ttl")
            if lifetime <= wait:
                msg = f"ttl={lifetime:g}: must be longer than the delay of {wait:g} s, or it expires undelivered"
                raise InvalidArgument(msg)
            fields["expires_at"] = time.time() + lifetime
        if own_id is not None:
            fields["id"] = text(own_id, "id", _ID_CHARACTERS)
        if unique is not None:
            fields["unique"] = self._unique(unique, own_id)
        return Outgoing(raw, lease=self.state.put_lease, **fields)

    def encode(self, message: Outgoing) -> Outgoing:
        """Pass the transforms and check the size."""
        state = self.state
        for transform in state.transforms:
            message = transform.encode(message)
        if (limit := state.pool.capabilities.limits.body) is not None:
            self._check_size(message, limit)
        return message

    def _check_size(self, message: Outgoing, limit: int | None) -> None:
        state = self.state
        if limit is not None and state.capabilities.limits.name_in_body:
            limit -= len(state.name.encode())
        if limit is not None and len(message.body) > limit:
            msg = (
                f"body of {len(message.body)} bytes: queue {state.shown!r} of {state.where} takes at "
                f"most {limit}; send a reference to it instead"
            )
            raise TooLarge(msg)

    def send_one(self, message: Outgoing, key: str | None, deadline: float) -> Receipt:
        """Send one built message; what became of it is returned or raised."""
        outcome = self._send(self._exchange_one, message, key, deadline)
        if isinstance(outcome, UnimqError):
            raise outcome
        return outcome

    def send(self, messages: Sequence[Outgoing], key: str | None, deadline: float) -> "list[Receipt | UnimqError]":
        """Send built messages in one exchange with one host; the outcome of each, in order.

        Those that a connection which broke in the middle had not sent yet are sent over another one.
        """
        outcomes = self._send(self._exchange, messages, key, deadline)
        while unsent := [place for place, one in enumerate(outcomes) if type(one) is not Receipt and is_unsent(one)]:
            if time.monotonic() >= deadline:
                break
            try:
                again = self._send(self._exchange, [messages[place] for place in unsent], key, deadline)
            except UnimqError as error:
                for place in unsent:
                    outcomes[place] = error
                break
            for place, outcome in zip(unsent, again, strict=True):
                outcomes[place] = outcome
        return outcomes

    def _send(self, exchange: "Callable[[PooledSession, _Put[W]], R]", what: W, key: str | None, deadline: float) -> R:
        """Run `exchange` with one host.

        A host that cannot be reached in time, or a connection that turns out dead before anything was sent, is passed
        over, whether the driver raises that or returns it: that cannot duplicate. Nothing else is repeated.
        """
        state = self.state
        pool = state.pool
        if state.closed or pool.closed:
            raise state.closed_error()
        if key is not None:
            _check_key(key)
        put = (what, deadline, pool.capabilities)
        if len(pool.hosts) == 1:
            return pool.lend(pool.hosts[0], deadline, exchange, put)
        *others, last = pool.order(key)
        for host in others:
            try:
                return pool.lend(host, deadline, exchange, put)
            except UnimqError as error:
                if not is_unsent(error) or time.monotonic() >= deadline:
                    raise
        return pool.lend(last, deadline, exchange, put)

    def send_many(self, messages: Sequence[Outgoing], key: str | None, deadline: float) -> list[Receipt]:
        """Send built messages in few exchanges. Raises `BatchError` when some were not stored."""
        self.state.check_open()
        outcomes: list[Receipt | UnimqError] = []
        for start in range(0, len(messages), _CHUNK):
            chunk = messages[start : start + _CHUNK]
            try:
                outcomes += self.send(chunk, key, deadline)
            except UnimqError as error:
                outcomes += [error] * len(chunk)
        failures = [outcome for outcome in outcomes if isinstance(outcome, UnimqError)]
        if failures:
            msg = f"put_many: {len(failures)} of {len(outcomes)} were not stored, the first because: {failures[0]}"
            raise BatchError(msg, outcomes) from failures[0]
        return cast("list[Receipt]", outcomes)

    def _exchange_one(self, pooled: PooledSession, put: "_Put[Outgoing]") -> Receipt | UnimqError:
        message, deadline, known = put
        if pooled.capabilities is not known:
            self._recheck(pooled.capabilities, (message,))
        name = self.state.name
        outcome = pooled.session.send(name, (message,), deadline)[0]
        if isinstance(outcome, UnimqError):
            self.state.pool.discard_broken(pooled, (outcome,))
            raise_unsent((outcome,))
            return outcome
        return Receipt(message.id or outcome, known.confirmed, name)

    def _exchange(self, pooled: PooledSession, put: "_Put[Sequence[Outgoing]]") -> "list[Receipt | UnimqError]":
        messages, deadline, known = put
        if pooled.capabilities is not known:
            self._recheck(pooled.capabilities, messages)
        name, confirmed = self.state.name, known.confirmed
        outcomes = pooled.session.send(name, messages, deadline)
        results: list[Receipt | UnimqError] = [
            outcome if isinstance(outcome, UnimqError) else Receipt(message.id or outcome, confirmed, name)
            for message, outcome in zip(messages, outcomes, strict=True)
        ]
        self.state.pool.discard_broken(pooled, outcomes)
        raise_unsent(outcomes)
        return results

    def _recheck(self, proved: Capabilities, messages: Sequence[Outgoing]) -> None:
        """Refuse what the server, now that it was met, turns out not to do."""
        if not proved.delay and any(message.delay for message in messages):
            self.state.refuse("delay")
        if not proved.priority and any(message.priority != Outgoing(b"").priority for message in messages):
            self.state.refuse("priority")
        for message in messages:
            self._check_size(message, proved.limits.body)

    # What a put may say

    def _needs(self, name: str) -> None:
        if not self.state.capabilities[name]:
            self.state.refuse(name)

    def _headers(
        self, headers: Mapping[str, str] | None, reply_to: str | None, correlation_id: str | None
    ) -> dict[str, str]:
        state = self.state
        limits = state.capabilities.limits
        checked = {} if headers is None else check_headers(headers, limits.headers, limits.header_count)
        if state.hooks.send is not None:
            state.hooks.send(state.name, checked)
            checked = check_headers(checked, limits.headers, limits.header_count)
        if reply_to is not None:
            checked[reserved.REPLY_TO] = text(reply_to, "reply_to", state.capabilities.limits.name)
        if correlation_id is not None:
            checked[reserved.CORRELATION_ID] = text(correlation_id, "correlation_id", _ID_CHARACTERS)
        if checked:
            self._needs("headers")
        return checked

    def _priority(self, priority: int) -> int:
        self._needs("priority")
        if type(priority) is not int or not 0 <= priority <= 9:  # noqa: PLR2004 - Jakarta Messaging's ten levels
            msg = f"priority={short(priority)}: must be an int from 0 to 9, 9 is delivered first"
            raise InvalidArgument(msg)
        return priority

    def _unique(self, unique: str, own_id: str | None) -> str:
        self._needs("deduplication")
        if not isinstance(unique, str) or _UNIQUE.fullmatch(unique) is None:
            msg = (
                f"unique={short(unique)}: must be 1 to 64 printable ASCII characters, a letter or digit first, no space"
            )
            raise InvalidArgument(msg)
        if own_id is not None:
            msg = f"unique={unique!r} and id={own_id!r}: give one of them, what is unique is the id too"
            raise InvalidArgument(msg)
        return unique

    def _delay(self, delay: float | timedelta, at: datetime | None) -> float:
        if at is None:
            wait = seconds(delay, "delay")
        elif delay:
            msg = f"delay={delay!r} and at={at!r}: give one of them"
            raise InvalidArgument(msg)
        else:
            wait = seconds(max(0.0, _epoch(at) - time.time()), "at")
        if at is None and not wait:
            return 0.0
        self._needs("delay")
        limit = self.state.capabilities.limits.delay
        if limit is not None and wait > limit:
            msg = f"delay={wait:g}: {self.state.where} can delay by at most {limit:g} s"
            raise InvalidArgument(msg)
        return wait


def bodies_of(bodies: Iterable[T]) -> Iterable[T]:
    """What was given as many bodies.

    A text, bytes or a mapping is one body and no collection of them, which is a mistake that nobody would see.
    """
    given: Any = bodies  # what the annotation promises is checked here
    if isinstance(given, _ONE_BODY) or not isinstance(given, Iterable):
        msg = f"bodies={short(bodies)}: must be a list or another iterable of bodies; a single one has put() or call()"
        raise InvalidArgument(msg)
    return bodies


def _check_key(key: object) -> None:
    if not isinstance(key, str) or any("\ud800" <= character <= "\udfff" for character in key):
        msg = f"key={short(key)}: must be a str without lone surrogates"
        raise InvalidArgument(msg)


def _epoch(at: datetime) -> float:
    if not isinstance(at, datetime) or at.tzinfo is None:
        msg = f"at={short(at)}: must be a datetime with a time zone, e.g. datetime.now(UTC) + timedelta(hours=1)"
        raise InvalidArgument(msg)
    return at.timestamp()


def text(value: object, name: str, most: int) -> str:
    """A short printable text: what travels in headers and is compared."""
    if not isinstance(value, str) or not 0 < len(value) <= most or not value.isprintable():
        msg = f"{name}={short(value)}: must be a printable str of 1 to {most} characters"
        raise InvalidArgument(msg)
    return value
