"""What a user holds: a `Message` to settle, and the `Receipt` of a put. The rules of settling live in `settler`.

`BaseMessage` is what both faces share: the state and everything that can be read. `Message` settles by calling,
`unimq.aio.AsyncMessage` by awaiting.
"""

import os
import time
from collections.abc import Mapping
from datetime import timedelta
from types import MappingProxyType, TracebackType
from typing import Any, Final, Generic, NoReturn, Self, TypeVar, cast

import msgspec

from unimq import headers as reserved
from unimq.driver import Delivery
from unimq.errors import InvalidMessage, LeaseLost, UnimqError
from unimq.hosts import PooledSession
from unimq.masking import shown_name
from unimq.owner import Owner
from unimq.receipts import Receipt
from unimq.records import about
from unimq.seats import ENDED, Seat

__all__ = ["BaseMessage", "Message", "Receipt"]

T = TypeVar("T")

_NO_HEADERS: Mapping[str, str] = MappingProxyType({})
_PAUSE_FIRST: Final = 0.1
_PAUSE_LONGEST: Final = 60.0
_UNDECODED: Any = object()
_forks = 0
"""How many forks lie between this process and the first; a message knows in which it was received."""


def _after_fork() -> None:
    global _forks  # noqa: PLW0603 - the one thing that tells a child from its parent
    _forks += 1


if hasattr(os, "register_at_fork"):  # not on Windows, where nothing forks
    os.register_at_fork(after_in_child=_after_fork)


