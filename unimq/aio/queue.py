"""The queue for asyncio, and the dead-letter queue beside it."""

import asyncio
from collections.abc import AsyncIterator, Callable, Hashable, Iterable, Mapping
from datetime import datetime, timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, Self, TypeVar, cast, overload

from unimq import admin
from unimq.aio.calls import call_each, call_one
from unimq.aio.getting import fetch, get, hand_over, or_park
from unimq.aio.message import AsyncMessage
from unimq.aio.threads import in_thread
from unimq.aio.twins import twin_of
from unimq.capabilities import Capabilities
from unimq.channel import Channel, label, refuse_pickling, with_count
from unimq.client import Pong
from unimq.driver import Outgoing, Stats
from unimq.errors import Empty
from unimq.hooks import Hooks
from unimq.masking import without_frames
from unimq.message import Receipt
from unimq.observing import observed
from unimq.options import count, timeout_seconds
from unimq.outcomes import raise_failures
from unimq.queue import DeadLetterQueue, Queue
from unimq.receiver import Ahead
from unimq.redrive import redrive
from unimq.url import URL

if TYPE_CHECKING:
    from unimq.aio.client import AsyncClient
    from unimq.credentials import Credentials

__all__ = ["AsyncDeadLetterQueue", "AsyncQueue"]

T = TypeVar("T")
P = ParamSpec("P")
R = TypeVar("R")


