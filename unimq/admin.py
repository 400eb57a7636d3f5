"""Looking after a queue: counting, peeking, removing. Each asks every host and puts the answers together."""

import time
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from unimq.channel import Channel
from unimq.driver import Delivery, Session, Stats
from unimq.errors import Unsupported
from unimq.message import Letter
from unimq.pool import Pool
from unimq.sender import text

__all__ = ["Pong", "cancel", "delete", "peek", "ping", "purge", "queue_names", "size", "stats"]

R = TypeVar("R")


class Pong(msgspec.Struct, frozen=True):
    """The answer to a ping."""

    server: str
    """The server's name and version, as it tells them."""
    latency: float
    """Seconds that the round trip took, without connecting."""


def ping(pool: Pool, deadline: float) -> Pong:
    """The answer of the first host, when all have answered."""

    def timed(session: Session, deadline: float) -> Pong:
        start = time.perf_counter()
        server = session.ping(deadline)
        return Pong(server, time.perf_counter() - start)

    return pool.ask_hosts(timed, deadline)[0]


def queue_names(pool: Pool, deadline: float) -> list[str]:
    """The names of the queues that exist on any host, sorted."""
    each = pool.ask_hosts(lambda session, deadline: session.queues(deadline), deadline)
    return sorted({name for names in each for name in names})


def stats(channel: Channel[Any]) -> Stats:
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


def size(channel: Channel[Any]) -> int:
    """Ready and delayed messages."""
    counts = stats(channel)
    if counts.ready is None:
        msg = f"size: the server of {channel.where} does not tell how many messages queue {channel.shown!r} holds"
        raise Unsupported(msg)
    return counts.ready + (counts.delayed or 0)


def peek(channel: Channel[Any], limit: int) -> list[Letter[Any]]:
    """Up to `limit` ready messages, host by host; of each no more than it can show."""
    most = min(limit, channel.capabilities.limits.peek or limit)
    each = _ask("peek", channel, lambda session, deadline: session.peek(channel.name, most, deadline))
    return [_peeked(channel, raw) for deliveries in each for raw in deliveries][:limit]


def purge(channel: Channel[Any]) -> int:
    """How many were removed from all hosts."""
    return sum(_ask("purge", channel, lambda session, deadline: session.purge(channel.name, deadline)))


def cancel(channel: Channel[Any], message_id: str) -> bool:
    """Whether some host had it."""
    text(message_id, "id", 200)
    return any(_ask("cancel", channel, lambda session, deadline: session.cancel(channel.name, message_id, deadline)))


def delete(channel: Channel[Any]) -> None:
    """Remove it from all hosts."""
    _ask("delete", channel, lambda session, deadline: session.delete(channel.name, deadline))


def _ask(capability: str, channel: Channel[Any], call: Callable[[Session, float], R]) -> list[R]:
    channel.check_open()
    if not channel.capabilities[capability]:
        channel.refuse(capability)
    return channel.pool.ask_hosts(call, channel.deadline())


def _peeked(channel: Channel[Any], raw: Delivery) -> Letter[Any]:
    delivery, invalid = channel.decode(raw)
    return channel.letter(channel.owner, None, raw, delivery, invalid)


def _sum(counts: list[int | None]) -> int | None:
    """The sum, or unknown when one of them is."""
    known = [count for count in counts if count is not None]
    return sum(known) if len(known) == len(counts) else None
