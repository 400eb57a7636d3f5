"""One thread per client that calls things later: leases the face keeps itself, messages that nobody came for.

The thread starts with the first call that is scheduled and ends when nothing is left or the client is closed.
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
        """Call `call` at `when` (`time.monotonic()` seconds). What it raises as a `UnimqError` is dropped.

        It is for housekeeping whose failure leaves the message with the server, which delivers it again.
        """
        if self._pid != os.getpid():
            self._forget()  # a thread does not survive a fork, nor does its work concern the child
        with self._condition:
            if self._closed:
                return
            heapq.heappush(self._due, (when, next(self._numbers), call))
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                self._thread.start()
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

    def _run(self) -> None:
        while (call := self._next()) is not None:
            with contextlib.suppress(UnimqError):
                call()

    def _next(self) -> Callable[[], None] | None:
        with self._condition:
            while self._due:
                rest = self._due[0][0] - time.monotonic()
                if rest <= 0:
                    return heapq.heappop(self._due)[2]
                self._condition.wait(min(rest, threading.TIMEOUT_MAX))
            self._thread = None
            return None
