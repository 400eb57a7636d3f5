"""The face for asyncio: the queue, the dead-letter queue beside it, and the client that they share."""

import asyncio
import warnings
import weakref
from collections.abc import AsyncIterator, Callable, Hashable, Iterable, Sequence
from datetime import timedelta
from types import TracebackType
from typing import Any, Self, TypeVar, cast, overload

from unimq.admin import Pong
from unimq.aio.asking import Asking
from unimq.aio.calls import AsyncCaller
from unimq.aio.getting import deliver, fetch, get, or_park
from unimq.aio.lane import Lane
from unimq.aio.message import AsyncMessage
from unimq.aio.runner import Runner
from unimq.aio.threads import in_thread
from unimq.aio.twins import twin_of
from unimq.capabilities import Capabilities
from unimq.credentials import Credentials
from unimq.endpoint import Endpoint, label, refuse_pickling, with_count
from unimq.errors import Empty
from unimq.hooks import Hooks
from unimq.masking import without_frames
from unimq.observing import observed
from unimq.options import count, timeout_seconds
from unimq.outcomes import raise_failures
from unimq.queue import Client, DeadLetterQueue, Queue
from unimq.receiver import Ahead
from unimq.redrive import redrive
from unimq.several import Several
from unimq.url import URL

__all__ = ["AsyncClient", "AsyncDeadLetterQueue", "AsyncQueue"]

T = TypeVar("T")


@twin_of(Queue)
class AsyncQueue(Asking[T]):
    @overload
    def __init__(
        self: "AsyncQueue[Any]",
        url: str | URL | None = None,
        *,
        type: None = None,
        name: str | None = None,
        codec: str | None = None,
        lease: float | timedelta | None = None,
        max_deliveries: int | None = None,
        require: Iterable[str] = (),
        credentials: Credentials | None = None,
        hooks: Hooks | None = None,
    ) -> None: ...
    @overload
    def __init__(
        self,
        url: str | URL | None = None,
        *,
        type: type[T],
        name: str | None = None,
        codec: str | None = None,
        lease: float | timedelta | None = None,
        max_deliveries: int | None = None,
        require: Iterable[str] = (),
        credentials: Credentials | None = None,
        hooks: Hooks | None = None,
    ) -> None: ...
    @without_frames
    def __init__(  # noqa: PLR0913
        self,
        url: str | URL | None = None,
        *,
        type: Any = None,  # noqa: A002
        name: str | None = None,
        codec: str | None = None,
        lease: float | timedelta | None = None,
        max_deliveries: int | None = None,
        require: Iterable[str] = (),
        credentials: Credentials | None = None,
        hooks: Hooks | None = None,
    ) -> None:
        url = URL.parse(url)
        options = {"codec": codec, "lease": lease, "max_deliveries": max_deliveries}
        client = AsyncClient(with_count(url, max_deliveries), require=require, credentials=credentials, hooks=hooks)
        endpoint = client.sync.endpoint(name, type, AsyncMessage, **options)
        self._adopt(client, (endpoint.name, type, endpoint.settings), lambda: endpoint, owns_client=True)

    @classmethod
    def _of(cls, client: "AsyncClient", key: Hashable, make: Callable[[], Endpoint[T]]) -> Self:
        queue = cls.__new__(cls)
        queue._adopt(client, key, make, owns_client=False)
        return queue

    def _adopt(
        self, client: "AsyncClient", key: Hashable, make: Callable[[], Endpoint[T]], *, owns_client: bool
    ) -> None:
        self._client = client
        self._lane = lane = client.join(self, key, make)
        self._endpoint = endpoint = lane.endpoint
        if endpoint.hooks.around is not None:
            self.__class__ = observed(type(self))
        self._owns_client = owns_client
        self._closed = False
        self._dead: AsyncDeadLetterQueue[T] | None = None
        self._ahead: list[Ahead[T]] = []
        """What its iterations have fetched and not handed over."""

    @property
    def name(self) -> str:
        return self._endpoint.name

    @property
    def codec(self) -> str:
        return self._endpoint.codec.name

    @property
    def client(self) -> "AsyncClient":
        return self._client

    @property
    def capabilities(self) -> Capabilities:
        return self._endpoint.capabilities

    @property
    def dead(self) -> "AsyncDeadLetterQueue[T]":
        if self._dead is None:
            self._dead = AsyncDeadLetterQueue[T]._of_parent(self._client, self._endpoint)
        return self._dead

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
        client, receiver = self._client, self._endpoint.receiver
        most = receiver.ahead(self._endpoint.settings.prefetch if prefetch is None else count(prefetch, "prefetch"))
        longest = timeout_seconds(timeout)
        while True:
            try:
                fetched = receiver.keep(await fetch(client, (self,), most, longest))
            except Empty:
                return
            self._ahead.append(fetched)
            try:
                while (message := fetched.next()) is not None:
                    messages = [message]
                    if fetched.is_stale(message):
                        messages = await or_park(client, receiver.refreshed, messages)
                    for delivered in await deliver(client, messages):
                        yield delivered
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
        raise_failures("ack", await self._client.run(self._endpoint.settler.ack_many, messages))

    async def nack(self, messages: Iterable[AsyncMessage[T]], delay: float | timedelta = 0) -> None:
        raise_failures("nack", await self._client.run(self._endpoint.settler.nack_many, messages, delay))

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

    def stop(self) -> None:
        """End the gets that wait, and give back what nobody came for; blocking."""
        if not self._closed:
            self._closed = True
            for fetched in list(self._ahead):
                self._endpoint.receiver.give_back(fetched.all())
            self._client.leave(self, self._lane)


