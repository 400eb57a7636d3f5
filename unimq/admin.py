"""Looking after a queue: counting, peeking, removing. Each asks every host and puts the answers together."""

import time
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from unimq.driver import Delivery, Session, Stats
from unimq.endpoint import Endpoint
from unimq.errors import Unsupported
from unimq.message import BaseMessage
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


def stats(endpoint: Endpoint[Any]) -> Stats:
    """The sums over all hosts; the age is the oldest of all."""
    each = _ask("stats", endpoint, lambda session, deadline: session.stats(endpoint.name, deadline))
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


def size(endpoint: Endpoint[Any]) -> int:
    """Ready and delayed messages."""
    counts = stats(endpoint)
    if counts.ready is None:
        msg = f"size: the server of {endpoint.where} does not tell how many messages queue {endpoint.shown!r} holds"
        raise Unsupported(msg)
    return counts.ready + (counts.delayed or 0)


def peek(endpoint: Endpoint[Any], limit: int) -> list[BaseMessage[Any]]:
    """Up to `limit` ready messages, host by host; of each no more than it can show."""
    most = min(limit, endpoint.capabilities.limits.peek or limit)
    each = _ask("peek", endpoint, lambda session, deadline: session.peek(endpoint.name, most, deadline))
    return [_peeked(endpoint, raw) for deliveries in each for raw in deliveries][:limit]


def purge(endpoint: Endpoint[Any]) -> int:
    """How many were removed from all hosts."""
    return sum(_ask("purge", endpoint, lambda session, deadline: session.purge(endpoint.name, deadline)))


def cancel(endpoint: Endpoint[Any], message_id: str) -> bool:
    """Whether some host had it."""
    text(message_id, "id", 200)
    return any(_ask("cancel", endpoint, lambda session, deadline: session.cancel(endpoint.name, message_id, deadline)))


def delete(endpoint: Endpoint[Any]) -> None:
    """Remove it from all hosts."""
    _ask("delete", endpoint, lambda session, deadline: session.delete(endpoint.name, deadline))


def _ask(capability: str, endpoint: Endpoint[Any], call: Callable[[Session, float], R]) -> list[R]:
    endpoint.check_open()
    if not endpoint.capabilities[capability]:
        endpoint.refuse(capability)
    return endpoint.pool.ask_hosts(call, endpoint.deadline())


def _peeked(endpoint: Endpoint[Any], raw: Delivery) -> BaseMessage[Any]:
    delivery, invalid = endpoint.decode(raw)
    return endpoint.message_type(endpoint.owner, None, raw, delivery, invalid)


def _sum(counts: list[int | None]) -> int | None:
    """The sum, or unknown when one of them is."""
    known = [count for count in counts if count is not None]
    return sum(known) if len(known) == len(counts) else None
