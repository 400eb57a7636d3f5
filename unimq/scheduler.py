"""A thread that calls things later: one for each host, so that a server that stalls holds up nobody else's.

It starts with the first call that is scheduled and ends when nothing is left or the client is closed.
"""

import contextlib
import heapq
import itertools
import os
import threading
import time
from collections.abc import Callable

from unimq.errors import UnimqError

__all__ = ["Scheduler"]


class Scheduler:
    """Calls functions at points of the monotonic clock, one after the other, in a thread of its own."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._forget()

    def _forget(self) -> None:
        self._pid = os.getpid()
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self._condition = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closed = False

    def at(self, when: float, call: Callable[[], None]) -> None:
        """Call `call` at `when` (`time.monotonic()` seconds). What it raises ends nothing but that call.

        It is for housekeeping whose failure leaves the message with the server, which delivers it again: a `UnimqError`
        is dropped, and anything else, a mistake in a hook perhaps, is logged.
        """
        if self._pid != os.getpid():
            self._forget()  # a thread does not survive a fork, nor does its work concern the child
        with self._condition:
            if self._closed:
                return
            heapq.heappush(self._due, (when, next(self._numbers), call))
            if self._thread is None:
                self._start()
            elif self._due[0][0] == when:
                self._condition.notify()

    def close(self, until: float) -> None:
        """Drop what is scheduled and end the thread, waiting for it until then, a monotonic time. Idempotent."""
        with self._condition:
            self._closed = True
            self._due.clear()
            self._condition.notify()
            thread = self._thread
        if thread is not None and thread is not threading.current_thread() and self._pid == os.getpid():
            thread.join(timeout=max(0.0, until - time.monotonic()))

    def _start(self) -> None:
        thread = threading.Thread(target=self._run, name=self._name, daemon=True)
        with contextlib.suppress(RuntimeError):  # no more threads for now: the next call that is scheduled tries again
            thread.start()
            self._thread = thread

    def _run(self) -> None:
        while (call := self._next()) is not None:
            try:
                call()
            except UnimqError:
                pass
            except BaseException:
                from logging import getLogger  # noqa: PLC0415 - only those who need it pay for its import

                getLogger("unimq").exception("%s: what was to be done later failed", self._name)

    def _next(self) -> Callable[[], None] | None:
        with self._condition:
            while self._due:
                rest = self._due[0][0] - time.monotonic()
                if rest <= 0:
                    return heapq.heappop(self._due)[2]
                self._condition.wait(min(rest, threading.TIMEOUT_MAX))
            self._thread = None
            return None