@twin_of(DeadLetterQueue)
class AsyncDeadLetterQueue(AsyncQueue[T]):
    _parent: Endpoint[T]

    @classmethod
    def _of_parent(cls, client: "AsyncClient", parent: Endpoint[T]) -> Self:
        parent.dead_endpoint()  # refused where it has none
        queue = cls._of(client, parent, lambda: parent.client.dead_endpoint(parent))
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
        return await self._client.run_in_thread(redrive, self._endpoint, self._parent, limit, id, rate)


@twin_of(Client)
class AsyncClient(Runner):
    @without_frames
    def __init__(
        self,
        url: str | URL | None = None,
        *,
        require: Iterable[str] = (),
        credentials: Credentials | None = None,
        hooks: Hooks | None = None,
    ) -> None:
        url = URL.parse(url)
        super().__init__(Client(url, require=require, credentials=credentials, hooks=hooks))
        if self.sync.hooks.around is not None:
            self.__class__ = observed(type(self))
        self.sync.calls = AsyncCaller(self)
        self.url = self.sync.url
        self._lanes: weakref.WeakValueDictionary[Hashable, Lane[Any]] = weakref.WeakValueDictionary()
        """By what their queues were made from; what nobody has any more is forgotten."""

    @property
    def capabilities(self) -> Capabilities:
        return self.sync.capabilities

    @overload
    def queue(
        self,
        name: str | None = None,
        *,
        type: None = None,
        codec: str | None = None,
        lease: float | timedelta | None = None,
        max_deliveries: int | None = None,
    ) -> AsyncQueue[Any]: ...
    @overload
    def queue(
        self,
        name: str | None = None,
        *,
        type: type[T],
        codec: str | None = None,
        lease: float | timedelta | None = None,
        max_deliveries: int | None = None,
    ) -> AsyncQueue[T]: ...
    def queue(
        self,
        name: str | None = None,
        *,
        type: Any = None,  # noqa: A002
        codec: str | None = None,
        lease: float | timedelta | None = None,
        max_deliveries: int | None = None,
    ) -> AsyncQueue[Any]:
        options = {"codec": codec, "lease": lease, "max_deliveries": max_deliveries}
        endpoint = self.sync.endpoint(name, type, AsyncMessage, **options)
        return AsyncQueue[Any]._of(self, (endpoint.name, type, endpoint.settings), lambda: endpoint)

    async def queues(self) -> list[str]:
        return await self.run(self.sync.queues)

    async def get(
        self,
        queues: Sequence[AsyncQueue[Any]],
        timeout: float | timedelta | None = None,
    ) -> AsyncMessage[Any]:
        return (await self._get(queues, 1, timeout))[0]

    async def get_many(
        self,
        queues: Sequence[AsyncQueue[Any]],
        limit: int = 100,
        *,
        timeout: float | timedelta | None = None,
    ) -> list[AsyncMessage[Any]]:
        return await self._get(queues, count(limit, "limit"), timeout)

    async def ping(self) -> Pong:
        return await self.run(self.sync.ping)

    async def close(self) -> None:
        await in_thread(self._stop)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def __del__(self) -> None:
        # What was never used, or is the parent's of a fork, holds nothing of this process.
        if hasattr(self, "_lanes") and self.is_in_use():
            msg = f"{self!r} was not closed: use `async with`, or await close()"
            warnings.warn(msg, ResourceWarning, stacklevel=2, source=self)
            self.end_in_background()

    def __repr__(self) -> str:
        made = hasattr(self, "sync")
        return f"<{type(self).__name__} {self.sync.where}>" if made else f"<{type(self).__name__}, not made>"

    __reduce__ = refuse_pickling

    # For the other parts of unimq

    def join(self, queue: AsyncQueue[T], key: Hashable, make: Callable[[], Endpoint[T]]) -> Lane[T]:
        """What `queue` shares with all that are open and have the same `key`; `make` makes the first its endpoint."""
        with self.lock:
            lane = self._lanes.get(key)
            if lane is None or lane.endpoint.closed:
                lane = self._lanes[key] = Lane(self, make())
            lane.queues.add(queue)
        return lane

    def leave(self, queue: AsyncQueue[T], lane: Lane[T]) -> None:
        """`queue` was closed; what it shared is closed with the last."""
        for pump in (lane.pump, *self.pumps.all):
            pump.leave(queue)
        with self.lock:
            lane.queues.discard(queue)
            is_last = not lane.queues
        if is_last:
            lane.close()

    async def _get(
        self, queues: Sequence[AsyncQueue[Any]], limit: int, timeout: float | timedelta | None
    ) -> list[AsyncMessage[Any]]:
        Several.of(self.sync, [queue._endpoint for queue in queues])  # what cannot be asked together is refused
        return await get(self, tuple(dict.fromkeys(queues)), limit, timeout)

    def _stop(self) -> None:
        self.sync.calls.close()
        for pump in self.pumps.all:
            pump.close()
        for lane in list(self._lanes.values()):
            lane.close()
        self.end()
