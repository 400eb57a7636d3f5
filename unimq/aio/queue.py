"""The queue for asyncio, and the dead-letter queue beside it."""

import asyncio
import contextlib
import math
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from datetime import datetime, timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Generic, ParamSpec, Self, TypeVar, cast, overload

from unimq import admin
from unimq.aio.calls import call_each, call_one
from unimq.aio.message import AsyncMessage
from unimq.aio.threads import Batcher, Pump, in_thread
from unimq.aio.twins import twin_of
from unimq.calls import Asked
from unimq.capabilities import Capabilities
from unimq.channel import Channel, label, refuse_pickling, with_count
from unimq.client import Pong
from unimq.direct import answer_each
from unimq.driver import Outgoing, Stats
from unimq.errors import Empty, UnimqError
from unimq.hooks import Hooks
from unimq.masking import without_frames
from unimq.message import Letter, Receipt
from unimq.observing import observed
from unimq.options import count, timeout_seconds
from unimq.outcomes import raise_failures
from unimq.queue import DeadLetterQueue, Queue
from unimq.receiver import hand_over_is_local
from unimq.redrive import redrive
from unimq.url import URL

if TYPE_CHECKING:
    from unimq.aio.client import AsyncClient
    from unimq.credentials import Credentials

__all__ = ["AsyncDeadLetterQueue", "AsyncQueue"]

T = TypeVar("T")
P = ParamSpec("P")
R = TypeVar("R")

