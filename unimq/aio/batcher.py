"""Puts and settlements in coalesced batches: while one is on its way, what other tasks ask for gathers for the next.

A hop between the event loop and a thread costs about as much as ten messages, so it is paid per batch.
"""

import asyncio
import contextlib
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor
from typing import Any, Final, Generic, TypeVar

from unimq.errors import Timeout, UnimqError
from unimq.outcomes import like

__all__ = ["Batcher", "in_loops"]

T = TypeVar("T")
R = TypeVar("R")
F = TypeVar("F", bound="asyncio.Future[Any]")

_LARGEST_BATCH: Final = 1000
_SLOW: Final = 0.01
"""Seconds after which a batch is a slow one."""
_NEAR: Final = 0.1
"""How much later than the first deadline of a batch another one may be, as a part of what is left until the first."""


class _Entry(Generic[T, R]):
    """What a task asks for, until when, and where it waits."""

    __slots__ = ("deadline", "future", "item")

    def __init__(self, item: T, deadline: float, future: "asyncio.Future[R]") -> None:
        self.item = item
        self.deadline = deadline
        self.future = future


class Batcher(Generic[T, R]):
    """Collects the items of concurrent tasks, and runs `work` on batches of them in a thread.

    Each item has a deadline of its own, from when it was given. Those of a batch are near one another, and the first of
    them is that of the batch; so what waits behind a batch that stalls is told in time, and was not sent.
    """

    def __init__(
        self,
        work: Callable[[list[T], float], Sequence[R | UnimqError]],
        executor: Callable[[], Executor],
        deadline: Callable[[], float],
        most: Callable[[], int] = lambda: 1,
    ) -> None:
        """`deadline` says until when, as a monotonic time, what is given now may last.

        `most` says how many batches may be under way, one by default: another one begins when the last has been for
        10 ms, and something more is asked for.
        """
        self._work = work
        self._executor = executor
        self._deadline = deadline
        self._most = most
        self._forget()

    def _forget(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._pending: deque[_Entry[T, R]] = deque()
        self._running = 0
        """Threads that run batches."""
        self._since = 0.0
        """When the last batch began, as a monotonic time."""

    async def run(self, item: T) -> R:
        """What `work` gives for `item`, or raises. Cancelled before its batch has started, nothing is done with it."""
        future: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        if self._pid != os.getpid():
            self._forget()  # the tasks and threads of the parent are not in the child of a fork
        with self._lock:
            self._pending.append(_Entry(item, self._deadline(), future))
            starts = not self._running or self._is_slow()
            if starts:
                self._running += 1
                self._since = time.monotonic()
        if starts:
            # At once, and not from the loop, which may end before it comes to that. The thread begins when this one
            # waits, as a rule: what other tasks that are ready now add belongs to the same batch.
            self._start()
        return await future

    def _is_slow(self) -> bool:
        """Whether what is under way takes so long that another batch had better begin beside it."""
        return time.monotonic() - self._since >= _SLOW and self._running < self._most()

    def _start(self) -> None:
        try:
            self._executor().submit(self._run_batches)
        except BaseException as error:
            with self._lock:
                batch, self._pending = list(self._pending), deque()
                self._running -= 1
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
                self._running -= 1
                return None
            self._since = now = time.monotonic()
            first = pending[0].deadline
            near = max(0.0, first - now) * _NEAR
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
            future.set_exception(like(outcome))
        else:
            future.set_result(outcome)
