"""What a case works with: queues of one face on the URL under test, other tasks, time, and a clean table afterwards."""

import asyncio
import contextlib
import inspect
import threading
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Mapping
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Any, Final, Generic, Self, TypeVar, cast

from unimq.aio import AsyncClient, AsyncMessage, AsyncQueue
from unimq.capabilities import Capabilities
from unimq.errors import Empty, LeaseLost, UnimqError
from unimq.queue import Client, Queue, connect
from unimq.testing.faces import drive, shaped
from unimq.testing.gates import Face
from unimq.url import URL

__all__ = ["PART", "PATIENCE", "Lab", "Running", "best_of", "closing", "fresh_name"]

R = TypeVar("R")

PATIENCE: Final = 10.0
"""Seconds to wait for what must come. Long, because a slow machine is no broken backend."""
_LEASE: Final = 0.2
LONGEST_TEXT: Final = 1000
"""Characters of an error about a mistake; the mistake itself may be larger."""
PART: Final = "part of a case"
"""The name of the threads in which parts of a case run."""
QUIET: Final = 0.02
"""Seconds to wait for what must not come; the shortest get finds what is there."""


class Running(Generic[R]):
    """A part of a case that runs beside it: in a thread, or in a task of the event loop."""

    def __init__(self, future: "Future[R] | asyncio.Task[R]") -> None:
        self._future = future

    @property
    def done(self) -> bool:
        """Whether it has ended."""
        return self._future.done()

    async def result(self, timeout: float = PATIENCE) -> R:  # noqa: ASYNC109 - the synchronous face has no other way
        """What it returned, or raises what it raised; `TimeoutError` when it has not ended in time."""
        if isinstance(self._future, asyncio.Task):
            return await asyncio.wait_for(asyncio.shield(self._future), timeout)
        return self._future.result(timeout)

    def cancel(self) -> None:
        """Cancel the task; a thread cannot be cancelled, so this is for cases of the async face."""
        self._future.cancel()


