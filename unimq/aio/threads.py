"""What lets tasks use blocking sessions: puts and settlements in coalesced batches, one receiving thread per queue.

A hop between the event loop and a thread costs about as much as ten messages, so it is paid per batch: while one batch
is on its way, what other tasks ask for gathers for the next. Any number of tasks that wait for messages share one
thread.
"""

import asyncio
import contextlib
import os
import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor, Future
from typing import TYPE_CHECKING, Any, Final, Generic, ParamSpec, TypeVar

from unimq.errors import ConnectError, ConnectionLost, Empty, Timeout, UnimqError
from unimq.message import Letter
from unimq.source import Cancellation

if TYPE_CHECKING:
    from unimq.channel import Channel

__all__ = ["Batcher", "Pump", "in_background", "in_loops", "in_thread"]

T = TypeVar("T")
P = ParamSpec("P")
R = TypeVar("R")
F = TypeVar("F", bound="asyncio.Future[Any]")

_LARGEST_BATCH: Final = 1000
_NEAR: Final = 0.1
"""How much later than the first deadline of a batch another one may be, as a part of what is left until the first."""
_CLOSE_MOST: Final = 0.5
"""Seconds that a thread has to end; it is interrupted."""
_LOOKS_AFTER: Final = 1.0
"""Seconds after which a waiting pump looks whether it is still wanted: an interrupt may come a moment too early."""


class _Entry(Generic[T, R]):
    """What a task asks for, until when, and where it waits."""

    __slots__ = ("deadline", "future", "item")

    def __init__(self, item: T, deadline: float, future: "asyncio.Future[R]") -> None:
        self.item = item
        self.deadline = deadline
        self.future = future


