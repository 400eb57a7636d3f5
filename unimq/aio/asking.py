"""What a queue of asyncio offers that asks a server, and needs nothing but its lane."""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, Generic, ParamSpec, TypeVar, cast

from unimq import admin
from unimq.aio.calls import call_each, call_one
from unimq.aio.lane import Lane
from unimq.aio.message import AsyncMessage
from unimq.aio.twins import twin_of
from unimq.driver import Outgoing, Stats
from unimq.endpoint import Endpoint
from unimq.options import count, timeout_seconds
from unimq.queue import Queue
from unimq.receipts import Receipt

__all__ = ["Asking"]

T = TypeVar("T")
P = ParamSpec("P")
R = TypeVar("R")


@twin_of(Queue)
class Asking(Generic[T]):
    _endpoint: Endpoint[T]
    _lane: Lane[T]
    _closed: bool

    async def put(  # noqa: PLR0913
        self,
        body: T,
        *,
        headers: Mapping[str, str] | None = None,
        priority: int | None = None,
        delay: float | timedelta = 0,
        at: datetime | None = None,
        ttl: float | timedelta | None = None,
        id: str | None = None,  # noqa: A002
        key: str | None = None,
        reply_to: str | None = None,
        correlation_id: str | None = None,
        unique: str | None = None,
        timeout: float | timedelta | None = None,
    ) -> Receipt:
        self.check_open()
        sender = self._endpoint.sender
        message = sender.build(body, headers, priority, delay, at, ttl, id, reply_to, correlation_id, unique)
        key = unique if key is None else key
        if key is None and timeout is None:
            return await self._lane.put(message)
        return await self._lane.run(sender.send_one, message, key, self._endpoint.deadline(timeout_seconds(timeout)))

    async def put_many(  # noqa: PLR0913
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
        sender = self._endpoint.sender
        messages = sender.build_many(bodies, headers, priority, delay, at, ttl)
        return await self.run(sender.send_many, messages, key, self._endpoint.deadline(timeout_seconds(timeout)))

    async def call(
        self,
        body: T,
        *,
        timeout: float | timedelta | None = None,
        headers: Mapping[str, str] | None = None,
        on_progress: Callable[[int, int], object] | None = None,
    ) -> AsyncMessage[Any]:
        self.check_open()
        return await call_one(self._lane, body, timeout, headers, on_progress)

    async def call_many(
        self,
        bodies: Iterable[T],
        *,
        timeout: float | timedelta | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> list[AsyncMessage[Any]]:
        self.check_open()
        return await call_each(self._lane, bodies, timeout, headers)

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
        return self._endpoint.sender.build(body, headers, priority, delay, at, ttl, id)

    async def size(self) -> int:
        return await self.run(admin.size, self._endpoint)

    async def stats(self) -> Stats:
        return await self.run(admin.stats, self._endpoint)

    async def peek(self, limit: int = 1) -> list[AsyncMessage[T]]:
        messages = await self.run(admin.peek, self._endpoint, count(limit, "limit"))
        return cast("list[AsyncMessage[T]]", messages)

    async def purge(self) -> int:
        return await self.run(admin.purge, self._endpoint)

    async def cancel(self, id: str) -> bool:  # noqa: A002
        return await self.run(admin.cancel, self._endpoint, id)

    async def delete(self) -> None:
        await self.run(admin.delete, self._endpoint)

    # For the other parts of unimq

    def check_open(self) -> None:
        """Refuse the use of what was closed."""
        if self._closed:
            raise self._endpoint.closed_error()
        self._endpoint.check_open()

    async def run(self, call: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run a part that asks the server."""
        self.check_open()
        return await self._lane.run(call, *args, **kwargs)
