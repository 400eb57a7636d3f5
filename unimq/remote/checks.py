"""What a peer asks for is checked as an application's arguments are: the store's session trusts its caller."""

import math
from functools import lru_cache
from typing import Final

from unimq.capabilities import Limits
from unimq.driver import Delivery, Outgoing
from unimq.errors import InvalidArgument, TooLarge
from unimq.naming import check_name
from unimq.options import LONGEST
from unimq.remote.frames import Held

__all__ = ["check_fetch", "check_message", "check_names", "check_seconds"]

_MOST: Final = 10_000
"""Messages that one fetch or peek may ask for."""
_HIGHEST: Final = 9
_HEADERS: Final = 64 * 1024
_TEXT: Final = 1000
"""Characters of an id; what unimq makes is shorter, what a server makes may be longer than that."""
_check_name: Final = lru_cache(1024)(check_name)
"""Names come again with each request; what is refused is looked at again."""


def check_names(names: list[str], limits: Limits) -> None:
    """Refuse a queue name that the store cannot take."""
    if not 0 < len(names) <= _MOST:
        msg = f"{len(names)} queues: must be 1 to {_MOST}"
        raise InvalidArgument(msg)
    for name in names:
        _check_name(name, limits)


def check_fetch(limit: int, lease: float, wait: float) -> None:
    """Refuse a number of messages or a duration out of its range."""
    if not 1 <= limit <= _MOST:
        msg = f"limit={limit}: must be 1 to {_MOST}"
        raise InvalidArgument(msg)
    check_seconds("lease", lease)
    check_seconds("wait", wait)


def check_seconds(name: str, seconds: float) -> None:
    """Refuse what is no duration."""
    if not 0 <= seconds <= LONGEST:
        msg = f"{name}={seconds}: must be seconds from 0 to {LONGEST:g}"
        raise InvalidArgument(msg)


def check_message(message: Outgoing, limits: Limits) -> None:
    """Refuse a message that `put` would have refused."""
    if limits.body is not None and len(message.body) > limits.body:
        msg = f"body of {len(message.body)} bytes: the store takes at most {limits.body}"
        raise TooLarge(msg)
    if not 0 <= message.priority <= _HIGHEST or message.delivery_count < 0 or message.delivery_count >> 53:
        msg = f"priority={message.priority}, delivery_count={message.delivery_count}: must be 0 to 9, and not negative"
        raise InvalidArgument(msg)
    check_seconds("delay", message.delay)
    check_seconds("lease", message.lease or 0.0)
    times = (message.expires_at or 0.0, message.enqueued_at or 0.0)
    if not all(math.isfinite(time) and abs(time) < 1e12 for time in times):  # noqa: PLR2004 - the year 33658
        msg = f"expires_at and enqueued_at {times}: must be seconds since the Unix epoch"
        raise InvalidArgument(msg)
    _check_texts(message, _HEADERS if limits.headers is None else limits.headers)


def _check_texts(message: Outgoing, limit: int) -> None:
    for name, text in (("id", message.id), ("unique", message.unique)):
        if text is not None and not (0 < len(text) <= _TEXT and text.isprintable()):
            msg = f"{name} of {len(text)} characters: must be 1 to {_TEXT} printable ones"
            raise InvalidArgument(msg)
    headers = message.headers or {}
    size = sum(len(text.encode()) for pair in headers.items() for text in pair)
    # unimq's own headers (reasons of dead letters, say) come in addition to the application's.
    if size > 2 * limit or "" in headers or any("\0" in text for pair in headers.items() for text in pair):
        msg = f"headers of {size} bytes: at most {2 * limit} are allowed, no empty key and no NUL"
        raise InvalidArgument(msg)


def as_held(delivery: Delivery) -> Held:
    """What a client says of a delivery that it settles."""
    token = delivery.token
    return Held(delivery.queue, token if isinstance(token, bytes) else b"", delivery.id)
