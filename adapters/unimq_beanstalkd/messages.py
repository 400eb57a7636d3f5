"""Messages as beanstalkd has them: the commands that put them, what it tells of them, its priorities."""

import math
import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Final

import greenstalk

from unimq.driver import Delivery, Outgoing
from unimq.errors import UnimqError

__all__ = ["WINDOW", "Outcome", "delivery_of", "portable_priority", "put_commands", "unknown", "windows"]

WINDOW: Final = 200
"""Commands that are written before their replies are read: they must fit into the buffers of both sides."""
_WINDOW_BYTES: Final = 256 * 1024
_END: Final = b"\r\n"
_LEASE: Final = greenstalk.DEFAULT_TTR
"""Seconds of a put that names no lease, as greenstalk has it."""

_TOLD: Final = re.compile(
    rb"""tube: "?([!-~]+?)"?\n(?:.*\n)*?pri: (\d+)\n(?:.*\n)*?ttr: (\d+)\n(?:.*\n)*?reserves: (\d+)\n"""
)
"""What `stats-job` tells, as far as it is used."""

Outcome = str | UnimqError | None


def windows(messages: Sequence[Outgoing]) -> Sequence[Sequence[Outgoing]]:
    """The messages in pieces that are written at once."""
    if len(messages) == 1:
        return [messages]
    pieces: list[Sequence[Outgoing]] = []
    start = size = 0
    for position, message in enumerate(messages):
        length = len(message.body)
        if position > start and (position - start == WINDOW or size + length > _WINDOW_BYTES):
            pieces.append(messages[start:position])
            start, size = position, 0
        size += length
    return [*pieces, messages[start:]]


def unknown(error: UnimqError, doubtful: int, unsent: int) -> Iterator[UnimqError]:
    """What is known of the messages that have no answer: those that may have left, and those behind them."""
    for in_doubt, count in ((error.in_doubt, doubtful), (False, unsent)):
        for _ in range(count):
            one = type(error)(str(error), in_doubt=in_doubt)
            one.__cause__ = error
            yield one


def put_commands(messages: Sequence[Outgoing]) -> bytes:
    """The commands that store them."""
    pieces: list[bytes] = []
    for message in messages:
        body = message.body
        pieces += (b"%b %d\r\n" % (_put(message.priority, message.delay, message.lease), len(body)), body, _END)
    return b"".join(pieces)


@lru_cache(maxsize=64)
def _put(priority: int, delay: float, lease: float | None) -> bytes:
    """How the command begins; in whole seconds, rounded up. Most puts of a program are alike in this."""
    seconds = _LEASE if lease is None else max(1, math.ceil(lease))
    return b"put %d %d %d" % (native_priority(priority), math.ceil(delay), seconds)


def delivery_of(number: int, body: bytes, told: bytes, now: float) -> Delivery:
    """A job reserved just now, with what `stats-job` told of it. Raises `ValueError` where that is nonsense."""
    found = _TOLD.search(told)
    if found is None:
        raise ValueError(told)
    tube, *numbers = found.groups()
    priority, lease, count = map(int, numbers)
    return Delivery(
        tube.decode(),
        body,
        (number, priority, lease),
        id=str(number),
        priority=portable_priority(priority),
        delivery_count=count,
        redelivered=count > 1,
        lease_until=now + lease,
        native=greenstalk.Job(number, body),
    )


def native_priority(priority: int) -> int:
    """0 is first there, and greenstalk's default is the middle here."""
    return greenstalk.DEFAULT_PRIORITY + (4 - priority) * 8192


def portable_priority(priority: int) -> int | None:
    """The priority that was put; `None` where somebody else's puts have finer ones."""
    return _PORTABLE.get(priority)


_PORTABLE: Final = {native_priority(priority): priority for priority in range(10)}
