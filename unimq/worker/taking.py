"""How the threads of a worker come by messages: one asks for all that are idle at that moment, or a few do."""

import threading
import time
from collections import deque
from collections.abc import Sequence
from typing import Any, Final

from unimq.claims import session_of
from unimq.errors import Closed, Empty, UnimqError
from unimq.message import Message
from unimq.queue import Queue
from unimq.worker.ledger import Ledger
from unimq.worker.settings import LOOK

__all__ = ["Taker"]

_MOST: Final = 1000
"""Messages that are asked for at once."""
_FAR: Final = 0.005
"""Seconds: a server that takes longer to say what it has is asked by several threads at a time."""
_ASKERS: Final = 8
"""So many of them."""


class Taker:
    """Lets one thread at a time ask, for itself and for those that wait for it.

    Each by itself would wait in a connection of its own, and at the file of a store for all the others. A few at a time
    do it where a server is far away, and others would wait for the answer that one waits for. Where a session settles
    while it waits (`duplex`), messages were sent to it for one receive, and what is settled of them by itself may cost
    an exchange more: there each thread asks, for one message.
    """

    def __init__(
        self, queues: Sequence[Queue[Any]], ledger: Ledger[Message[Any]], stopping: threading.Event, *, alone: bool
    ) -> None:
        """`alone`: there is one thread."""
        self._queues = queues
        self._each = alone
        """Whether each thread asks for itself."""
        self._ledger = ledger
        self._stopping = stopping
        self._changed = threading.Condition()
        self._brought: deque[Message[Any]] = deque()
        self.idle = 0
        """Threads that wait for others to bring something."""
        self._asking = 0
        self._for_others = 0
        """Messages that are being asked for, beyond one for each that asks."""
        self._askers = 1
        self._limit = 1
        """How many are asked for next, if so many threads are idle. One: the queue was found empty."""

    def next(self) -> Message[Any] | None:
        """A message; `None` when none came for a while, or the worker is to stop.

        Raises:
            Closed: the client was closed.
        """
        if self._each:
            found = self._ask(1)
            return found[0] if found else None
        message = self._brought_before()
        if message is not None:
            return message
        with self._changed:
            while (message := self._brought_before()) is None and self._asking >= self._askers and not self._each:
                self.idle += 1
                self._changed.wait()
                self.idle -= 1
            if message is not None:
                return message
            others = max(0, min(self._limit - 1, self.idle - self._for_others))
            self._asking += 1
            self._for_others += others
        found = []
        try:
            found = self._ask(1 + others)
        finally:
            with self._changed:
                self._asking -= 1
                self._for_others -= others
                self._brought.extend(found)
                # All that have something now but this one, and who asks next.
                self._changed.notify(self.idle if self._each else max(1, len(found)))
        return self._brought_before()

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

    def _ask(self, limit: int) -> list[Message[Any]]:
        """What came; whoever asks also waits while the server is away, or each would try it by itself."""
        if self._stopping.is_set():
            return []
        found: list[Message[Any]] = []
        waits = self._limit == 1
        began = time.monotonic()
        try:
            found = self.take(limit, LOOK if waits else 0)
        except Empty:
            pass
        except Closed:
            raise
        except UnimqError as error:
            self._stopping.wait(self._ledger.missed(error))
            return []
        self._ledger.reached()
        if self._each:
            return found
        if found and session_of(found[0]).settling == "duplex":
            self._each, self._limit = True, 1
            return found
        if found and not waits and self._queues[0].client.driver.port is not None:
            self._askers = _ASKERS if time.monotonic() - began > _FAR else 1
        self._limit = min(max(2 * limit, self._limit), _MOST) if len(found) == limit else 1
        return found