class BaseMessage(Generic[T]):
    """A message in hand, or peeked at: what can be read of it, in both faces."""

    __slots__ = (
        "__weakref__",
        "_body",
        "_claim",
        "_delivery",
        "_endpoint",
        "_forks",
        "_invalid",
        "_raw",
        "_session",
        "lease_until",
    )

    def __init__(
        self,
        endpoint: Owner,
        pooled: PooledSession | None,
        raw: Delivery,
        delivery: Delivery,
        invalid: InvalidMessage | None = None,
    ) -> None:
        """For unimq's own use: wrap `delivery`, which came as `raw` over `pooled` (`None`: it was only peeked at)."""
        self._endpoint = endpoint
        self._session = pooled
        self._raw = raw
        self._delivery = delivery
        self._invalid = invalid
        self._claim = Seat()  # taken once settled, by whoever settles it
        self._forks = _forks
        self._body: Any = _UNDECODED
        self.lease_until: float | None = raw.lease_until
        """When the lease ends, as a `time.monotonic()` value; `None` where no clock ends it."""

    @property
    def body(self) -> T:
        """The decoded body.

        Raises:
            InvalidMessage: it cannot be decoded; the message is still in hand, and `raw` has its bytes.
        """
        if self._body is _UNDECODED:
            if self._invalid is not None:
                raise self._invalid
            self._body = self._endpoint.codec.decode(self._delivery.body)
        return cast("T", self._body)

    @property
    def raw(self) -> bytes:
        """The body's bytes as the codec made them, without an envelope."""
        return self._delivery.body

    @property
    def id(self) -> str | None:
        """The id that the put's receipt had; `None` where the protocol has none and it travelled plain."""
        return self._delivery.id

    @property
    def lasting_id(self) -> str | None:
        """The `id`, or `None` where the protocol made it (no `"id"` in `keeps`): it may come again after a restart."""
        return self.id if "id" in self._endpoint.capabilities.keeps or self.id != self._raw.id else None

    @property
    def queue(self) -> str:
        """The name of the queue it came from."""
        return self._delivery.queue

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers, those that unimq wrote (`unimq-...`) among them. Read-only."""
        headers = self._delivery.headers
        return MappingProxyType(headers) if isinstance(headers, dict) else headers or _NO_HEADERS

    @property
    def priority(self) -> int | None:
        """0 to 9, 9 first; `None` where the protocol does not bring it back."""
        return self._delivery.priority

    @property
    def delivery_count(self) -> int | None:
        """How often it was delivered, this delivery included; `None` where that is unknown, never a guess.

        What counts as a delivery is data: `capabilities.counts`.
        """
        return self._delivery.delivery_count

    @property
    def redelivered(self) -> bool | None:
        """Whether it was delivered before; `None` where that is unknown."""
        if self._delivery.delivery_count is not None and self._delivery.delivery_count > 1:
            return True
        if self._delivery.redelivered is not None:
            return self._delivery.redelivered
        # A count of nacks alone does not know of deliveries that ended with their consumer.
        return False if self._delivery.delivery_count == 1 and self._endpoint.capabilities.counts == "fetches" else None

    @property
    def enqueued_at(self) -> float | None:
        """When it was put, in seconds since the Unix epoch; `None` where that is unknown."""
        return self._delivery.enqueued_at

    @property
    def expires_at(self) -> float | None:
        """When it expires, in seconds since the Unix epoch; `None` when it never does."""
        return self._delivery.expires_at

    @property
    def lease_remaining(self) -> float | None:
        """Seconds until the lease ends, 0.0 when it is over; `None` where no clock ends it."""
        return None if self.lease_until is None else max(0.0, self.lease_until - time.monotonic())

    @property
    def reply_to(self) -> str | None:
        """The queue on which a reply is wanted, if one is."""
        return self.headers.get(reserved.REPLY_TO)

    @property
    def correlation_id(self) -> str | None:
        """Which request this message belongs to, if it does to one."""
        return self.headers.get(reserved.CORRELATION_ID)

    @property
    def settled(self) -> bool:
        """Whether this process has settled it."""
        return bool(self._claim)

    @property
    def _lost(self) -> bool:
        """Whether its lease ended, and unimq itself gave it back."""
        return self._claim.get(0) is ENDED

    @property
    def _is_held(self) -> bool:
        """Whether its session has it yet."""
        return self._session is not None and self._session.holds(self._raw)

    @property
    def is_inherited(self) -> bool:
        """Whether the process that has it forked this one: it is the parent's to settle."""
        return self._forks != _forks

    @property
    def native(self) -> Any:
        """The escape hatch: the client library's own message, see *Escape hatch* on the backend's page."""
        return self._raw.native

    def keep(self) -> Self:
        """Extend the lease in time, again and again, until the message is settled or nobody has it any more.

        For work that may take longer than a lease: `with message.keep(): ...`. Where no lease ends, nothing is done.
        Where unimq itself ends them (`lease` is layered), what is never settled is kept until the queue is closed.

        Raises:
            Unsupported: leases end here, and the backend cannot prolong them.
            InvalidArgument: it was only peeked at.
        """
        if self.lease_until is not None:
            self._endpoint.settler.keep(self)
        return self

    def _pause(self) -> float:
        """Seconds until the next try of what failed: the more often it did, the longer, so that it starves nobody."""
        count = self.delivery_count
        if count is None or not self._endpoint.capabilities.nack_delay:
            return 0.0
        return min(_PAUSE_LONGEST, _PAUSE_FIRST * 2.0 ** min(count - 1, 20))

    def _done_too_late(self, error: LeaseLost) -> None:
        """The work is done and nothing can be undone: a consumer's loop goes on, and whoever looks after it is told."""
        from logging import getLogger  # noqa: PLC0415 - only those who need it pay for its import

        text = "a message was worked on, and delivered again all the same: %s"
        getLogger("unimq").warning(text, error, extra=about("lost", self))
        self._endpoint.settler.tell(self, "lost")

    @staticmethod
    def _note_failure(error: BaseException, failed: UnimqError) -> None:
        """The application's own error matters more; the server delivers the message again by itself, or never could."""
        error.add_note(f"the message could not be given back either: {failed}")

    @property
    def may_be_answered(self) -> bool:
        """Whether a reply may be wanted: it says so, or the backend does not tell who waits (`call` is native)."""
        return self.reply_to is not None or self._endpoint.capabilities.call.level == "native"

    def _again(self) -> None:
        """It stays in hand and is tried again: that counts as a nack, and the body is decoded anew."""
        count = self.delivery_count
        if count is not None:
            self._delivery = msgspec.structs.replace(self._delivery, delivery_count=count + 1)
        self._body = _UNDECODED

    def __repr__(self) -> str:
        if not hasattr(self, "_delivery"):
            return f"<{type(self).__name__}, not made>"
        count = "" if self.delivery_count is None else f", delivery_count={self.delivery_count}"
        state = ", settled" if self.settled else ""
        return f"<{type(self).__name__} id={self.id!r} queue={shown_name(self.queue)!r}{count}{state}>"

    def __reduce__(self) -> NoReturn:
        msg = f"{self!r} is settled on its connection: give another process its body, or let it get the message itself"
        raise TypeError(msg)