class Lab:
    """The bench of one case. Queues are made with a name of this case, and closed and removed with it."""

    def __init__(self, face: Face, url: str | URL) -> None:
        """Meet the server, to know what it can do."""
        self.face: Face = face
        self.url = URL.parse(url)
        self.name = fresh_name()
        """The name of the case's queue."""
        self._names = {self.name}
        self._made: list[Any] = []
        self._runner = asyncio.Runner() if face == "async" else None
        with connect(self.url) as client:
            client.ping()
            self.capabilities: Capabilities = client.capabilities
            """What the server proved to do."""
            self.lease = max(_LEASE, client.capabilities.lease_step)
            """Seconds: the lease in cases that let it end, no shorter than the backend can have it."""
            self.declared = client.driver.capabilities(self.url).emulating(client.settings.emulate)
            """What the driver declares before it has met the server."""

    # Making

    def queue(
        self, name: str | None = None, *, options: Mapping[str, str] | None = None, **how: Any
    ) -> AsyncQueue[Any]:
        """A queue of the face under test, with its own connections; `options` are those of the URL."""
        url = self.url.with_options(**dict(options or {}))
        name = self.name if name is None else name
        queue: Any = Queue(url, name=name, **how) if self.face == "sync" else AsyncQueue(url, name=name, **how)
        self._made.append(queue)
        self._names.add(name)
        return cast("AsyncQueue[Any]", shaped(queue))

    def keeper(self) -> AsyncQueue[Any]:
        """A consumer of the case's queue that keeps what it gets, so that a slow machine cannot end its leases."""
        return self.queue(lease=60.0) if self.capabilities.lease else self.queue()

    def client(self, *, options: Mapping[str, str] | None = None, **how: Any) -> AsyncClient:
        """A client of the face under test."""
        url = self.url.with_options(**dict(options or {}))
        client: Any = Client(url, **how) if self.face == "sync" else AsyncClient(url, **how)
        self._made.append(client)
        return cast("AsyncClient", shaped(client))

    def other_name(self) -> str:
        """A name for one more queue, removed with the others."""
        name = fresh_name()
        self._names.add(name)
        return name

    # Running

    def run(self, case: Coroutine[Any, Any, R]) -> R:
        """Run a case, or a step of one, to its end."""
        return drive(case) if self._runner is None else self._runner.run(case)

    def start(self, part: Coroutine[Any, Any, R]) -> Running[R]:
        """Run a part of the case beside it."""
        if self._runner is not None:
            return Running(asyncio.get_running_loop().create_task(part))
        future: Future[R] = Future()

        def work() -> None:
            try:
                future.set_result(drive(part))
            except BaseException as error:  # noqa: BLE001 - belongs to the case
                future.set_exception(error)

        threading.Thread(target=work, name=PART, daemon=True).start()
        return Running(future)

    async def sleep(self, seconds: float) -> None:
        """Let time pass."""
        if self._runner is None:
            time.sleep(seconds)  # noqa: ASYNC251 - the synchronous face blocks
        else:
            await asyncio.sleep(seconds)

    # Looking

    async def receive(self, queue: AsyncQueue[Any]) -> AsyncMessage[Any]:
        """The next message, which must come."""
        return await self._come(queue, queue.get(timeout=PATIENCE))

    async def receive_alive(self, queue: AsyncQueue[Any]) -> AsyncMessage[Any]:
        """The next message, which must come, and does not become a dead letter instead."""
        until = time.monotonic() + PATIENCE
        while True:
            if self.capabilities.dead_letters:
                await self.nothing(queue.dead)
            try:
                return await queue.get(timeout=QUIET)
            except Empty:
                assert time.monotonic() < until, f"no message came on {queue.name!r} in {PATIENCE:g} s"

    async def settled_in_time(self, queue: AsyncQueue[Any], way: str) -> AsyncMessage[Any]:
        """The next message, settled in that way within its short lease; once more where the machine slept."""
        while True:
            start = time.monotonic()
            message = await self.receive(queue)
            try:
                await getattr(message, way)()
            except LeaseLost:
                if time.monotonic() - start <= self.lease:
                    raise
            else:
                return message

    async def receive_many(self, queue: AsyncQueue[Any], limit: int) -> list[AsyncMessage[Any]]:
        """Up to `limit` messages, of which the first must come."""
        return await self._come(queue, queue.get_many(limit, timeout=PATIENCE))

    async def _come(self, queue: AsyncQueue[Any], getting: Awaitable[R]) -> R:
        try:
            return await getting
        except Empty:
            msg = f"no message came on {queue.name!r} in {PATIENCE:g} s"
            raise AssertionError(msg) from None

    async def bodies(self, queue: AsyncQueue[Any], count: int) -> list[Any]:
        """The bodies of the next `count` messages, each acked."""
        found: list[Any] = []
        for _ in range(count):
            async with await self.receive(queue) as message:
                found.append(message.body)
        return found

    async def left(self, queue: AsyncQueue[Any]) -> list[Any]:
        """The bodies of what is there at the moment, each acked; one of them at least where there is any."""
        try:
            messages = await queue.get_many(100, timeout=0)
        except Empty:
            return []
        await queue.ack(messages)
        return [message.body for message in messages]

    async def nothing(self, queue: AsyncQueue[Any], seconds: float = QUIET) -> None:
        """Hold that no message comes for `seconds`."""
        try:
            message = await queue.get(timeout=seconds)
        except Empty:
            return
        msg = f"{message} came on {queue.name!r}, with {message.raw[:80]!r}, where nothing was to come"
        raise AssertionError(msg)

    async def mistakes(
        self, use: Callable[[Any], Any], values: Iterable[Any], kind: type[UnimqError], *, shows: str
    ) -> list[str]:
        """What is wrong with how `use` refuses each of `values`: nothing if it raises `kind` and names `shows`."""
        problems = [await self._mistake(use, value, kind, shows) for value in values]
        return [problem for problem in problems if problem is not None]

    async def _mistake(self, use: Callable[[Any], Any], value: Any, kind: type[UnimqError], shows: str) -> str | None:
        what = f"{shows}={value!r:.60}" if not isinstance(value, int) or abs(value) < LONGEST_TEXT else f"{shows}=huge"
        try:
            used = use(value)
            if inspect.isawaitable(used):
                await used
        except kind as error:
            if shows not in str(error) or len(str(error)) > LONGEST_TEXT:
                return f"{what} raised {len(str(error))} characters that should name {shows}: {str(error)[:80]}"
            return None
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the wrong one
            return f"{what} raised {type(error).__name__}: {str(error)[:80]}, not {kind.__name__}"
        return f"{what} was accepted"

    # Tidying up

    def close(self) -> None:
        """Close what was made, and remove its queues where the backend can."""
        try:
            for made in reversed(self._made):
                with contextlib.suppress(UnimqError):
                    closing = made.close()
                    if closing is not None:
                        self.run(closing)
            self._remove()
        finally:
            if self._runner is not None:
                self._runner.close()

    def _remove(self) -> None:
        if not (self.capabilities.delete or self.capabilities.purge):
            return
        with contextlib.suppress(UnimqError), connect(self.url) as client:
            for name in self._names:
                for queue in (client.queue(name), client.queue(name).dead):
                    if self.capabilities.delete:
                        queue.delete()
                    else:
                        queue.purge()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def fresh_name() -> str:
    """A queue name that every backend can take and nobody else uses."""
    return f"q{uuid.uuid4().hex[:16]}"


def closing(messages: AsyncIterator[R]) -> AbstractAsyncContextManager[AsyncIterator[R]]:
    """Close an iteration at the end of the block, where leaving it to the garbage collector would come too late."""
    return contextlib.aclosing(cast("AsyncGenerator[R]", messages))


def best_of(seconds: list[float]) -> float:
    """The smallest of several measurements: what is left when a busy machine got in the way of the others."""
    return min(seconds)
