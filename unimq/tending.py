"""What a queue offers to those who look after it."""

from typing import Generic, TypeVar, cast

from unimq import admin
from unimq.admin import Pong
from unimq.driver import Stats
from unimq.endpoint import Endpoint
from unimq.message import Message
from unimq.options import count

__all__ = ["Tending"]

T = TypeVar("T")


class Tending(Generic[T]):
    """What a queue offers to those who look after it."""

    _endpoint: Endpoint[T]

    def size(self) -> int:
        """How many messages wait, ready or delayed; those in the hands of consumers are not among them.

        Raises:
            Unsupported: the backend cannot tell.
        """
        return admin.size(self._endpoint)

    def stats(self) -> Stats:
        """Counts by state and the age of the oldest; `None` for what the backend does not know.

        Raises:
            Unsupported: the backend cannot tell.
        """
        return admin.stats(self._endpoint)

    def peek(self, limit: int = 1) -> list[Message[T]]:
        """Up to `limit` (10000) ready messages, next one first, without taking them: they cannot be settled.

        Raises:
            Unsupported: the backend cannot show what it holds.
        """
        return cast("list[Message[T]]", admin.peek(self._endpoint, count(limit, "limit")))

    def purge(self) -> int:
        """Remove what nobody holds, at most what was there at the start; returns how many.

        Raises:
            Unsupported: the backend cannot remove messages unseen.
        """
        return admin.purge(self._endpoint)

    def cancel(self, id: str) -> bool:  # noqa: A002 - as in put
        """Remove a message that still waits, by its receipt's id; false when there is none that nobody holds.

        Where a repeated put with `id=` stored it more than once, all of them are removed.

        Raises:
            Unsupported: the backend cannot find a message by its id.
        """
        return admin.cancel(self._endpoint, id)

    def delete(self) -> None:
        """Remove the queue with everything in it, messages in the hands of consumers included.

        Raises:
            Unsupported: the backend cannot remove a queue.
        """
        admin.delete(self._endpoint)

    def ping(self) -> Pong:
        """Prove by a round trip that the server answers; its name, version and latency.

        Raises:
            ConnectError, AuthenticationFailed, Timeout: it does not.
        """
        self._endpoint.check_open()
        return admin.ping(self._endpoint.pool, self._endpoint.deadline())
