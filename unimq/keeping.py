"""Extending a lease again and again while work goes on: what `message.keep()` begins."""

import time
import weakref
from typing import TYPE_CHECKING, Any, Final

from unimq.errors import AlreadySettled, Closed, LeaseLost, UnimqError

if TYPE_CHECKING:
    from unimq.message import Letter

__all__ = ["keep"]

_LEASE_LEAST: Final = 0.05
"""Seconds: the shortest lease."""


def keep(found: "weakref.ref[Letter[Any]]") -> None:
    """Come back when a third of the lease is over. The scheduler does not keep alive a message that was forgotten."""
    letter = found()
    if letter is None or letter.settled or letter.lease_remaining is None:
        return
    rest = max(letter.lease_remaining, _LEASE_LEAST)
    letter._channel.scheduler.at(time.monotonic() + rest / 3, lambda: _extend(found))


def _extend(found: "weakref.ref[Letter[Any]]") -> None:
    letter = found()
    if letter is None or letter.settled:
        return
    try:
        letter._channel.settler.extend(letter, None)
    except (AlreadySettled, Closed, LeaseLost):
        return
    except UnimqError:  # tried again, as long as there is time
        if not letter.lease_remaining:
            return
    keep(found)
