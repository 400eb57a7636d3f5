"""What a queue offers to those who get."""

from collections.abc import Iterable, Iterator
from datetime import timedelta
from typing import Generic, TypeVar, cast

from unimq.endpoint import Endpoint
from unimq.message import Message
from unimq.options import count, timeout_seconds
from unimq.outcomes import raise_failures

__all__ = ["Getting"]

T = TypeVar("T")


class Getting(Generic[T]):
    """What a queue offers to those who get."""

    _endpoint: Endpoint[T]

    def get(self, timeout: float | timedelta | None = None) -> Message[T]:
        """The next message, to be settled by its receiver.

        `timeout` in seconds: `None` waits for ever, 0 does not wait for a message to arrive.

        Raises:
            Empty: no message came in time. It is a `queue.Empty`.
            ConnectError: no server could be reached in time.
        """
        return cast("Message[T]", self._endpoint.receiver.get_many(1, timeout_seconds(timeout))[0])

    def get_many(self, limit: int = 100, *, timeout: float | timedelta | None = None) -> list[Message[T]]:
        """What is there, between 1 and `limit` (up to 10000) messages; waits as `get` does for the first one only.

        Raises:
            Empty: no message came in time.
        """
        messages = self._endpoint.receiver.get_many(count(limit, "limit"), timeout_seconds(timeout))
        return cast("list[Message[T]]", messages)

    def consume(self, *, prefetch: int | None = None, timeout: float | timedelta | None = None) -> Iterator[Message[T]]:
        """Messages one after the other, for ever, or until none came for `timeout` seconds.

        It fetches up to `prefetch` (1 to 10000; `?prefetch=`, 10) messages at a time; what was fetched and not handed
        over goes back when the iteration ends. One at a time is fetched where fetches count as deliveries and
        `max_deliveries` is set, because messages that nobody looked at must not die with those that fail.
        """
        ahead = self._endpoint.settings.prefetch if prefetch is None else count(prefetch, "prefetch")
        return cast("Iterator[Message[T]]", self._endpoint.receiver.consume(ahead, timeout_seconds(timeout)))

    def __iter__(self) -> Iterator[Message[T]]:
        """Messages for ever, as `consume()`."""
        return self.consume()

    def interrupt(self) -> None:
        """End the gets that wait on this queue object, those over several queues too; from any thread.

        They raise `Empty` within a second, and an iteration ends, unless a message came first. Later gets wait as ever.
        """
        self._endpoint.interrupt()

    def ack(self, messages: Iterable[Message[T]]) -> None:
        """Remove many messages of this queue in few exchanges.

        Raises:
            BatchError: some failed; `outcomes` has `None` or an error for each, in order.
        """
        raise_failures("ack", self._endpoint.settler.ack_many(messages))

    def nack(self, messages: Iterable[Message[T]], delay: float | timedelta = 0) -> None:
        """Give many messages of this queue back, as `Message.nack`.

        Raises:
            Unsupported: the backend has no way back, or none with a delay.
            BatchError: some failed; `outcomes` has `None` or an error for each, in order.
        """
        raise_failures("nack", self._endpoint.settler.nack_many(messages, delay))
