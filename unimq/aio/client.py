"""The client for asyncio."""

import asyncio
import os
import threading
import warnings
import weakref
from collections.abc import Callable, Hashable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, ParamSpec, Self, TypeVar, overload

from unimq.aio import getting
from unimq.aio.calls import AsyncCaller
from unimq.aio.lane import Lane
from unimq.aio.message import AsyncMessage
from unimq.aio.pump import Pumps
from unimq.aio.queue import AsyncQueue
from unimq.aio.threads import in_background, in_thread
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

_THREADS: Final = 8
"""Most threads of one client for single calls; they start when they are needed."""
_BREATHES: Final = 50
"""After so many calls that needed no thread, other tasks have their turn."""
_BATCHES: Final = 10_000
"""Most threads for batches, of which each queue has one at a time of each kind: one that stalls keeps none waiting."""


@twin_of(Client)
class AsyncClient:
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
        self.sync = Client(url, require=require, credentials=credentials, hooks=hooks)
        """The client whose sessions are used; for unimq's own use."""
        if self.sync.hooks.around is not None:
            self.__class__ = observed(type(self))
        self.sync.calls = AsyncCaller(self)
        self.url = self.sync.url
        self._lanes: weakref.WeakValueDictionary[Hashable, Lane[Any]] = weakref.WeakValueDictionary()
        """By what their queues were made from; what nobody has any more is forgotten."""
        self._forget()
        self._calls = 0
        """How many needed no thread."""

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
        if not hasattr(self, "_executors") or self.sync.pool.closed or self._pid != os.getpid():
            return
        if self._executors or self.sync.pool.links:
            msg = f"{self!r} was not closed: use `async with`, or await close()"
            warnings.warn(msg, ResourceWarning, stacklevel=2, source=self)
            in_background(_close, self.sync, list(self._executors.values()))

    def __repr__(self) -> str:
        made = hasattr(self, "sync")
        return f"<{type(self).__name__} {self.sync.where}>" if made else f"<{type(self).__name__}, not made>"

    __reduce__ = refuse_pickling

    # For the other parts of unimq

    def join(self, queue: AsyncQueue[T], key: Hashable, make: Callable[[], Channel[T]]) -> Lane[T]:
        """What `queue` shares with all that are open and have the same `key`; `make` makes the first its channel."""
        self._check_process()
        with self._lock:
            lane = self._lanes.get(key)
            if lane is None or lane.channel.closed:
                lane = self._lanes[key] = Lane(self, make())
            lane.queues.add(queue)
        return lane

    def leave(self, queue: AsyncQueue[T], lane: Lane[T]) -> None:
        """`queue` was closed; what it shared is closed with the last."""
        self._check_process()
        for pump in (lane.pump, *self._pumps.all):
            pump.leave(queue)
        with self._lock:
            lane.queues.discard(queue)
            is_last = not lane.queues
        if is_last:
            lane.close()

    def batches(self) -> ThreadPoolExecutor:
        """The threads for what the tasks of one queue do together."""
        return self._executor(_BATCHES)

    def _executor(self, most: int) -> ThreadPoolExecutor:
        """So many threads, made when they are first needed."""
        self.sync.check_open()
        self._check_process()
        found = self._executors.get(most)
        if found is None:
            made = ThreadPoolExecutor(most, thread_name_prefix=f"unimq {self.sync.driver.name}")
            found = self._executors.setdefault(most, made)
        return found

    @property
    def pumps(self) -> Pumps:
        """For gets over several queues."""
        self._check_process()
        return self._pumps

    def _check_process(self) -> None:
        if self._pid != os.getpid():
            self._forget()

    def _forget(self) -> None:
        """Begin without threads: anew, or in the child of a fork, where the parent's are not."""
        self._pid = os.getpid()
        self._lock = threading.RLock()
        """For those who join and leave lanes."""
        self._executors: dict[int, ThreadPoolExecutor] = {}
        """By how many threads they may have."""
        self._pumps = Pumps()

    def submit(self, call: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> "Future[R]":
        """Start a blocking part in a thread."""
        return self._executor(_THREADS).submit(call, *args, **kwargs)

    async def run(self, call: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run a part that asks the server: in a thread, unless it does not block."""
        how = self.run_at_once if self.at_once() else self.run_in_thread
        return await how(call, *args, **kwargs)

    async def run_at_once(self, call: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run it here; others have their turn now and then, or a loop of calls that never wait would shut them out."""
        self._calls += 1
        if not self._calls % _BREATHES:
            await asyncio.sleep(0)
        return call(*args, **kwargs)

    async def run_in_thread(self, call: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run a part that may wait."""
        return await asyncio.wrap_future(self.submit(call, *args, **kwargs))

    def at_once(self) -> bool:
        """Whether what asks the server needs no thread: there is a free session, whose calls do not block."""
        hosts = self.sync.pool.hosts
        if len(hosts) == 1 and self.sync._dead_client is None:
            for link in hosts[0].links:
                if not link.session.blocks and not link.user:
                    return True
        return False

    async def _get(
        self, queues: Sequence[AsyncQueue[Any]], limit: int, timeout: float | timedelta | None
    ) -> list[AsyncMessage[Any]]:
        Several.of(self.sync, [queue._channel for queue in queues])  # what cannot be asked together is refused
        return await getting.get(self, tuple(dict.fromkeys(queues)), limit, timeout)

    def _stop(self) -> None:
        self.sync.calls.close()
        for pump in self.pumps.all:
            pump.close()
        for lane in list(self._lanes.values()):
            lane.close()
        _close(self.sync, list(self._executors.values()))


def _close(client: Client, executors: Sequence[ThreadPoolExecutor]) -> None:
    client.close()
    for executor in executors:
        executor.shutdown()
