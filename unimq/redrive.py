"""Redriving: dead letters go back to where they came from, all of them or the one that is named."""

import math
from typing import Any, Final

from unimq import headers as reserved
from unimq.bounded import there_at_start
from unimq.endpoint import Endpoint
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
from unimq.message import BaseMessage
from unimq.options import count, short
from unimq.outcomes import raise_failures
from unimq.sender import text

__all__ = ["redrive"]

_SEARCHED: Final = 100
"""Dead letters that are taken together in a search."""
_SLOWEST: Final = 0.001
_FASTEST: Final = 1e6


def redrive(
    endpoint: Endpoint[Any],
    parent: Endpoint[Any],
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
        return _redrive_one(endpoint, parent, text(message_id, "id", 200))
    outcomes: list[UnimqError | None] = []
    held: list[BaseMessage[Any]] = []
    try:
        for (message,) in there_at_start(endpoint, most, _died_at, pause=pause):
            # One that cannot go back keeps none of the others from it; it is held until the end, or it came again.
            held.append(message)
            outcomes.append(_outcome(message, endpoint, parent))
            if outcomes[-1] is None:
                held.pop()
    finally:
        endpoint.settler.give_back(held)
    raise_failures("redrive", outcomes)
    return len(outcomes)


def _redrive_one(endpoint: Endpoint[Any], parent: Endpoint[Any], message_id: str) -> int:
    """Look for it among all, which are in hand meanwhile; then they go back in their order."""
    if endpoint.capabilities.guarantee == "at-most-once":
        msg = (
            f"redrive id={message_id!r}: {endpoint.where} delivers at most once, so that the others would be lost if "
            "the search for it were broken off; redrive all, or add ?journal="
        )
        raise Unsupported(msg)
    held: list[BaseMessage[Any]] = []
    try:
        for messages in there_at_start(endpoint, None, _died_at, batch=_SEARCHED):
            held += messages
            for message in messages:
                if message.id == message_id:
                    _put_back(message, endpoint, parent)
                    return 1
    finally:
        endpoint.settler.give_back(held)
    return 0


def _outcome(message: BaseMessage[Any], endpoint: Endpoint[Any], parent: Endpoint[Any]) -> UnimqError | None:
    """What is wrong with this message; what is wrong with the way is raised."""
    try:
        _put_back(message, endpoint, parent)
    except (ConnectError, ConnectionLost, Timeout, StorageError):
        raise
    except UnimqError as error:
        return error
    return None


def _put_back(message: BaseMessage[Any], endpoint: Endpoint[Any], parent: Endpoint[Any]) -> None:
    headers = {k: v for k, v in message.headers.items() if not k.startswith(reserved.DEAD_PREFIX)}
    endpoint.settler.put_back(message, _origin(message, endpoint, parent).sender, headers or None)


def _died_at(message: BaseMessage[Any]) -> float:
    """When it was given up, by the clock of whoever gave it up; long ago where that cannot be read."""
    try:
        return float(message.headers.get(reserved.DEAD_AT, "-inf"))
    except ValueError:
        return -math.inf


def _origin(message: BaseMessage[Any], endpoint: Endpoint[Any], parent: Endpoint[Any]) -> Endpoint[Any]:
    name = message.headers.get(reserved.DEAD_ORIGIN, parent.name)
    if name == parent.name or (name == endpoint.name and parent.pool is endpoint.pool):
        return parent  # back among the dead letters it would be taken again and again
    try:
        return parent.client.endpoint(name, None, parent.message_type)
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