class Message(BaseMessage[T]):
    """A message in hand. Settle it once, with `ack`, `nack`, `reject` or `discard`; a `with` block does it by itself.

    `with message: ...` acks when the block ends, and nacks when it raises. An interruption (Ctrl-C, `SystemExit`, a
    cancelled task, a closed generator) is no failure: the message goes back and never becomes a dead letter by it. A
    message that was settled inside the block is left alone. What fails comes again after a pause, where the backend can
    delay: 0.1 s at first, twice as long each time, a minute at most. Where the lease was lost meanwhile, the work is
    done all the same: a warning is logged, the hook `settle` hears "lost", and nothing is raised.
    """

    __slots__ = ()

    def ack(self) -> None:
        """Done: the message is removed for good.

        Raises:
            AlreadySettled: it was settled before.
            LeaseLost: it is no longer ours; it was, or will be, delivered again.
            ConnectionLost, Timeout: whether it was removed is unknown; the message is still in hand.
        """
        self._endpoint.settler.ack(self)

    def nack(self, delay: float | timedelta = 0) -> None:
        """Not done: back on the queue to be delivered again, never a dead letter by itself (AMQP and JMS differ here).

        Its place among its equals is `capabilities.nack_place`. Once `max_deliveries` is reached it goes to the
        dead-letter queue instead. `delay` in seconds is not before; it needs the capability *nack_delay*.

        Raises:
            Unsupported: the backend has no way back, or none with a delay.
            AlreadySettled, LeaseLost, ConnectionLost, Timeout: as `ack`.
        """
        self._endpoint.settler.nack(self, delay)

    def reject(self, reason: str = "rejected", details: str = "") -> None:
        """Given up: moved to the dead-letter queue, with `reason`, time, origin and count in its headers.

        A `reason` of more than 1000 characters is shortened; of `details`, which may have lines, such as a traceback,
        the last 2000 are kept, where they fit. What cannot be printed is replaced. Rejecting inside a dead-letter queue
        discards the message.

        Raises:
            AlreadySettled, LeaseLost, ConnectionLost, Timeout: as `ack`.
        """
        self._endpoint.settler.reject(self, reason, details)

    def discard(self) -> None:
        """Given up without a dead letter: the message is removed for good.

        Raises:
            AlreadySettled, LeaseLost, ConnectionLost, Timeout: as `ack`.
        """
        self._endpoint.settler.ack(self, "discard")

    def release(self) -> None:
        """Not tried: back on the queue as if nobody had got it, and never a dead letter by itself (as in AMQP 1.0).

        It is not counted where the server lets that be, and has its old place as far as possible.

        Raises:
            Unsupported: the backend has no way back.
            AlreadySettled, LeaseLost, ConnectionLost, Timeout: as `ack`.
        """
        self._endpoint.settler.release(self)

    def extend(self, seconds: float | timedelta | None = None) -> float:
        """Keep the lease for at least `seconds` from now (default: the queue's lease); returns the seconds granted.

        Raises:
            Unsupported: the backend cannot prolong a lease.
            LeaseLost: the lease or its connection is known to be gone.
        """
        return self._endpoint.settler.extend(self, seconds)

    def reply(self, body: Any, *, headers: Mapping[str, str] | None = None) -> Receipt:
        """Put `body` on the queue that `reply_to` names, with this message's correlation id (or else its id).

        Without `reply_to`, where `call` is native: to whoever waits at the other end, if anybody does. It arrives with
        the ack.

        Raises:
            InvalidArgument: the message asks for no reply.
        """
        return self._endpoint.reply(self, body, headers)

    def progress(self, done: int, total: int) -> None:
        """Tell whoever waits for the reply that `done` of `total` is done; harmless where nobody does.

        Raises:
            Unsupported: the backend cannot bring it to anybody.
            InvalidArgument: they are not whole numbers from 0 to 2**53.
            LeaseLost, ConnectionLost, Timeout: as `ack`.
        """
        self._endpoint.report(self, done, total)

    def __enter__(self) -> "Message[T]":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.settled and not self._lost:
            return
        if error is None:
            try:
                self.ack()
            except LeaseLost as lost:
                self._done_too_late(lost)
            return
        if not isinstance(error, Exception):
            self._endpoint.settler.give_back([self])
            return
        try:
            self.nack(self._pause())
        except UnimqError as failed:
            self._note_failure(error, failed)
