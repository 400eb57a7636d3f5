"""Taking what was there at the start: for what empties a queue that others go on filling."""

import math
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

from unimq.admin import stats
from unimq.endpoint import Endpoint
from unimq.errors import Empty
from unimq.message import BaseMessage

__all__ = ["there_at_start"]

_LOOK: Final = 0.5
"""Seconds after which a pause looks whether its queue was closed."""


def there_at_start(
    endpoint: Endpoint[Any],
    limit: int | None,
    born: Callable[[BaseMessage[Any]], float],
    *,
    batch: int = 1,
    pause: float = 0.0,
) -> Iterator[list[BaseMessage[Any]]]:
    """What is ready now, up to `batch` at a time and `limit` in all, each batch in the hands of whoever iterates.

    What came later stays, or whoever puts it, perhaps because it was taken, would keep this going for ever. Where the
    server counts exactly its count says how many they are; elsewhere `born` does: since when the message is there, in
    seconds since the Unix epoch, long ago where that is unknown. From one batch to the next there are `pause` seconds
    at least, in which nothing is taken.
    """
    start = time.time()
    waiting = _waiting(endpoint)
    left = min(math.inf if waiting is None else waiting, math.inf if limit is None else limit)
    due = -math.inf
    while left > 0:
        _sleep_until(due, endpoint)
        due = max(due, time.monotonic()) + pause
        try:
            messages = endpoint.receiver.get_many(int(min(batch, left)), 0.0)
        except Empty:
            return
        young = [] if waiting is not None else [message for message in messages if born(message) > start]
        endpoint.settler.give_back(young)
        left = 0 if young else left - len(messages)
        if old := [message for message in messages if message not in young]:
            yield old


def _sleep_until(due: float, endpoint: Endpoint[Any]) -> None:
    """A close ends it soon."""
    while (rest := due - time.monotonic()) > 0:
        endpoint.check_open()
        time.sleep(min(rest, _LOOK))


def _waiting(endpoint: Endpoint[Any]) -> int | None:
    """How many are ready, where that is known for certain."""
    if not endpoint.capabilities.stats:
        return None
    counts = stats(endpoint)
    return None if counts.approximate or counts.ready is None else counts.ready
