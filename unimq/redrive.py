"""Redriving: dead letters go back to where they came from, all of them or the one that is named."""

import math
from typing import Any, Final

from unimq import headers as reserved
from unimq.bounded import there_at_start
from unimq.channel import Channel
from unimq.errors import (
    ConnectError,
    ConnectionLost,
    InvalidArgument,
    InvalidName,
    StorageError,
    Timeout,
    UnimqError,
    Unsupported,
)
from unimq.message import Letter
from unimq.options import count, short
from unimq.outcomes import raise_failures
from unimq.sender import text

__all__ = ["redrive"]

_SEARCHED: Final = 100
"""Dead letters that are taken together in a search."""
_SLOWEST: Final = 0.001
_FASTEST: Final = 1e6


def redrive(
    channel: Channel[Any],
    parent: Channel[Any],
    limit: int | None,
    message_id: str | None = None,
    rate: float | None = None,
) -> int:
    """How many dead letters went back to where they came from, those without a usable origin to `parent`.

    What died after the start stays, or a consumer that rejects it again would keep this going for ever.
    """
    most = None if limit is None else count(limit, "limit", most=2**53)
    pause = _pause(rate)
    if message_id is not None:
        return _redrive_one(channel, parent, text(message_id, "id", 200))
    outcomes: list[UnimqError | None] = []
    held: list[Letter[Any]] = []
    try:
        for (letter,) in there_at_start(channel, most, _died_at, pause=pause):
            # One that cannot go back keeps none of the others from it; it is held until the end, or it came again.
            held.append(letter)
            outcomes.append(_outcome(letter, channel, parent))
            if outcomes[-1] is None:
                held.pop()
    finally:
        channel.settler.give_back(held)
    raise_failures("redrive", outcomes)
    return len(outcomes)


def _redrive_one(channel: Channel[Any], parent: Channel[Any], message_id: str) -> int:
    """Look for it among all, which are in hand meanwhile; then they go back in their order."""
    if channel.capabilities.guarantee == "at-most-once":
        msg = (
            f"redrive id={message_id!r}: {channel.where} delivers at most once, so that the others would be lost if "
            "the search for it were broken off; redrive all, or add ?journal="
        )
        raise Unsupported(msg)
    held: list[Letter[Any]] = []
    try:
        for letters in there_at_start(channel, None, _died_at, batch=_SEARCHED):
            held += letters
            for letter in letters:
                if letter.id == message_id:
                    _put_back(letter, channel, parent)
                    return 1
    finally:
        channel.settler.give_back(held)
    return 0


def _outcome(letter: Letter[Any], channel: Channel[Any], parent: Channel[Any]) -> UnimqError | None:
    """What is wrong with this letter; what is wrong with the way is raised."""
    try:
        _put_back(letter, channel, parent)
    except (ConnectError, ConnectionLost, Timeout, StorageError):
        raise
    except UnimqError as error:
        return error
    return None


def _put_back(letter: Letter[Any], channel: Channel[Any], parent: Channel[Any]) -> None:
    headers = {k: v for k, v in letter.headers.items() if not k.startswith(reserved.DEAD_PREFIX)}
    channel.settler.put_back(letter, _origin(letter, channel, parent).sender, headers or None)


def _died_at(letter: Letter[Any]) -> float:
    """When it was given up, by the clock of whoever gave it up; long ago where that cannot be read."""
    try:
        return float(letter.headers.get(reserved.DEAD_AT, "-inf"))
    except ValueError:
        return -math.inf


def _origin(letter: Letter[Any], channel: Channel[Any], parent: Channel[Any]) -> Channel[Any]:
    name = letter.headers.get(reserved.DEAD_ORIGIN, parent.name)
    if name == parent.name or (name == channel.name and parent.pool is channel.pool):
        return parent  # back among the dead letters it would be taken again and again
    try:
        return parent.client.channel(name, None, parent.letter)
    except InvalidName:  # another backend, or a foreign program, takes other names
        return parent


def _pause(rate: float | None) -> float:
    """Seconds from one to the next."""
    if rate is None:
        return 0.0
    if isinstance(rate, bool) or not isinstance(rate, (int, float)) or not _SLOWEST <= rate <= _FASTEST:
        msg = f"rate={short(rate)}: must be messages a second from {_SLOWEST:g} to {_FASTEST:g}"
        raise InvalidArgument(msg)
    return 1.0 / rate
