"""The client for asyncio."""

import warnings
import weakref
from collections.abc import Callable, Hashable, Iterable, Sequence
from datetime import timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Any, ParamSpec, Self, TypeVar, overload

from unimq.aio.calls import AsyncCaller
from unimq.aio.getting import get
from unimq.aio.lane import Lane
from unimq.aio.message import AsyncMessage
from unimq.aio.queue import AsyncQueue
from unimq.aio.runner import Runner
from unimq.aio.threads import in_thread
from unimq.aio.twins import twin_of
from unimq.capabilities import Capabilities
from unimq.channel import Channel, refuse_pickling
from unimq.client import Client, Pong
from unimq.hooks import Hooks
from unimq.masking import without_frames
from unimq.observing import observed
from unimq.options import count
from unimq.several import Several
from unimq.url import URL

if TYPE_CHECKING:
    from unimq.credentials import Credentials

__all__ = ["AsyncClient"]

T = TypeVar("T")
P = ParamSpec("P")
R = TypeVar("R")


@twin_of(Client)
class AsyncClient(Runner):
    @without_frames
    def __init__(
        self,
        url: "str | URL | None" = None,
        *,
        require: Iterable[str] = (),
        credentials: "Credentials | None" = None,
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
        channel = self.sync.channel(name, type, AsyncMessage, **options)
        return AsyncQueue[Any]._of(self, (channel.name, type, channel.settings), lambda: channel)

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

    def join(self, queue: AsyncQueue[T], key: Hashable, make: Callable[[], Channel[T]]) -> Lane[T]:
        """What `queue` shares with all that are open and have the same `key`; `make` makes the first its channel."""
        with self.lock:
            lane = self._lanes.get(key)
            if lane is None or lane.channel.closed:
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
        Several.of(self.sync, [queue._channel for queue in queues])  # what cannot be asked together is refused
        return await get(self, tuple(dict.fromkeys(queues)), limit, timeout)

    def _stop(self) -> None:
        self.sync.calls.close()
        for pump in self.pumps.all:
            pump.close()
        for lane in list(self._lanes.values()):
            lane.close()
        self.end()
