"""What people who operate queues do with whole queues: move what is on them to another backend.

The command line is made of it; an application may call it too. With asyncio, call it in a thread
(`asyncio.to_thread`), with queues that are made for it.
"""

from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Any

from unimq.admin import stats
from unimq.bounded import there_at_start
from unimq.errors import InvalidArgument, UnimqError, Unsupported
from unimq.message import Letter
from unimq.options import count, short
from unimq.place import place_of
from unimq.queue import Queue
from unimq.transfer import BATCH, PARTS, Moved, Part, drain, fit, for_ever, lost_on, outgoing_of

if TYPE_CHECKING:
    from unimq.channel import Channel
    from unimq.driver import Outgoing

__all__ = ["Moved", "Part", "move"]


def move(  # noqa: PLR0913 - each is a keyword of its own
    source: Queue[Any],
    target: Queue[Any],
    *,
    limit: int | None = None,
    follow: bool = False,
    leave_delayed: bool = False,
    drop: Collection[Part] = (),
    told: Callable[[Moved], object] = lambda _: None,
) -> Moved:
    """Move the messages that are ready on `source` to `target`; what became of them.

    Each is stored there before it is settled here, 100 in an exchange, with its body byte for byte, its id, headers,
    priority, expiry and the time of its first put; deliveries count from the beginning. Whatever breaks it off loses
    nothing: the next move goes on. Up to 100 messages may then be on both sides, each with the same id.

    Args:
        source: Where they come from. What it holds when this begins is moved, what comes later stays.
        target: Where they go.
        limit: How many at most, 1 or more; all by default.
        follow: Go on with what comes later, until `source.interrupt()` or an exception.
        leave_delayed: Begin although messages are there that are not due: they cannot be taken, and stay.
        drop: The parts that messages may lose where `target` cannot keep them: `headers`, `priority`, `ttl`, `id`,
            `enqueued_at`.
        told: Called with the sum so far after each batch, and at the end, also when that is an exception.

    Raises:
        InvalidArgument: an argument is out of its range, both are the same queue, or their codecs differ.
        Unsupported: `target` cannot keep what messages of `source` may have; messages are delayed; or messages could
            be lost on the way, because `source` delivers at most once or `target` only accepts them. Nothing was moved.
        UnimqError: it was broken off; what was in hand went back.
    """
    here, there = source._channel, target._channel
    most = None if limit is None else count(limit, "limit", most=2**53)
    _check_places(here, there)
    for queue in (source, target):
        queue.ping()  # a server may prove to do less than is declared
    dropped = _check_parts(here, there, drop)
    if not (follow or leave_delayed):
        _check_delayed(here)
    batches = for_ever(here, most) if follow else there_at_start(here, most, _put_at, batch=BATCH)
    return drain(here, batches, lambda letters: _store(letters, there, dropped), told)


def _check_places(here: "Channel[Any]", there: "Channel[Any]") -> None:
    """What can be told beforehand: that a message would be lost, unreadable, or back where it was."""
    if here.name == there.name and _place(here) == _place(there):
        msg = f"queue {here.shown!r} of {here.where} cannot be moved to itself"
        raise InvalidArgument(msg)
    if here.codec.name != there.codec.name:
        msg = f"codec={here.codec.name} and codec={there.codec.name}: bodies are not translated, give both the same"
        raise InvalidArgument(msg)
    if here.capabilities.guarantee == "at-most-once":
        msg = f"{here.where} delivers at most once: what is in hand would be lost with this process; add ?journal="
        raise Unsupported(msg)
    if not there.capabilities.confirmed:
        msg = f"{there.where} accepts messages and does not confirm them: they could be lost on the way"
        raise Unsupported(msg)


def _place(channel: "Channel[Any]") -> str:
    return place_of(channel.client.driver, channel.client.url)


def _check_parts(here: "Channel[Any]", there: "Channel[Any]", drop: Collection[Part]) -> frozenset[Part]:
    """The parts that are dropped: those that the target cannot keep, all of which must be allowed."""
    unknown = [part for part in drop if part not in PARTS or part == "delay"]
    if unknown:
        msg = f"drop={short(unknown[0])}: must be among {', '.join(part for part in PARTS if part != 'delay')}"
        raise InvalidArgument(msg)
    lost = lost_on(there) - lost_on(here) - {"delay"}
    refused = sorted(lost - set(drop))
    if refused:
        msg = (
            f"{there.where} cannot keep what messages of {here.shown!r} may have: {', '.join(refused)}; "
            f"allow to drop {'it' if len(refused) == 1 else 'them'}, or choose another backend"
        )
        raise Unsupported(msg)
    return lost


def _check_delayed(here: "Channel[Any]") -> None:
    if here.capabilities.stats and (delayed := stats(here).delayed):
        msg = (
            f"queue {here.shown!r} of {here.where} has {delayed} not due yet, which cannot be taken: "
            "leave-delayed leaves them, follow waits for them"
        )
        raise Unsupported(msg)


def _put_at(letter: Letter[Any]) -> float:
    return letter.enqueued_at or 0.0


def _store(letters: Sequence[Letter[Any]], there: "Channel[Any]", dropped: frozenset[Part]) -> list[UnimqError | None]:
    """Put copies on the target in one exchange; the outcome of each."""
    outcomes: list[UnimqError | None] = [None] * len(letters)
    fitting: dict[int, Outgoing] = {}
    for position, letter in enumerate(letters):
        try:
            fitting[position] = fit(outgoing_of(letter), there, dropped)
        except UnimqError as error:
            outcomes[position] = error
    if fitting:
        sent = there.sender.send([*fitting.values()], None, there.deadline())
        for position, outcome in zip(fitting, sent, strict=True):
            outcomes[position] = outcome if isinstance(outcome, UnimqError) else None
    return outcomes
