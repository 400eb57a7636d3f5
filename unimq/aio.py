"""The asyncio faces: `AsyncQueue`, `AsyncClient` and `AsyncMessage`, the same names and meanings, awaited.

They run the same sessions in threads. What each method does is documented once, at its synchronous twin; a test
compares names, parameters, defaults and documentation.
"""

import asyncio
import math
import threading
import time
import weakref
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime, timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Generic, ParamSpec, Self, TypeVar, cast, overload

from unimq import admin
from unimq.capabilities import Capabilities
from unimq.channel import Channel
from unimq.client import Client, Pong
from unimq.driver import Outgoing, Stats
from unimq.errors import Empty, UnimqError
from unimq.hooks import Hooks
from unimq.message import Letter, Message, Receipt
from unimq.queue import DeadLetterQueue, Queue, count, timeout_seconds
from unimq.receiver import Cancellation, hand_over_is_local
from unimq.settler import raise_failures
from unimq.threads import Batcher, Pump

if TYPE_CHECKING:
    from unimq.pool import Credentials
    from unimq.url import URL

__all__ = ["AsyncClient", "AsyncDeadLetterQueue", "AsyncMessage", "AsyncQueue"]

T = TypeVar("T")
P = ParamSpec("P")
R = TypeVar("R")
F = TypeVar("F", bound=Callable[..., Any])

_THREADS: Final = 8
"""Most threads of one client for what is not a waiting get; they start when they are needed."""
_PUMPED_FROM: Final = 0.05
"""Seconds: a get that waits shorter asks the server itself, so that it sees what is there now."""


def _as(twin: Callable[..., Any]) -> Callable[[F], F]:
    """Take the documentation of the synchronous twin."""

    def document(method: F) -> F:
        method.__doc__ = twin.__doc__
        return method

    return document


class AsyncMessage(Letter[T]):
    __doc__ = Message.__doc__

    __slots__ = ()

    @_as(Message.ack)
    async def ack(self) -> None:
        await self._face.ack_one(self)

    @_as(Message.nack)
    async def nack(self, delay: float | timedelta = 0) -> None:
        await self._face.run(self._channel.settler.nack, self, delay)

    @_as(Message.reject)
    async def reject(self, reason: str = "rejected") -> None:
        await self._face.run(self._channel.settler.reject, self, reason)

    @_as(Message.extend)
    async def extend(self, seconds: float | timedelta | None = None) -> float:
        return await self._face.run(self._channel.settler.extend, self, seconds)

    @_as(Message.reply)
    async def reply(self, body: Any, *, headers: Mapping[str, str] | None = None) -> Receipt:
        name, correlation_id = self._reply_address()
        queue = self._face.client.queue(name, codec=self._channel.settings.codec)
        return await queue.put(body, headers=headers, correlation_id=correlation_id)

    async def __aenter__(self) -> "AsyncMessage[T]":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.settled:
            return
        if error is None:
            await self.ack()
            return
        try:
            await self.nack()
        except UnimqError as failed:
            self._note_failure(error, failed)

    @property
    def _face(self) -> "AsyncQueue[Any]":
        return cast("AsyncQueue[Any]", self._channel.face)


