"""Looking after a queue: counting, peeking, removing. Each asks every host and puts the answers together."""

import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from unimq import headers as reserved
from unimq.driver import Delivery, Session, Stats
from unimq.errors import (
    ConnectError,
    ConnectionLost,
    Empty,
    InvalidName,
    StorageError,
    Timeout,
    UnimqError,
    Unsupported,
)
from unimq.message import Letter
from unimq.outcomes import raise_failures
from unimq.sender import text, unsupported

if TYPE_CHECKING:
    from unimq.channel import Channel

__all__ = ["cancel", "delete", "peek", "purge", "redrive", "size", "stats"]

R = TypeVar("R")


def stats(channel: "Channel[Any]") -> Stats:
    """The sums over all hosts; the age is the oldest of all."""
    each = _ask("stats", channel, lambda session, deadline: session.stats(channel.name, deadline))
    if len(each) == 1:
        return each[0]
    ages = [one.oldest for one in each if one.oldest is not None]
    return Stats(
        ready=_sum([one.ready for one in each]),
        delayed=_sum([one.delayed for one in each]),
        leased=_sum([one.leased for one in each]),
        oldest=max(ages, default=None),
        approximate=any(one.approximate for one in each),
    )


def size(channel: "Channel[Any]") -> int:
    """Ready and delayed messages."""
    counts = stats(channel)
    if counts.ready is None:
        msg = f"size: the server of {channel.where} does not tell how many messages queue {channel.shown!r} holds"
        raise Unsupported(msg)
    return counts.ready + (counts.delayed or 0)


def peek(channel: "Channel[Any]", limit: int) -> list[Letter[Any]]:
    """Up to `limit` ready messages, host by host."""
    each = _ask("peek", channel, lambda session, deadline: session.peek(channel.name, limit, deadline))
    return [_peeked(channel, raw) for deliveries in each for raw in deliveries][:limit]


def purge(channel: "Channel[Any]") -> int:
    """How many were removed from all hosts."""
    return sum(_ask("purge", channel, lambda session, deadline: session.purge(channel.name, deadline)))


def cancel(channel: "Channel[Any]", message_id: str) -> bool:
    """Whether some host had it."""
    text(message_id, "id", 200)
    return any(_ask("cancel", channel, lambda session, deadline: session.cancel(channel.name, message_id, deadline)))


def delete(channel: "Channel[Any]") -> None:
    """Remove it from all hosts."""
    _ask("delete", channel, lambda session, deadline: session.delete(channel.name, deadline))


def redrive(channel: "Channel[Any]", parent: "Channel[Any]", limit: int | None) -> int:
    """How many dead letters went back to where they came from, those without a usable origin to `parent`.

    What died after the start stays, or a consumer that rejects it again would keep this going for ever.
    """
    start = time.time()
    waiting = _waiting(channel)
    most = min(math.inf if waiting is None else waiting, math.inf if limit is None else limit)
    outcomes: list[UnimqError | None] = []
    stuck: list[Letter[Any]] = []
    while len(outcomes) < most:
        try:
            letter = channel.receiver.get_many(1, 0.0)[0]
        except Empty:
            break
        if waiting is None and _died_at(letter) > start:
            stuck.append(letter)
            break
        headers = {k: v for k, v in letter.headers.items() if not k.startswith(reserved.DEAD_PREFIX)}
        try:
            channel.settler.put_back(letter, _origin(letter, channel, parent), headers or None)
        except (ConnectError, ConnectionLost, Timeout, StorageError):
            channel.settler.give_back([*stuck, letter])
            raise
        except UnimqError as error:
            # One that cannot go back keeps none of the others from it; it is held until the end, or it came again.
            stuck.append(letter)
            outcomes.append(error)
        else:
            outcomes.append(None)
    channel.settler.give_back(stuck)
    raise_failures("redrive", outcomes)
    return len(outcomes)


def _waiting(channel: "Channel[Any]") -> int | None:
    """How many dead letters there are, where that is known for certain."""
    if not channel.capabilities.stats:
        return None
    counts = stats(channel)
    return None if counts.approximate or counts.ready is None else counts.ready


def _died_at(letter: Letter[Any]) -> float:
    """When it was given up, by the clock of whoever gave it up; long ago where that cannot be read."""
    try:
        return float(letter.headers.get(reserved.DEAD_AT, "-inf"))
    except ValueError:
        return -math.inf


def _origin(letter: Letter[Any], channel: "Channel[Any]", parent: "Channel[Any]") -> "Channel[Any]":
    name = letter.headers.get(reserved.DEAD_ORIGIN, parent.name)
    if name == parent.name or (name == channel.name and parent.client is channel.client):
        return parent  # back among the dead letters it would be taken again and again
    try:
        return parent.client.channel(name, None, parent.letter)
    except InvalidName:  # another backend, or a foreign program, takes other names
        return parent


def _ask(capability: str, channel: "Channel[Any]", call: Callable[[Session, float], R]) -> list[R]:
    channel.check_open()
    if not channel.capabilities[capability]:
        raise unsupported(channel, capability)
    return channel.client.ask_hosts(call, channel.deadline())


def _peeked(channel: "Channel[Any]", raw: Delivery) -> Letter[Any]:
    delivery, invalid = channel.decode(raw)
    return channel.letter(channel, None, raw, delivery, invalid)


def _sum(counts: list[int | None]) -> int | None:
    """The sum, or unknown when one of them is."""
    known = [count for count in counts if count is not None]
    return sum(known) if len(known) == len(counts) else None
