"""What lets tasks use blocking sessions: puts and settlements in coalesced batches, one receiving thread per queue.

A hop between the event loop and a thread costs about as much as ten messages, so it is paid per batch: while one batch
is on its way, what other tasks ask for gathers for the next. Any number of tasks that wait for messages share one
thread.
"""

import asyncio
import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from typing import TYPE_CHECKING, Any, Final, Generic, ParamSpec, TypeVar

from unimq.errors import ConnectError, ConnectionLost, Empty, Timeout, UnimqError
from unimq.message import Letter
from unimq.source import Cancellation

if TYPE_CHECKING:
    from unimq.channel import Channel

__all__ = ["Batcher", "Pump", "in_thread"]

T = TypeVar("T")
P = ParamSpec("P")
R = TypeVar("R")

_LARGEST_BATCH: Final = 1000
_LOOKS_AFTER: Final = 1.0
"""Seconds after which a waiting pump looks whether it is still wanted: an interrupt may come a moment too early."""


class Batcher(Generic[T, R]):
    """Collects the items of concurrent tasks, and runs `work` on batches of them in a thread, one batch at a time."""

    def __init__(self, work: Callable[[list[T]], Sequence[R | UnimqError]], executor: Callable[[], Executor]) -> None:
        self._work = work
        self._executor = executor
        self._lock = threading.Lock()
        self._pending: deque[tuple[T, asyncio.Future[R]]] = deque()
        self._running = False

    async def run(self, item: T) -> R:
        """What `work` gives for `item`, or raises. Cancelled before its batch has started, nothing is done with it."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[R] = loop.create_future()
        with self._lock:
            self._pending.append((item, future))
            starts = not self._running
            self._running = True
        if starts:
            # After the other tasks that are ready now: what they add belongs to the same batch.
            loop.call_soon(self._start)
        return await future

    def _start(self) -> None:
        try:
            self._executor().submit(self._run_batches)
        except UnimqError as error:
            with self._lock:
                batch = [self._pending.popleft() for _ in range(len(self._pending))]
                self._running = False
            failed: list[tuple[asyncio.Future[R], R | BaseException]] = [(future, error) for _, future in batch]
            _resolve(failed)

    def _run_batches(self) -> None:
        while True:
            with self._lock:
                count = min(len(self._pending), _LARGEST_BATCH)
                batch = [entry for _ in range(count) if not (entry := self._pending.popleft())[1].cancelled()]
                if not count:
                    self._running = False
                    return
            if batch:
                self._run(batch)

    def _run(self, batch: list[tuple[T, "asyncio.Future[R]"]]) -> None:
        try:
            outcomes: Sequence[R | BaseException] = self._work([item for item, _ in batch])
        except BaseException as error:  # noqa: BLE001 - belongs to the tasks that wait, whatever it is
            outcomes = [error] * len(batch)
        by_loop: dict[asyncio.AbstractEventLoop, list[tuple[asyncio.Future[R], R | BaseException]]] = {}
        for (_, future), outcome in zip(batch, outcomes, strict=True):
            by_loop.setdefault(future.get_loop(), []).append((future, outcome))
        for loop, results in by_loop.items():
            with contextlib.suppress(RuntimeError):  # a loop that was closed waits for nothing
                loop.call_soon_threadsafe(_resolve, results)


def _resolve(results: "list[tuple[asyncio.Future[R], R | BaseException]]") -> None:
    for future, outcome in results:
        if future.done():
            continue
        if isinstance(outcome, BaseException):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)


class _Waiter(Generic[T]):
    __slots__ = ("future", "limit")

    def __init__(self, limit: int, future: "asyncio.Future[list[Letter[T]]]") -> None:
        self.limit = limit
        self.future = future


class Pump(Generic[T]):
    """Receives for all tasks that wait on one queue, in one thread that ends when nobody has waited for a second."""

    def __init__(self, channel: "Channel[T]") -> None:
        self._channel = channel
        self._condition = threading.Condition()
        self._waiters: deque[_Waiter[T]] = deque()
        self._thread: threading.Thread | None = None
        self._cancellation = Cancellation()
        self._closed = False

    async def fetch(self, limit: int, timeout: float | None) -> list[Letter[T]]:
        """Between 1 and `limit` messages, not handed over yet; `Empty` when there is none in `timeout` seconds.

        A message that arrives for a task that is cancelled at that moment goes to the next one.
        """
        loop = asyncio.get_running_loop()
        waiter: _Waiter[T] = _Waiter(limit, loop.create_future())
        self._add(waiter)
        timer = None if timeout is None else loop.call_later(timeout, self._expire, waiter)
        try:
            return await waiter.future
        except asyncio.CancelledError:
            if waiter.future.done() and not waiter.future.cancelled() and waiter.future.exception() is None:
                self._channel.receiver.park(waiter.future.result())
            raise
        finally:
            if timer is not None:
                timer.cancel()
            self._remove(waiter)

    def close(self) -> None:
        """End the thread, and with it what waits."""
        with self._condition:
            self._closed = True
            self._condition.notify_all()
            thread = self._thread
        self._cancellation.cancel()
        if thread is not None:
            thread.join(timeout=5.0)

    def _add(self, waiter: _Waiter[T]) -> None:
        self._channel.check_open()
        with self._condition:
            if self._closed:
                raise self._channel.closed_error()
            self._waiters.append(waiter)
            if self._thread is None:
                name = f"unimq pump {self._channel.name}"
                self._thread = threading.Thread(target=self._run, name=name, daemon=True)
                self._thread.start()
            else:
                self._condition.notify()

    def _remove(self, waiter: _Waiter[T]) -> None:
        with self._condition:
            with contextlib.suppress(ValueError):
                self._waiters.remove(waiter)
            unwanted = not self._waiters
        if unwanted:
            self._cancellation.cancel()

    def _expire(self, waiter: _Waiter[T]) -> None:
        if not waiter.future.done():
            msg = f"no message on {self._channel.name} of {self._channel.where} in time"
            waiter.future.set_exception(self._cancellation.trouble or Empty(msg))

    def _run(self) -> None:
        since = time.monotonic()
        while (limit := self._wanted()) is not None:
            try:
                letters = self._channel.receiver.fetch(limit, time.monotonic() + _LOOKS_AFTER, self._cancellation)
            except (Empty, Timeout):
                pass
            except (ConnectError, ConnectionLost) as error:
                if not self._channel.pool.met and time.monotonic() - since > self._channel.settings.connect_timeout:
                    self._fail(error)
            except BaseException as error:  # noqa: BLE001 - belongs to the tasks that wait, whatever it is
                self._fail(error)
            else:
                self._deliver(letters)

    def _wanted(self) -> int | None:
        """How many messages the waiting tasks take; `None` ends the thread."""
        with self._condition:
            idle_until = time.monotonic() + _LOOKS_AFTER
            while not self._waiters and not self._closed and (rest := idle_until - time.monotonic()) > 0:
                self._condition.wait(rest)
            if self._closed or not self._waiters:
                self._thread = None
                self._fail(self._channel.closed_error())
                return None
            self._cancellation = Cancellation()
            return min(sum(waiter.limit for waiter in self._waiters), _LARGEST_BATCH)

    def _deliver(self, letters: list[Letter[T]]) -> None:
        rest = deque(letters)
        with self._condition:
            served: list[tuple[_Waiter[T], list[Letter[T]]]] = []
            while rest and self._waiters:
                waiter = self._waiters.popleft()
                served.append((waiter, [rest.popleft() for _ in range(min(waiter.limit, len(rest)))]))
        for waiter, mine in served:
            try:
                waiter.future.get_loop().call_soon_threadsafe(self._serve, waiter, mine)
            except RuntimeError:  # its loop was closed
                rest.extend(mine)
        if rest:
            self._channel.receiver.park(list(rest))

    def _serve(self, waiter: _Waiter[T], letters: list[Letter[T]]) -> None:
        if waiter.future.done():
            self._channel.receiver.park(letters)
        else:
            waiter.future.set_result(letters)

    def _fail(self, error: BaseException) -> None:
        with self._condition:
            waiters, self._waiters = list(self._waiters), deque()
        for waiter in waiters:
            with contextlib.suppress(RuntimeError):
                waiter.future.get_loop().call_soon_threadsafe(_raise, waiter.future, error)


def _raise(future: "asyncio.Future[Any]", error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)


def in_thread(call: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> "asyncio.Future[R]":
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
