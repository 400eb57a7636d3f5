"""Acks of threads that have done their work at the same moment: those that would wait for each other go together."""

import threading
from collections import deque
from collections.abc import Sequence
from typing import Any

from unimq.claims import settled_by
from unimq.errors import BatchError, UnimqError
from unimq.message import Message
from unimq.outcomes import like
from unimq.queue import Queue

__all__ = ["Acker"]


class Acker:
    """While a session or a store deals with one ack, others gather, and the first of them sends all of these."""

    def __init__(self, queues: Sequence[Queue[Any]]) -> None:
        self._queues = {queue.name: queue for queue in queues}
        self._lock = threading.Lock()
        self._places: dict[object, _Place] = {}

    def ack(self, message: Message[Any]) -> None:
        """Ack it, with others perhaps; raises what `Message.ack` raises."""
        where = settled_by(message), message.queue
        one = _Wanted(message)
        with self._lock:
            place = self._places.setdefault(where, _Place())
            place.wanted.append(one)
        try:
            with place.turn:
                if not one.over:
                    self._ack_all(place.gathered(one))
        finally:
            with self._lock:
                if not place.wanted:
                    self._places.pop(where, None)
        if one.error is not None:
            raise one.error

    def _ack_all(self, wanted: "Sequence[_Wanted]") -> None:
        messages = [one.message for one in wanted]
        errors: Sequence[object] = [None] * len(wanted)
        try:
            if len(messages) == 1:
                messages[0].ack()
            else:
                self._queues[messages[0].queue].ack(messages)
        except BatchError as failed:
            errors = failed.outcomes
        except UnimqError as failed:
            errors = [failed] * len(wanted)
        for one, error in zip(wanted, errors, strict=True):
            one.error = like(error) if isinstance(error, UnimqError) else None
            one.over = True


class _Wanted:
    """An ack, and what became of it."""

    __slots__ = ("error", "message", "over")

    def __init__(self, message: Message[Any]) -> None:
        self.message = message
        self.over = False
        self.error: UnimqError | None = None


class _Place:
    """Where one ack is made at a time: a session, or a store."""

    def __init__(self) -> None:
        self.turn = threading.Lock()
        self.wanted: deque[_Wanted] = deque()

    def gathered(self, first: _Wanted) -> list[_Wanted]:
        """That one, and all others that have gathered until now."""
        gathered = [self.wanted.popleft() for _ in range(len(self.wanted))]
        return [first, *[one for one in gathered if one is not first]]