class AsyncQueue(Generic[T]):
    __doc__ = Queue.__doc__

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
    @_as(Queue.__init__)
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
        client = AsyncClient(url, require=require, credentials=credentials, hooks=hooks)
        options = {"codec": codec, "lease": lease, "max_deliveries": max_deliveries}
        self._adopt(client, client.sync.channel(name, type, AsyncMessage, **options), owns_client=True)

    @classmethod
    def _of(cls, client: "AsyncClient", channel: Channel[Any]) -> Self:
        queue = cls.__new__(cls)
        queue._adopt(client, channel, owns_client=False)
        return queue

    def _adopt(self, client: "AsyncClient", channel: Channel[T], *, owns_client: bool) -> None:
        self._client = client
        self._channel = channel
        self._owns_client = owns_client
        self._dead: AsyncDeadLetterQueue[T] | None = None
        self._pump: Pump[T] = Pump(channel)
        self._puts: Batcher[Outgoing, Receipt] = Batcher(self._send, client.executor)
        self._acks: Batcher[Letter[T], None] = Batcher(channel.settler.ack_many, client.executor)
        channel.face = self
        client.faces.add(self)

    @property
    @_as(cast("Any", Queue.name).fget)
    def name(self) -> str:
        return self._channel.name

    @property
    @_as(cast("Any", Queue.client).fget)
    def client(self) -> "AsyncClient":
        return self._client

    @property
    @_as(cast("Any", Queue.capabilities).fget)
    def capabilities(self) -> Capabilities:
        return self._channel.capabilities

    @property
    @_as(cast("Any", Queue.dead).fget)
    def dead(self) -> "AsyncDeadLetterQueue[T]":
        if self._dead is None:
            self._dead = AsyncDeadLetterQueue._of_parent(self._client, self._channel)
        return self._dead

    @_as(Queue.put)
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
        timeout: float | timedelta | None = None,  # noqa: ASYNC109 - the same signature as the twin's
    ) -> Receipt:
        sender = self._channel.sender
        message = sender.build(body, headers, priority, delay, at, ttl, id, reply_to, correlation_id)
        if key is None and timeout is None:
            self._channel.check_open()
            return await self._puts.run(message)
        return await self.run(sender.send_one, message, key, self._channel.deadline(timeout_seconds(timeout)))

    @_as(Queue.put_many)
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
        timeout: float | timedelta | None = None,  # noqa: ASYNC109
    ) -> list[Receipt]:
        sender = self._channel.sender
        messages = [sender.build(body, headers, priority, delay, at, ttl) for body in bodies]
        return await self.run(sender.send_many, messages, key, self._channel.deadline(timeout_seconds(timeout)))

    @_as(Queue.get)
    async def get(self, timeout: float | timedelta | None = None) -> AsyncMessage[T]:  # noqa: ASYNC109
        return (await self._get(1, timeout))[0]

    @_as(Queue.get_many)
    async def get_many(
        self,
        limit: int = 100,
        *,
        timeout: float | timedelta | None = None,  # noqa: ASYNC109
    ) -> list[AsyncMessage[T]]:
        return await self._get(count(limit, "limit"), timeout)

    @_as(Queue.consume)
    async def consume(
        self,
        *,
        prefetch: int | None = None,
        timeout: float | timedelta | None = None,  # noqa: ASYNC109
    ) -> AsyncIterator[AsyncMessage[T]]:
        channel = self._channel
        ahead = channel.receiver.ahead(channel.settings.prefetch if prefetch is None else count(prefetch, "prefetch"))
        longest = timeout_seconds(timeout)
        while True:
            try:
                letters = deque(await self._fetch(ahead, longest))
            except Empty:
                return
            try:
                while letters:
                    for message in await self._hand_over([letters.popleft()]):
                        yield message
            finally:
                if letters:
                    await self.run(channel.receiver.give_back, list(letters))

    @_as(Queue.__iter__)
    def __aiter__(self) -> AsyncIterator[AsyncMessage[T]]:
        return self.consume()

    @_as(Queue.ack)
    async def ack(self, messages: Iterable[AsyncMessage[T]]) -> None:
        raise_failures("ack", await self.run(self._channel.settler.ack_many, list(messages)))

    @_as(Queue.nack)
    async def nack(self, messages: Iterable[AsyncMessage[T]], delay: float | timedelta = 0) -> None:
        raise_failures("nack", await self.run(self._channel.settler.nack_many, list(messages), delay))

    @_as(Queue.size)
    async def size(self) -> int:
        return await self.run(admin.size, self._channel)

    @_as(Queue.stats)
    async def stats(self) -> Stats:
        return await self.run(admin.stats, self._channel)

    @_as(Queue.peek)
    async def peek(self, limit: int = 1) -> list[AsyncMessage[T]]:
        letters = await self.run(admin.peek, self._channel, count(limit, "limit"))
        return cast("list[AsyncMessage[T]]", letters)

    @_as(Queue.purge)
    async def purge(self) -> int:
        return await self.run(admin.purge, self._channel)

    @_as(Queue.cancel)
    async def cancel(self, id: str) -> bool:  # noqa: A002
        return await self.run(admin.cancel, self._channel, id)

    @_as(Queue.delete)
    async def delete(self) -> None:
        await self.run(admin.delete, self._channel)

    @_as(Queue.ping)
    async def ping(self) -> Pong:
        return await self._client.ping()

    @_as(Queue.close)
    async def close(self) -> None:
        await _in_thread(self.stop)
        if self._owns_client:
            await self._client.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r} of {self._channel.where}>"

    # For the other parts of unimq

    async def ack_one(self, message: AsyncMessage[T]) -> None:
        """Ack together with what other tasks ack at the same time."""
        outcome = await self._acks.run(message)
        if outcome is not None:
            raise outcome

    async def run(self, call: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run a blocking part in a thread of the client."""
        return await self._client.run(call, *args, **kwargs)

    def stop(self) -> None:
        """End the receiving thread and give back what nobody came for; blocking."""
        self._pump.close()
        self._channel.close()

    def _send(self, messages: Sequence[Outgoing]) -> Sequence[Receipt | UnimqError]:
        return self._channel.sender.send(messages, None, self._channel.deadline())

    async def _get(self, limit: int, timeout: float | timedelta | None) -> list[AsyncMessage[T]]:
        longest = timeout_seconds(timeout)
        until = math.inf if longest is None else time.monotonic() + longest
        while True:
            rest = None if longest is None else max(0.0, until - time.monotonic())
            ready = await self._hand_over(await self._fetch(limit, rest))
            if ready:
                return ready

    async def _fetch(self, limit: int, timeout: float | None) -> list[Letter[T]]:
        if timeout is None or timeout >= _PUMPED_FROM:
            return await self._pump.fetch(limit, timeout)
        return await self._or_park(self._channel.receiver.fetch, limit, time.monotonic() + timeout)

    async def _hand_over(self, letters: list[Letter[T]]) -> list[AsyncMessage[T]]:
        if all(map(hand_over_is_local, letters)):
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


class AsyncDeadLetterQueue(AsyncQueue[T]):
    __doc__ = DeadLetterQueue.__doc__

    _parent: Channel[T]

    @classmethod
    def _of_parent(cls, client: "AsyncClient", parent: Channel[T]) -> Self:
        queue = cls._of(client, parent.dead_channel())
        queue._parent = parent
        return queue

    @_as(DeadLetterQueue.redrive)
    async def redrive(self, limit: int | None = None) -> int:
        most = None if limit is None else count(limit, "limit", most=2**53)
        return await self.run(admin.redrive, self._channel, self._parent, most)


class AsyncClient:
    __doc__ = Client.__doc__

    @_as(Client.__init__)
    def __init__(
        self,
        url: "str | URL | None" = None,
        *,
        require: Iterable[str] = (),
        credentials: "Credentials | None" = None,
        hooks: Hooks | None = None,
    ) -> None:
        self.sync = Client(url, require=require, credentials=credentials, hooks=hooks)
        """The client whose sessions are used; for unimq's own use."""
        self.url = self.sync.url
        self.faces: weakref.WeakSet[AsyncQueue[Any]] = weakref.WeakSet()
        self._executor: ThreadPoolExecutor | None = None

    @property
    @_as(cast("Any", Client.capabilities).fget)
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
    @_as(Client.queue)
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
        return AsyncQueue._of(self, self.sync.channel(name, type, AsyncMessage, **options))

    @_as(Client.queues)
    async def queues(self) -> list[str]:
        return await self.run(self.sync.queues)

    @_as(Client.get)
    async def get(
        self,
        queues: Sequence[AsyncQueue[Any]],
        timeout: float | timedelta | None = None,  # noqa: ASYNC109
    ) -> AsyncMessage[Any]:
        channels = [queue._channel for queue in queues]
        cancellation = Cancellation()
        running = _in_thread(self.sync.get_any, channels, timeout, cancellation)
        try:
            return cast("AsyncMessage[Any]", await asyncio.shield(running))
        except asyncio.CancelledError:
            running.add_done_callback(_park_one)
            cancellation.cancel()
            raise

    @_as(Client.ping)
    async def ping(self) -> Pong:
        return await self.run(self.sync.ping)

    @_as(Client.close)
    async def close(self) -> None:
        await _in_thread(self._stop)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.sync.where}>"

    # For the other parts of unimq

    def executor(self) -> ThreadPoolExecutor:
        """The threads for what blocks, made when they are first needed."""
        if self._executor is None:
            self._executor = ThreadPoolExecutor(_THREADS, thread_name_prefix=f"unimq {self.sync.driver.name}")
        return self._executor

    def submit(self, call: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> "Future[R]":
        """Start a blocking part in a thread."""
        return self.executor().submit(call, *args, **kwargs)

    async def run(self, call: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run a blocking part in a thread."""
        return await asyncio.wrap_future(self.submit(call, *args, **kwargs))

    def _stop(self) -> None:
        for face in list(self.faces):
            face.stop()
        self.sync.close()
        if self._executor is not None:
            self._executor.shutdown()


def _in_thread(call: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> "asyncio.Future[R]":
    """Run `call` in a thread of its own: it may wait long, or end the threads of the client."""
    loop = asyncio.get_running_loop()
    result: Future[R] = Future()
    result.set_running_or_notify_cancel()  # from here on it cannot be cancelled, only left alone

    def run() -> None:
        try:
            result.set_result(call(*args, **kwargs))
        except BaseException as error:  # noqa: BLE001 - belongs to the task that waits
            result.set_exception(error)

    threading.Thread(target=run, name="unimq call", daemon=True).start()
    return asyncio.wrap_future(result, loop=loop)


def _park_one(done: "asyncio.Future[Letter[Any]]") -> None:
    if not done.cancelled() and done.exception() is None:
        letter = done.result()
        letter._channel.receiver.park([letter])
