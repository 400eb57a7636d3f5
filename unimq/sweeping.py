"""What a crash leaves: the reply queues of clients that could not remove them, whose replies have expired.

Another client removes those when it is answered for the first time.
"""

import random
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from unimq.admin import queue_names
from unimq.endpoint import Endpoint
from unimq.errors import Empty, UnimqError
from unimq.replies import is_private

__all__ = ["sweep"]

_QUEUES: Final = 20
"""Queues that one client looks at: each of those that crash leaves one."""
_MOST: Final = 1000
"""Messages that are removed from one at a time."""
_LONGEST: Final = 0.5
"""Seconds that this may take."""


def sweep(own: Endpoint[Any], queue: Callable[[str], Endpoint[Any]]) -> None:
    """Remove what has expired in the reply queues of others, some of them at random; what has not goes back.

    Only where it goes back as it was. `queue` gives the endpoint of a name.
    """
    can = own.capabilities
    if not (can.ttl and can.queues and can.nack.level == "native"):
        return
    until = time.monotonic() + _LONGEST
    with suppress(UnimqError):
        names = [name for name in queue_names(own.pool, own.deadline()) if is_private(name) and name != own.name]
        for name in random.sample(names, min(len(names), _QUEUES)):
            if time.monotonic() >= until:
                return
            _drop_expired(queue(name))


def _drop_expired(endpoint: Endpoint[Any]) -> None:
    try:
        messages = endpoint.receiver.fetch(_MOST, time.monotonic())
    except Empty:
        return
    now = time.time()
    late = [message for message in messages if message.expires_at is not None and message.expires_at <= now]
    endpoint.receiver.give_back([message for message in messages if message not in late])
    endpoint.settler.ack_many(late)
