"""The private queues on which calls are answered: their names, and how long a reply is of use.

A reply expires when its caller would not wait for it any more. So what waits for a client that has crashed is worthless
after a while, and whoever receives it removes it.
"""

import os
import re
import time
from typing import Final

__all__ = ["is_private", "private_name", "time_left"]

_PRIVATE: Final = re.compile(r"replies\.[0-9a-f]{24}")
_LEAST: Final = 1.0
"""Seconds that a reply lasts which is late already: its caller drops it."""


def private_name() -> str:
    """A name for the reply queue of one client, which nobody else has."""
    return f"replies.{os.urandom(12).hex()}"


def is_private(name: str) -> bool:
    """Whether it is that of the reply queue of some client."""
    return _PRIVATE.fullmatch(name) is not None


def time_left(expires_at: float | None, name: str) -> float | None:
    """Seconds until nobody waits for the reply on `name` any more; `None` where that is unknown.

    The request expires at `expires_at`, in seconds since the Unix epoch.
    """
    if expires_at is None or not is_private(name):
        return None
    return max(_LEAST, expires_at - time.time())
