"""The private queues on which calls are answered: their names, how long a reply is of use, and what a crash leaves.

A reply expires when its caller would not wait for it any more. So what waits for a client that has crashed is worthless
after a while, and whoever receives it removes it: another client does, when it is answered for the first time.
"""

import os
import random
import re
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from unimq.errors import Empty, UnimqError

if TYPE_CHECKING:
    from unimq.channel import Channel
    from unimq.message import Letter

__all__ = ["is_private", "private_name", "sweep", "time_left"]

_PRIVATE: Final = re.compile(r"replies\.[0-9a-f]{24}")
_LEAST: Final = 1.0
"""Seconds that a reply lasts which is late already: its caller drops it."""
_QUEUES: Final = 20
"""Queues that one client looks at: each of those that crash leaves one."""
_MOST: Final = 1000
"""Messages that are removed from one at a time."""
_LONGEST: Final = 0.5
"""Seconds that this may take."""


def private_name() -> str:
    """A name for the reply queue of one client, which nobody else has."""
    return f"replies.{os.urandom(12).hex()}"


def is_private(name: str) -> bool:
    """Whether it is that of the reply queue of some client."""
    return _PRIVATE.fullmatch(name) is not None


def time_left(letter: "Letter[Any]", name: str) -> float | None:
    """Seconds until nobody waits for the reply on `name` any more; `None` where that is unknown."""
    if letter.expires_at is None or not is_private(name):
        return None
    return max(_LEAST, letter.expires_at - time.time())


def sweep(own: "Channel[Any]", queue: "Callable[[str], Channel[Any]]") -> None:
    """Remove what has expired in the reply queues of others, some of them at random; what has not goes back.

    Only where it goes back as it was. `queue` gives the channel of a name.
    """
    can = own.capabilities
    if not (can.ttl and can.queues and can.nack.level == "native"):
        return
    until = time.monotonic() + _LONGEST
    with suppress(UnimqError):
        names = [name for name in own.client.queues() if is_private(name) and name != own.name]
        for name in random.sample(names, min(len(names), _QUEUES)):
            if time.monotonic() >= until:
                return
            _drop_expired(queue(name))


def _drop_expired(channel: "Channel[Any]") -> None:
    try:
        letters = channel.receiver.fetch(_MOST, time.monotonic())
    except Empty:
        return
    now = time.time()
    late = [letter for letter in letters if letter.expires_at is not None and letter.expires_at <= now]
    channel.receiver.give_back([letter for letter in letters if letter not in late])
    channel.settler.ack_many(late)
