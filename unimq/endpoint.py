"""The parts of one queue, wired together: what puts, what gets and what settles, around the state that they share."""

import math
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final, NoReturn, Protocol, TypeVar

from unimq import headers as reserved
from unimq.codec import Codec
from unimq.direct import answer, report
from unimq.driver import Outgoing
from unimq.errors import InvalidArgument, TooLarge
from unimq.hooks import Hooks
from unimq.message import BaseMessage
from unimq.options import Settings, count
from unimq.pool import Pool
from unimq.receipts import Receipt
from unimq.receiver import Receiver
from unimq.replies import time_left
from unimq.sender import Sender
from unimq.settler import Settler
from unimq.state import QueueState
from unimq.url import URL

__all__ = ["Endpoint", "Home", "label", "refuse_pickling", "with_count"]

T = TypeVar("T")

_CLOSE_MOST: Final = 0.5
"""Seconds that ending what waits, and giving back what nobody came for, may take."""
_SHORT_ERROR: Final = 100
"""Characters of an error's text where a longer one does not fit."""


class Home(Protocol):
    """The client that a queue is of, as far as its queues need it."""

    pool: Pool
    hooks: Hooks
    where: str
    """Its masked URL, for texts."""
    calls: Any
    """The `Caller` of its queues."""

    def endpoint(
        self, name: str | None, type_: Any, message_type: type[BaseMessage[Any]], **options: Any
    ) -> "Endpoint[Any]":
        """Another queue on the same connections."""
        ...

    def dead_endpoint(self, parent: "Endpoint[T]") -> "Endpoint[T]":
        """The dead-letter queue of one."""
        ...


class Endpoint(QueueState[T]):
    """One queue name on one client, with all that works on it."""

    def __init__(  # noqa: PLR0913 - what a queue is made of
        self,
        client: Home,
        name: str,
        settings: Settings,
        codec: Codec[T],
        *,
        message_type: type[BaseMessage[T]],
        is_dead: bool = False,
    ) -> None:
        """Check the name and wire the parts together. No I/O."""
        super().__init__(
            client.pool,
            name,
            settings,
            codec,
            where=client.where,
            hooks=client.hooks,
            message_type=message_type,
            is_dead=is_dead,
        )
        self.client = client
        self.face: Any = None
        """What messages of asyncio settle through."""
        self.owner = self
        self._dead: Endpoint[T] | None = None
        self.sender: Sender[T] = Sender(self)
        self.settler: Settler[T] = Settler(self, self.sender, lambda: self.dead_endpoint().sender)
        self.receiver: Receiver[T] = Receiver(self, self.settler)

    def dead_endpoint(self) -> "Endpoint[T]":
        """The dead-letter queue: a sibling `<name>.dead`, or what `?dead=` names, on another client for a URL."""
        if self.is_dead:
            msg = f"queue {self.shown!r} of {self.where} is a dead-letter queue and has none of its own"
            raise InvalidArgument(msg)
        if self._dead is None:
            self._dead = self.client.dead_endpoint(self)
        return self._dead

    # What its messages want of it

    def counterpart(self, name: str) -> "Endpoint[Any]":
        """The queue on which somebody wants a reply; its codec is this one's."""
        found: Endpoint[Any] = self.client.calls.queue(name, self.codec.name)
        return found

    def reply_address(self, message: BaseMessage[Any]) -> tuple[str, dict[str, Any]]:
        """Where a reply is wanted, and what it has to have."""
        name = message.reply_to
        if name is None:
            msg = f"message {message.id!r} of queue {self.shown!r} asks for no reply: its put had no reply_to="
            raise InvalidArgument(msg)
        ttl = time_left(message.expires_at, name)
        return name, {"correlation_id": message.correlation_id or message.id, "ttl": ttl}

    def reply(self, message: BaseMessage[Any], body: Any, headers: Mapping[str, str] | None) -> Receipt:
        """Send a reply to where one is wanted."""
        if message.reply_to is None and message.may_be_answered:
            answer(message, self.sender.build(body, headers))
            return Receipt(None, confirmed=True, queue=message.queue)
        name, needed = self.reply_address(message)
        there = self.counterpart(name)
        return there.sender.send_one(there.sender.build(body, headers, **needed), None, there.deadline())

    def reply_error(self, message: BaseMessage[Any], text: str) -> None:
        """Tell whoever wants a reply that there will be none, and why."""
        said = reserved.reason_text(text)
        if message.reply_to is None:
            answer(message, Outgoing(said.encode()), failed=True)
            return
        name, needed = self.reply_address(message)
        there = self.counterpart(name)
        number, left = needed["correlation_id"], needed["ttl"]
        about = {} if number is None else {reserved.CORRELATION_ID: number}
        expires_at = None if left is None else time.time() + left
        for error in (said, said[:_SHORT_ERROR]):
            with suppress(TooLarge):
                headers = {**about, reserved.ERROR: error}
                outgoing = Outgoing(b"", headers=headers, lease=there.put_lease, expires_at=expires_at)
                there.sender.send_one(there.sender.encode(outgoing), None, there.deadline())
                return

    def report(self, message: BaseMessage[Any], done: int, total: int) -> None:
        """Tell whoever waits for the reply how far the work is."""
        report(message, done, total)

    def close(self, until: float | None = None) -> None:
        """End the gets that wait, give back what nobody came for, and refuse further use. Idempotent.

        It lasts until then, a monotonic time, half a second from now.
        """
        if not self.closed:
            self.closed = True
            self.closing_until = time.monotonic() + _CLOSE_MOST if until is None else until
            try:
                self.interrupt(self.closing_until)
                self.receiver.close()
            finally:
                self.closing_until = math.inf


def label(self: Any) -> str:
    """What `repr` shows of a queue, while it is half made too."""
    kind, endpoint = type(self).__name__, getattr(self, "_endpoint", None)
    if endpoint is None:
        return f"<{kind}, not made>"
    return f"<{kind} {endpoint.shown!r} of {endpoint.where}>"


def refuse_pickling(self: Any) -> NoReturn:
    """Say why a queue or client is not pickled, and what is."""
    msg = (
        f"{self!r} has connections: give another process its URL (a client's `url` can be pickled) and the queue's name"
    )
    raise TypeError(msg)


def with_count(url: URL, max_deliveries: int | None) -> URL:
    """The URL with that option: some backends count deliveries only where they are told that it matters."""
    if max_deliveries is None:
        return url
    return url.with_options(max_deliveries=str(count(max_deliveries, "max_deliveries", most=2**53)))