_PUMPED_FROM: Final = 0.05
"""Seconds: a get that waits shorter asks the server itself, so that it sees what is there now."""


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
        self._adopt(client, client.sync.channel(name, type, AsyncMessage, **options), owns_client=True)

    @classmethod
    def _of(cls, client: "AsyncClient", channel: Channel[Any]) -> Self:
        queue = cls.__new__(cls)
        queue._adopt(client, channel, owns_client=False)
        return queue

    def _adopt(self, client: "AsyncClient", channel: Channel[T], *, owns_client: bool) -> None:
        self._client = client
        self._channel = channel
        if channel.hooks.around is not None:
            self.__class__ = observed(type(self))
        self._owns_client = owns_client
        self._dead: AsyncDeadLetterQueue[T] | None = None
        self._pump: Pump[T] = Pump(channel)
        self._puts: Batcher[Outgoing, Receipt] = Batcher(self._send, client.batches, channel.deadline)
        self._asks: Batcher[tuple[str, Outgoing], Receipt | None] = Batcher(self._ask, client.batches, channel.deadline)
        self._acks: Batcher[Letter[T], None] = Batcher(
            lambda letters, _: channel.settler.ack_many(letters), client.batches, channel.deadline
        )
        self._answers: Batcher[tuple[Letter[T], Outgoing], None] = Batcher(
            lambda replies, _: answer_each(replies), client.batches, channel.deadline
        )
        channel.face = self
        client.faces.add(self)

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
        sender = self._channel.sender
        message = sender.build(body, headers, priority, delay, at, ttl, id, reply_to, correlation_id, unique)
        key = unique if key is None else key
        if key is None and timeout is None:
            return await self.put_built(message)
        return await self.run(sender.send_one, message, key, self._channel.deadline(timeout_seconds(timeout)))

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
        return await call_one(self, body, timeout, headers, on_progress)

    async def call_many(
        self,
        bodies: Iterable[T],
        *,
        timeout: float | timedelta | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> list[AsyncMessage[Any]]:
        return await call_each(self, bodies, timeout, headers)

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
        return (await self._get(1, timeout))[0]

    async def get_many(
        self,
        limit: int = 100,
        *,
        timeout: float | timedelta | None = None,
    ) -> list[AsyncMessage[T]]:
        return await self._get(count(limit, "limit"), timeout)

    async def consume(
        self,
        *,
        prefetch: int | None = None,
        timeout: float | timedelta | None = None,
    ) -> AsyncIterator[AsyncMessage[T]]:
        channel = self._channel
        ahead = channel.receiver.ahead(channel.settings.prefetch if prefetch is None else count(prefetch, "prefetch"))
        longest = timeout_seconds(timeout)
        while True:
            try:
                fetched = channel.receiver.keep(await self._fetch(ahead, longest))
            except Empty:
                return
            try:
                while (letter := fetched.next()) is not None:
                    letters = [letter]
                    if fetched.is_stale(letter):
                        letters = await self._or_park(channel.receiver.refreshed, letters)
                    for message in await self._hand_over(letters):
                        yield message
            finally:
                if left := fetched.all():
                    await asyncio.shield(self.run(channel.receiver.give_back, left))
                channel.receiver.drop(fetched)

    def __aiter__(self) -> AsyncIterator[AsyncMessage[T]]:
        return self.consume()

    async def interrupt(self) -> None:
        self._pump.interrupt()
        await self._client.run_in_thread(self._channel.interrupt)

    async def ack(self, messages: Iterable[AsyncMessage[T]]) -> None:
        raise_failures("ack", await self.run(self._channel.settler.ack_many, messages))

    async def nack(self, messages: Iterable[AsyncMessage[T]], delay: float | timedelta = 0) -> None:
        raise_failures("nack", await self.run(self._channel.settler.nack_many, messages, delay))

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

    async def put_built(self, message: Outgoing) -> Receipt:
        """Put together with what other tasks put at the same time."""
        channel = self._channel
        channel.check_open()
        if self._client.at_once():
            return await self._client.run_at_once(channel.sender.send_one, message, None, channel.deadline())
        return await self._puts.run(message)

    async def ack_one(self, message: AsyncMessage[T]) -> None:
        """Ack together with what other tasks ack at the same time."""
        if self._client.at_once():
            await self._client.run_at_once(self._channel.settler.ack, message)
        else:
            await self._acks.run(message)

    async def answer_one(self, message: AsyncMessage[T], reply: Outgoing) -> None:
        """Answer who waits for it together with what other tasks answer at the same time."""
        await self._answers.run((message, reply))

    async def run(self, call: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run a blocking part in a thread of the client."""
        return await self._client.run(call, *args, **kwargs)

    def stop(self) -> None:
        """End the receiving thread and give back what nobody came for; blocking."""
        self._pump.close()
        self._channel.close()

    def _ask(self, requests: Sequence[tuple[str, Outgoing]], until: float) -> Sequence[Receipt | UnimqError | None]:
        numbers, messages = [number for number, _ in requests], [message for _, message in requests]
        asked = Asked(numbers, messages, [], until)
        return self._channel.client.calls.send(self._channel, asked)

    def _send(self, messages: Sequence[Outgoing], until: float) -> Sequence[Receipt | UnimqError]:
        return self._channel.sender.send(messages, None, until)

    async def _get(self, limit: int, timeout: float | timedelta | None) -> list[AsyncMessage[T]]:
        longest = timeout_seconds(timeout)
        until = math.inf if longest is None else time.monotonic() + longest
        while True:
            rest = None if longest is None else max(0.0, until - time.monotonic())
            ready = await self._hand_over(await self._fetch(limit, rest))
            if ready:
                return ready

    async def _fetch(self, limit: int, timeout: float | None) -> list[Letter[T]]:
        if not self._pump.is_waited_at and self._client.at_once():
            with contextlib.suppress(*(() if timeout == 0 else (Empty,))):
                return await self._client.run_at_once(self._channel.receiver.fetch, limit, time.monotonic())
        if timeout is None or timeout >= _PUMPED_FROM:
            return await self._pump.fetch(limit, timeout)
        return await self._or_park(self._channel.receiver.fetch, limit, time.monotonic() + timeout)

    async def _hand_over(self, letters: list[Letter[T]]) -> list[AsyncMessage[T]]:
        if all(map(hand_over_is_local, letters)) or self._client.at_once():
            ready = self._channel.receiver.hand_over(letters)
        else:
            ready = await self._or_park(self._channel.receiver.hand_over, letters)
        return cast("list[AsyncMessage[T]]", ready)

    async def _or_park(self, call: Callable[P, list[Letter[T]]], *args: P.args, **kwargs: P.kwargs) -> list[Letter[T]]:
        """Run `call` in a thread; what it brings for a task that is cancelled meanwhile goes to the next get."""
        running = self._client.submit(call, *args, **kwargs)
        try:
            return await asyncio.shield(asyncio.wrap_future(running))
        except asyncio.CancelledError:
            running.add_done_callback(self._park_result)
            raise

    def _park_result(self, done: "Future[list[Letter[T]]]") -> None:
        if done.exception() is None:
            self._channel.receiver.park(done.result())


@twin_of(DeadLetterQueue)
class AsyncDeadLetterQueue(AsyncQueue[T]):
    _parent: Channel[T]

    @classmethod
    def _of_parent(cls, client: "AsyncClient", parent: Channel[T]) -> Self:
        queue = cls._of(client, parent.dead_channel())
        queue._parent = parent
        return queue

    async def redrive(
        self,
        limit: int | None = None,
        *,
        id: str | None = None,  # noqa: A002
        rate: float | None = None,
    ) -> int:
        return await self._client.run_in_thread(redrive, self._channel, self._parent, limit, id, rate)