@twin_of(Queue)
class AsyncQueue(Generic[T]):
    @overload
    def __init__(
        self: "AsyncQueue[Any]",
        url: "str | URL | None" = None,
        *,
        type: None = None,
        name: str | None = None,
        codec: str | None = None,
        lease: float | timedelta | None = None,
        max_deliveries: int | None = None,
        require: Iterable[str] = (),
        credentials: "Credentials | None" = None,
        hooks: Hooks | None = None,
    ) -> None: ...
    @overload
    def __init__(
        self,
        url: "str | URL | None" = None,
        *,
        type: type[T],
        name: str | None = None,
        codec: str | None = None,
        lease: float | timedelta | None = None,
        max_deliveries: int | None = None,
        require: Iterable[str] = (),
        credentials: "Credentials | None" = None,
        hooks: Hooks | None = None,
    ) -> None: ...
    @without_frames
    def __init__(  # noqa: PLR0913
        self,
        url: "str | URL | None" = None,
        *,
        type: Any = None,  # noqa: A002
        name: str | None = None,
        codec: str | None = None,
        lease: float | timedelta | None = None,
        max_deliveries: int | None = None,
        require: Iterable[str] = (),
        credentials: "Credentials | None" = None,
        hooks: Hooks | None = None,
    ) -> None:
        from unimq.aio.client import AsyncClient  # noqa: PLC0415 - a client makes queues, so one import comes late

        url = URL.parse(url)
        options = {"codec": codec, "lease": lease, "max_deliveries": max_deliveries}
        client = AsyncClient(with_count(url, max_deliveries), require=require, credentials=credentials, hooks=hooks)
        channel = client.sync.channel(name, type, AsyncMessage, **options)
        self._adopt(client, (channel.name, type, channel.settings), lambda: channel, owns_client=True)

    @classmethod
    def _of(cls, client: "AsyncClient", key: Hashable, make: Callable[[], Channel[T]]) -> Self:
        queue = cls.__new__(cls)
        queue._adopt(client, key, make, owns_client=False)
        return queue

    def _adopt(
        self, client: "AsyncClient", key: Hashable, make: Callable[[], Channel[T]], *, owns_client: bool
    ) -> None:
        self._client = client
        self._lane = lane = client.join(self, key, make)
        self._channel = channel = lane.channel
        if channel.hooks.around is not None:
            self.__class__ = observed(type(self))
        self._owns_client = owns_client
        self._closed = False
        self._dead: AsyncDeadLetterQueue[T] | None = None
        self._ahead: list[Ahead[T]] = []
        """What its iterations have fetched and not handed over."""

    @property
    def name(self) -> str:
        return self._channel.name

    @property
    def codec(self) -> str:
        return self._channel.codec.name

    @property
    def client(self) -> "AsyncClient":
        return self._client

    @property
    def capabilities(self) -> Capabilities:
        return self._channel.capabilities

    @property
    def dead(self) -> "AsyncDeadLetterQueue[T]":
        if self._dead is None:
            self._dead = AsyncDeadLetterQueue[T]._of_parent(self._client, self._channel)
        return self._dead

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
        sender = self._channel.sender
        message = sender.build(body, headers, priority, delay, at, ttl, id, reply_to, correlation_id, unique)
        key = unique if key is None else key
        if key is None and timeout is None:
            return await self._lane.put(message)
        return await self._client.run(sender.send_one, message, key, self._channel.deadline(timeout_seconds(timeout)))

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
        sender = self._channel.sender
        messages = sender.build_many(bodies, headers, priority, delay, at, ttl)
        return await self.run(sender.send_many, messages, key, self._channel.deadline(timeout_seconds(timeout)))

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
        return self._channel.sender.build(body, headers, priority, delay, at, ttl, id)

    async def get(self, timeout: float | timedelta | None = None) -> AsyncMessage[T]:
        return cast("AsyncMessage[T]", (await get(self._client, (self,), 1, timeout))[0])

    async def get_many(
        self,
        limit: int = 100,
        *,
        timeout: float | timedelta | None = None,
    ) -> list[AsyncMessage[T]]:
        return await get(self._client, (self,), count(limit, "limit"), timeout)

    async def consume(
        self,
        *,
        prefetch: int | None = None,
        timeout: float | timedelta | None = None,
    ) -> AsyncIterator[AsyncMessage[T]]:
        client, receiver = self._client, self._channel.receiver
        most = receiver.ahead(self._channel.settings.prefetch if prefetch is None else count(prefetch, "prefetch"))
        longest = timeout_seconds(timeout)
        while True:
            try:
                fetched = receiver.keep(await fetch(client, (self,), most, longest))
            except Empty:
                return
            self._ahead.append(fetched)
            try:
                while (letter := fetched.next()) is not None:
                    letters = [letter]
                    if fetched.is_stale(letter):
                        letters = await or_park(client, receiver.refreshed, letters)
                    for message in await hand_over(client, letters):
                        yield message
            finally:
                self._ahead.remove(fetched)
                if left := fetched.all():
                    await asyncio.shield(client.run(receiver.give_back, left))
                receiver.drop(fetched)

    def __aiter__(self) -> AsyncIterator[AsyncMessage[T]]:
        return self.consume()

    async def interrupt(self) -> None:
        for pump in (self._lane.pump, *self._client.pumps.all):
            pump.interrupt(self)

    async def ack(self, messages: Iterable[AsyncMessage[T]]) -> None:
        raise_failures("ack", await self._client.run(self._channel.settler.ack_many, messages))

    async def nack(self, messages: Iterable[AsyncMessage[T]], delay: float | timedelta = 0) -> None:
        raise_failures("nack", await self._client.run(self._channel.settler.nack_many, messages, delay))

    async def size(self) -> int:
        return await self.run(admin.size, self._channel)

    async def stats(self) -> Stats:
        return await self.run(admin.stats, self._channel)

    async def peek(self, limit: int = 1) -> list[AsyncMessage[T]]:
        letters = await self.run(admin.peek, self._channel, count(limit, "limit"))
        return cast("list[AsyncMessage[T]]", letters)

    async def purge(self) -> int:
        return await self.run(admin.purge, self._channel)

    async def cancel(self, id: str) -> bool:  # noqa: A002
        return await self.run(admin.cancel, self._channel, id)

    async def delete(self) -> None:
        await self.run(admin.delete, self._channel)

    async def ping(self) -> Pong:
        return await self._client.ping()

    async def close(self) -> None:
        await in_thread(self.stop)
        if self._owns_client:
            await self._client.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    __repr__ = label
    __reduce__ = refuse_pickling

    # For the other parts of unimq

    def check_open(self) -> None:
        """Refuse the use of what was closed."""
        if self._closed:
            raise self._channel.closed_error()
        self._channel.check_open()

    async def run(self, call: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run a part that asks the server."""
        self.check_open()
        return await self._client.run(call, *args, **kwargs)

    def stop(self) -> None:
        """End the gets that wait, and give back what nobody came for; blocking."""
        if not self._closed:
            self._closed = True
            for fetched in list(self._ahead):
                self._channel.receiver.give_back(fetched.all())
            self._client.leave(self, self._lane)


@twin_of(DeadLetterQueue)
class AsyncDeadLetterQueue(AsyncQueue[T]):
    _parent: Channel[T]

    @classmethod
    def _of_parent(cls, client: "AsyncClient", parent: Channel[T]) -> Self:
        parent.dead_channel()  # refused where it has none
        queue = cls._of(client, parent, lambda: parent.client.dead_channel(parent))
        queue._parent = parent
        return queue

    async def redrive(
        self,
        limit: int | None = None,
        *,
        id: str | None = None,  # noqa: A002
        rate: float | None = None,
    ) -> int:
        self.check_open()
        return await self._client.run_in_thread(redrive, self._channel, self._parent, limit, id, rate)
