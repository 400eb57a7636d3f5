"""How the threads of a worker come by messages: one at a time asks, for all that are idle at that moment."""

import threading
from collections import deque
from collections.abc import Sequence
from typing import Any, Final

from unimq.errors import Closed, Empty, UnimqError
from unimq.message import Message
from unimq.queue import Queue
from unimq.worker.ledger import Ledger
from unimq.worker.settings import LOOK

__all__ = ["Taker"]

_MOST: Final = 1000
"""Messages that are asked for at once."""


class Taker:
    """Lets one thread at a time ask, for itself and for those that wait for it.

    Each by itself would wait in a connection of its own, and at the file of a store for all the others.
    """

    def __init__(self, queues: Sequence[Queue[Any]], ledger: Ledger[Message[Any]], stopping: threading.Event) -> None:
        self._queues = queues
        self._ledger = ledger
        self._stopping = stopping
        self._asking = threading.Lock()
        self._idle: set[object] = set()
        self._limit = 1
        """How many are asked for next, if so many threads are idle. One: the queue was found empty."""
        self._brought: deque[Message[Any]] = deque()

    def next(self) -> Message[Any] | None:
        """A message; `None` when none came for a while, or the worker is to stop.

        Raises:
            Closed: the client was closed.
        """
        message = self._brought_before()
        if message is not None:
            return message
        me = object()
        self._idle.add(me)
        try:
            with self._asking:
                message = self._brought_before()
                if message is None:
                    self._brought.extend(self._ask())
                    message = self._brought_before()
                return message
        finally:
            self._idle.discard(me)

    def left(self) -> list[Message[Any]]:
        """What was brought for threads that did not come for it any more."""
        return list(iter(self._brought_before, None))

    def _brought_before(self) -> Message[Any] | None:
        try:
            return self._brought.popleft() if self._brought else None
        except IndexError:  # another thread was faster
            return None

    def take(self, limit: int, timeout: float) -> list[Message[Any]]:
        """What there is on the queues, between 1 and `limit` messages; `Empty` when none came in time."""
        first, *more = self._queues
        if limit == 1:
            return [first.client.get(self._queues, timeout) if more else first.get(timeout)]
        if more:
            return first.client.get_many(self._queues, limit, timeout=timeout)
        return first.get_many(limit, timeout=timeout)

    def _ask(self) -> list[Message[Any]]:
        """What came; whoever asks also waits while the server is away, or each would try it by itself."""
        if self._stopping.is_set():
            return []
        limit = min(self._limit, len(self._idle))
        found: list[Message[Any]] = []
        try:
            found = self.take(limit, LOOK if self._limit == 1 else 0)
        except Empty:
            pass
        except Closed:
            raise
        except UnimqError as error:
            self._stopping.wait(self._ledger.missed(error))
            return []
        self._ledger.reached()
        self._limit = min(max(2 * limit, self._limit), _MOST) if len(found) == limit else 1
        return found
