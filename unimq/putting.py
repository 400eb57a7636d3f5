"""What a queue offers to those who put."""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Generic, TypeVar

from unimq.driver import Outgoing
from unimq.endpoint import Endpoint
from unimq.options import timeout_seconds
from unimq.receipts import Receipt

__all__ = ["Putting"]

T = TypeVar("T")


class Putting(Generic[T]):
    """What a queue offers to those who put."""

    _endpoint: Endpoint[T]

    def put(  # noqa: PLR0913 - each is a keyword of its own
        self,
        body: T,
        *,
        headers: Mapping[str, str] | None = None,
        priority: int | None = None,
        delay: float | timedelta = 0,
        at: datetime | None = None,
        ttl: float | timedelta | None = None,
        id: str | None = None,  # noqa: A002 - the word that users look for
        key: str | None = None,
        reply_to: str | None = None,
        correlation_id: str | None = None,
        unique: str | None = None,
        timeout: float | timedelta | None = None,
    ) -> Receipt:
        """Store one message.

        Args:
            body: What the codec and `type=` take.
            headers: Short texts beside the body, keys and values `str`, 64 KiB in all.
            priority: 0 to 9, 9 is delivered first; 4 by default.
            delay: Seconds before which it is not delivered, up to 100 years.
            at: Instead of `delay`, the point in time, with a time zone.
            ttl: Seconds after which it is not delivered any more, counted from now; longer than the delay.
            id: An own id, which makes a repeated put recognisable; 1 to 200 printable characters.
            key: Of several hosts, the one that this key's hash names is preferred.
            reply_to: The queue on which a reply is wanted.
            correlation_id: Which request this belongs to.
            unique: Store nothing while a message with the same text, its id, waits or is in hand (`deduplication`).
            timeout: Seconds until it gives up; `?timeout=` (30) by default.

        Raises:
            InvalidArgument: a value is out of its range, or the codec does not take the body.
            TooLarge: the encoded body is over the backend's limit.
            Unsupported: the backend cannot do what was asked for.
            Full: the queue holds `?max_size=` messages.
            ConnectError, ConnectionLost, Timeout, ServerError: it failed on the way. With `in_doubt` the message may
                have been stored, and repeating it may duplicate; otherwise it certainly was not.
        """
        sender = self._endpoint.sender
        message = sender.build(body, headers, priority, delay, at, ttl, id, reply_to, correlation_id, unique)
        return sender.send_one(
            message, unique if key is None else key, self._endpoint.deadline(timeout_seconds(timeout))
        )

    def put_many(  # noqa: PLR0913
        self,
        bodies: Iterable[T],
        *,
        headers: Mapping[str, str] | None = None,
        priority: int | None = None,
        delay: float | timedelta = 0,
        at: datetime | None = None,
        ttl: float | timedelta | None = None,
        key: str | None = None,
        timeout: float | timedelta | None = None,
    ) -> list[Receipt]:
        """Store many messages in few exchanges, in their order; the receipts, in the same order.

        All bodies are checked and encoded before the first is sent. The other arguments hold for each, as for `put`.

        Raises:
            BatchError: some were not stored; `outcomes` has a receipt or an error for each, in order.
            InvalidArgument, TooLarge, Unsupported: one of them cannot be sent, or `bodies` is a text, bytes or a
                mapping, which is a single body; nothing was sent.
        """
        sender = self._endpoint.sender
        messages = sender.build_many(bodies, headers, priority, delay, at, ttl)
        return sender.send_many(messages, key, self._endpoint.deadline(timeout_seconds(timeout)))

    def encode(  # noqa: PLR0913
        self,
        body: T,
        *,
        headers: Mapping[str, str] | None = None,
        priority: int | None = None,
        delay: float | timedelta = 0,
        at: datetime | None = None,
        ttl: float | timedelta | None = None,
        id: str | None = None,  # noqa: A002
    ) -> Outgoing:
        """What `put` would send, checked and encoded, for an adapter that stores messages by another way."""
        return self._endpoint.sender.build(body, headers, priority, delay, at, ttl, id)