class Batcher(Generic[T, R]):
    """Collects the items of concurrent tasks, and runs `work` on batches of them in a thread, one batch at a time.

    Each item has a deadline of its own, from when it was given. Those of a batch are near one another, and the first of
    them is that of the batch; so what waits behind a batch that stalls is told in time, and was not sent.
    """

    def __init__(
        self,
        work: Callable[[list[T], float], Sequence[R | UnimqError]],
        executor: Callable[[], Executor],
        deadline: Callable[[], float],
    ) -> None:
        """`deadline` says until when, as a monotonic time, what is given now may last."""
        self._work = work
        self._executor = executor
        self._deadline = deadline
        self._forget()

    def _forget(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._pending: deque[_Entry[T, R]] = deque()
        self._running = False

    async def run(self, item: T) -> R:
        """What `work` gives for `item`, or raises. Cancelled before its batch has started, nothing is done with it."""
        future: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        if self._pid != os.getpid():
            self._forget()  # the tasks and threads of the parent are not in the child of a fork
        with self._lock:
            self._pending.append(_Entry(item, self._deadline(), future))
            starts = not self._running
            self._running = True
        if starts:
            # At once, and not from the loop, which may end before it comes to that. The thread begins when this one
            # waits, as a rule: what other tasks that are ready now add belongs to the same batch.
            self._start()
        return await future

    def _start(self) -> None:
        try:
            self._executor().submit(self._run_batches)
        except BaseException as error:
            with self._lock:
                batch, self._pending = list(self._pending), deque()
                self._running = False
            self._tell(batch, [error] * len(batch))
            if not isinstance(error, Exception):
                raise

    def _run_batches(self) -> None:
        while (batch := self._next()) is not None:
            wanted = [entry for entry in batch if not entry.future.cancelled()]
            if wanted:
                self._tell(wanted, self._outcomes(wanted))

    def _next(self) -> list[_Entry[T, R]] | None:
        """What goes together; `None`: nothing is left."""
        batch: list[_Entry[T, R]] = []
        with self._lock:
            pending = self._pending
            if not pending:
                self._running = False
                return None
            first = pending[0].deadline
            near = max(0.0, first - time.monotonic()) * _NEAR
            while pending and len(batch) < _LARGEST_BATCH and abs(pending[0].deadline - first) <= near:
                batch.append(pending.popleft())
        return batch

    def _outcomes(self, batch: list[_Entry[T, R]]) -> Sequence[R | BaseException]:
        deadline = min(entry.deadline for entry in batch)
        if deadline <= time.monotonic():
            return [Timeout("not sent: what was asked for before it took until its deadline")] * len(batch)
        try:
            return self._work([entry.item for entry in batch], deadline)
        except BaseException as error:  # noqa: BLE001 - belongs to the tasks that wait, whatever it is
            return [error] * len(batch)

    @staticmethod
    def _tell(batch: list[_Entry[T, R]], outcomes: Sequence[R | BaseException]) -> None:
        in_loops(_resolve, [(entry.future, outcome) for entry, outcome in zip(batch, outcomes, strict=True)])


def in_loops(resolve: Callable[[list[tuple[F, R]]], object], results: Iterable[tuple[F, R]]) -> None:
    """Let each event loop `resolve` what concerns the futures of its own, in one hop."""
    by_loop: dict[asyncio.AbstractEventLoop, list[tuple[F, R]]] = {}
    for future, result in results:
        by_loop.setdefault(future.get_loop(), []).append((future, result))
    for loop, some in by_loop.items():
        with contextlib.suppress(RuntimeError):  # a loop that was closed waits for nothing
            loop.call_soon_threadsafe(resolve, some)


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


class _Line(Generic[T]):
    """The tasks that wait at a pump. Its thread has this, and the pump itself only while somebody waits."""

    def __init__(self) -> None:
        self.condition = threading.Condition()
        self.waiters: deque[_Waiter[T]] = deque()
        self.thread: threading.Thread | None = None
        self.closed = False
        self.cancellation = Cancellation()
        """Of what the thread waits for."""

    def wanted(self) -> int | None:
        """How many messages the waiting tasks take; `None` ends the thread."""
        with self.condition:
            idle_until = time.monotonic() + _LOOKS_AFTER
            while not self.waiters and not self.closed and (rest := idle_until - time.monotonic()) > 0:
                self.condition.wait(rest)
            if self.closed or not self.waiters:
                self.thread = None
                return None
            self.cancellation = Cancellation()
            return min(sum(waiter.limit for waiter in self.waiters), _LARGEST_BATCH)

    def first(self, letters: deque[Letter[T]]) -> "list[tuple[_Waiter[T], list[Letter[T]]]]":
        """Those whose turn it is, each with what it gets of `letters`."""
        served: list[tuple[_Waiter[T], list[Letter[T]]]] = []
        with self.condition:
            while letters and self.waiters:
                waiter = self.waiters.popleft()
                served.append((waiter, [letters.popleft() for _ in range(min(waiter.limit, len(letters)))]))
        return served

    def remove(self, waiter: _Waiter[T]) -> None:
        """Take one out; what is received when nobody is left would be for nobody."""
        with self.condition:
            with contextlib.suppress(ValueError):
                self.waiters.remove(waiter)
            unwanted = not self.waiters
        if unwanted:
            self.cancellation.cancel()

    def end(self) -> threading.Thread | None:
        """Let the thread end, which is returned."""
        with self.condition:
            self.closed = True
            self.condition.notify_all()
            thread = self.thread
        self.cancellation.cancel()
        return thread

    def fail(self, error: BaseException) -> None:
        """Tell all who wait."""
        with self.condition:
            waiters, self.waiters = list(self.waiters), deque()
        for waiter in waiters:
            with contextlib.suppress(RuntimeError):
                waiter.future.get_loop().call_soon_threadsafe(_raise, waiter.future, error)


class Pump(Generic[T]):
    """Receives for all tasks that wait on one queue, in one thread that ends when nobody has waited for a second."""

    def __init__(self, channel: "Channel[T]") -> None:
        self._channel = channel
        self._forget()

    def _forget(self) -> None:
        self._pid = os.getpid()
        self._line: _Line[T] = _Line()
        self._since = 0.0

    @property
    def is_waited_at(self) -> bool:
        """Whether a task waits, which comes first."""
        return bool(self._line.waiters)

    async def fetch(self, limit: int, timeout: float | None) -> list[Letter[T]]:
        """Between 1 and `limit` messages, not handed over yet; `Empty` when there is none in `timeout` seconds.

        A message that arrives for a task that is cancelled at that moment goes to the next one.
        """
        loop = asyncio.get_running_loop()
        waiter: _Waiter[T] = _Waiter(limit, loop.create_future())
        line = self._add(waiter)
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
            line.remove(waiter)

    def interrupt(self) -> None:
        """End what waits, with `Empty`."""
        self._line.fail(Empty(f"the gets on {self._channel.shown} of {self._channel.where} were interrupted"))

    def close(self) -> None:
        """End the thread, and with it what waits."""
        if self._pid != os.getpid():
            self._forget()
        thread = self._line.end()
        self._line.fail(self._channel.closed_error())
        if thread is not None:
            thread.join(timeout=_CLOSE_MOST)

    def _add(self, waiter: _Waiter[T]) -> _Line[T]:
        self._channel.check_open()
        if self._pid != os.getpid():
            self._forget()  # the tasks and the thread of the parent are not in the child of a fork
        line = self._line
        with line.condition:
            if line.closed:
                raise self._channel.closed_error()
            line.waiters.append(waiter)
            if line.thread is None:
                self._since = time.monotonic()
                name = f"unimq pump {self._channel.name}"
                found = weakref.ref(self, lambda _: line.end())
                line.thread = threading.Thread(target=_pump, args=(found, line), name=name, daemon=True)
                line.thread.start()
            else:
                line.condition.notify()
        return line

    def _expire(self, waiter: _Waiter[T]) -> None:
        if not waiter.future.done():
            msg = f"no message on {self._channel.shown} of {self._channel.where} in time"
            waiter.future.set_exception(self._line.cancellation.trouble or Empty(msg))

    def receive(self, limit: int) -> None:
        """Wait for messages, for a second at most, and hand them to the tasks that wait for them."""
        line, until = self._line, time.monotonic() + _LOOKS_AFTER
        try:
            letters = self._channel.receiver.fetch(limit, until, line.cancellation)
        except (Empty, Timeout):
            pass
        except (ConnectError, ConnectionLost) as error:
            if not self._channel.pool.met and time.monotonic() - self._since > self._channel.settings.connect_timeout:
                line.fail(error)
        except BaseException as error:  # noqa: BLE001 - belongs to the tasks that wait, whatever it is
            line.fail(error)
        else:
            self._deliver(letters)

    def _deliver(self, letters: list[Letter[T]]) -> None:
        rest = deque(letters)
        for waiter, mine in self._line.first(rest):
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


def _pump(found: "weakref.ref[Pump[Any]]", line: _Line[Any]) -> None:
    """The thread of a pump: while nobody waits it keeps none alive that its application has forgotten."""
    while (limit := line.wanted()) is not None and (pump := found()) is not None:
        pump.receive(limit)
        del pump


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

    in_background(run)
    return asyncio.wrap_future(result, loop=loop)


def in_background(call: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> None:
    """Run `call` in a thread that nobody waits for; at the end of the interpreter, which runs none, not at all."""
    if not sys.is_finalizing():  # or the start would be waited for without end
        threading.Thread(target=call, args=args, kwargs=kwargs, name="unimq call", daemon=True).start()
