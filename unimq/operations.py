"""What people who operate queues do with whole queues: move what is on them to another backend, or to a file and back.

The command line is made of it; an application may call it too. With asyncio, call it in a thread
(`asyncio.to_thread`), with queues that are made for it.
"""

import io
import math
import os
import stat
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import IO, TYPE_CHECKING, Any

from unimq.admin import peek, stats
from unimq.bounded import there_at_start
from unimq.errors import BatchError, InvalidArgument, InvalidMessage, TooLarge, UnimqError, Unsupported
from unimq.lines import line_of, message_of
from unimq.message import BaseMessage
from unimq.options import count, short
from unimq.place import place_of
from unimq.queue import Queue
from unimq.transfer import BATCH, PARTS, Moved, Part, drain, fit, for_ever, lost_on, outgoing_of, parts_of

if TYPE_CHECKING:
    from unimq.driver import Outgoing
    from unimq.endpoint import Endpoint

__all__ = ["Moved", "Part", "export_lines", "import_lines", "move"]


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
    here, there = _endpoint(source, "source"), _endpoint(target, "target")
    most = None if limit is None else count(limit, "limit", most=2**53)
    _check_places(here, there)
    for queue in (source, target):
        queue.ping()  # a server may prove to do less than is declared
    dropped = _check_parts(here, there, drop)
    if not (follow or leave_delayed):
        _check_delayed(here)
    batches = for_ever(here, most) if follow else there_at_start(here, most, _put_at, batch=BATCH)
    return drain(here, batches, lambda messages: _store(messages, there, dropped), told)


def export_lines(  # noqa: PLR0913 - each is a keyword of its own
    source: Queue[Any],
    file: IO[bytes],
    *,
    take: bool = False,
    limit: int | None = None,
    leave_delayed: bool = False,
    told: Callable[[Moved], object] = lambda _: None,
) -> Moved:
    """Write the messages that are ready as JSON lines, see `unimq.lines`; what became of them.

    By itself it only looks, and has all of them in memory. With `take` they are removed: 100 at a time are written,
    flushed, on a disk synced, and settled then. Broken off, up to 100 are in the file and on the queue.

    Args:
        source: Where they are.
        file: Open for writing bytes. Where it is a file that has something in it, a blank line comes first.
        take: Remove them.
        limit: How many at most, 1 or more; all by default.
        leave_delayed: Begin although messages are there that are not due: they cannot be seen, and stay.
        told: Called with the sum so far, as by `move`.

    Raises:
        InvalidArgument: an argument is out of its range, or needed because the backend does not count.
        Unsupported: the backend cannot show its messages, or not so many; messages are delayed; or it delivers at most
            once, and they were to be taken. Nothing was written.
        OSError, UnimqError: it was broken off.
    """
    endpoint = _endpoint(source, "source")
    most = None if limit is None else count(limit, "limit", most=2**53)
    if take:
        _check_guarantee(endpoint)
    elif not endpoint.capabilities.peek:
        endpoint.refuse("peek", "to take them, and so remove them, is another way; ")
    source.ping()
    if not leave_delayed:
        _check_delayed(endpoint)
    _begin(file)
    if take:
        batches = there_at_start(endpoint, most, _put_at, batch=BATCH)
        return drain(endpoint, batches, lambda messages: _write(messages, file), told)
    seen = peek(endpoint, most) if (most := _visible(endpoint, most)) else []
    outcomes = _write([one for one in seen if one.expires_at is None or one.expires_at > time.time()], file)
    faults = [str(error) for error in outcomes if error is not None]
    done = Moved(outcomes.count(None), len(faults), reason=faults[0] if faults else "")
    told(done)
    return done


def import_lines(
    target: Queue[Any],
    lines: Iterable[bytes],
    *,
    drop: Collection[Part] = (),
    told: Callable[[Moved], object] = lambda _: None,
) -> Moved:
    """Put the messages of JSON lines, see `unimq.lines`; blank ones are passed over. All are checked before the first.

    Args:
        target: Where they go.
        lines: As they are in the file.
        drop: The parts that messages may lose where `target` cannot keep them, `delay` among them; else as for `move`.
        told: Called with the sum so far, as by `move`.

    Raises:
        InvalidArgument, TooLarge, Unsupported: a line is no message, or none that `target` takes, and names it. Nothing
            was put.
        BatchError: some were not stored: the text names their lines, none behind them was tried.
    """
    endpoint = _endpoint(target, "target")
    target.ping()
    checked = list(_read(lines, endpoint, _known(drop, PARTS)))
    done = Moved()
    for start in range(0, len(checked), BATCH):
        batch = checked[start : start + BATCH]
        try:
            endpoint.sender.send_many([one for _, one in batch], None, endpoint.deadline())
        except BatchError as error:
            raise _not_imported(error, start, [number for number, _ in batch]) from error
        done = Moved(start + len(batch))
        told(done)
    return done


# What can be told beforehand


def _endpoint(queue: Queue[Any], name: str) -> "Endpoint[Any]":
    given: Any = queue  # what the annotation promises is checked here
    if not isinstance(given, Queue):
        msg = (
            f"{name}={short(given)}: must be a unimq.Queue; from asyncio, give one to asyncio.to_thread with this call"
        )
        raise InvalidArgument(msg)
    return queue._endpoint


def _check_places(here: "Endpoint[Any]", there: "Endpoint[Any]") -> None:
    """What can be told beforehand: that a message would be lost, unreadable, or back where it was."""
    if here.name == there.name and _place(here) == _place(there):
        msg = f"queue {here.shown!r} of {here.where} cannot be moved to itself"
        raise InvalidArgument(msg)
    if here.codec.name != there.codec.name:
        msg = f"codec={here.codec.name} and codec={there.codec.name}: bodies are not translated, give both the same"
        raise InvalidArgument(msg)
    _check_guarantee(here)
    if not there.capabilities.confirmed:
        msg = f"{there.where} accepts messages and does not confirm them: they could be lost on the way"
        raise Unsupported(msg)


def _check_guarantee(here: "Endpoint[Any]") -> None:
    if here.capabilities.guarantee == "at-most-once":
        msg = f"{here.where} delivers at most once: what is in hand would be lost with this process; add ?journal="
        raise Unsupported(msg)


def _place(endpoint: "Endpoint[Any]") -> str:
    return place_of(endpoint.pool.driver, endpoint.pool.url)


def _check_parts(here: "Endpoint[Any]", there: "Endpoint[Any]", drop: Collection[Part]) -> frozenset[Part]:
    """The parts that are dropped: those that the target cannot keep, all of which must be allowed."""
    allowed = _known(drop, [part for part in PARTS if part != "delay"])
    lost = lost_on(there) - lost_on(here) - {"delay"}
    refused = sorted(lost - allowed)
    if refused:
        msg = (
            f"{there.where} cannot keep what messages of {here.shown!r} may have: {', '.join(refused)}; "
            f"allow to drop {'it' if len(refused) == 1 else 'them'}, or choose another backend"
        )
        raise Unsupported(msg)
    return lost


def _known(drop: Collection[Part], parts: Collection[Part]) -> frozenset[Part]:
    unknown = [part for part in drop if part not in parts]
    if unknown:
        msg = f"drop={short(unknown[0])}: must be among {', '.join(parts)}"
        raise InvalidArgument(msg)
    return frozenset(drop)


def _check_delayed(here: "Endpoint[Any]") -> None:
    if not here.capabilities.stats:
        return
    delayed = stats(here).delayed
    if delayed or (delayed is None and here.capabilities.delay):
        has = "may have messages" if delayed is None else f"has {delayed}"
        msg = (
            f"queue {here.shown!r} of {here.where} {has} not due yet, which cannot be taken: "
            "leave-delayed leaves them there"
        )
        raise Unsupported(msg)


def _visible(endpoint: "Endpoint[Any]", limit: int | None) -> int:
    """How many to look at: as many as there are, which must not be more than can be seen."""
    ready = stats(endpoint).ready if endpoint.capabilities.stats else None
    if ready is None and limit is None:
        msg = f"limit=None: {endpoint.where} does not tell how many messages there are, so say how many at most"
        raise InvalidArgument(msg)
    wanted = min(math.inf if ready is None else ready, math.inf if limit is None else limit)
    seen = endpoint.capabilities.limits.peek
    if seen is not None and wanted > seen:
        msg = f"{endpoint.where} shows {seen} of its messages, and there are {wanted}: take them, or fewer by limit"
        raise Unsupported(msg)
    return int(wanted)


# How


def _put_at(message: BaseMessage[Any]) -> float:
    return message.enqueued_at or 0.0


def _store(
    messages: Sequence[BaseMessage[Any]], there: "Endpoint[Any]", dropped: frozenset[Part]
) -> list[UnimqError | None]:
    """Put copies on the target in one exchange; the outcome of each."""
    outcomes: list[UnimqError | None] = [None] * len(messages)
    fitting: dict[int, Outgoing] = {}
    for position, message in enumerate(messages):
        try:
            fitting[position] = fit(outgoing_of(message), there, dropped)
        except UnimqError as error:
            outcomes[position] = error
    if fitting:
        sent = there.sender.send([*fitting.values()], None, there.deadline())
        for position, outcome in zip(fitting, sent, strict=True):
            outcomes[position] = outcome if isinstance(outcome, UnimqError) else None
    return outcomes


def _begin(file: IO[bytes]) -> None:
    """What an export that was killed has left there may be half a line."""
    if _is_on_disk(file) and os.fstat(file.fileno()).st_size:
        file.write(b"\n")


def _is_on_disk(file: IO[bytes]) -> bool:
    try:
        return stat.S_ISREG(os.fstat(file.fileno()).st_mode)
    except io.UnsupportedOperation:  # a buffer in memory
        return False


def _write(messages: Sequence[BaseMessage[Any]], file: IO[bytes]) -> list[UnimqError | None]:
    """The outcome of each: only what cannot be read fails by itself."""
    outcomes: list[UnimqError | None] = []
    for message in messages:
        try:
            outgoing = outgoing_of(message)
        except InvalidMessage as error:
            outcomes.append(error)
            continue
        file.write(line_of(outgoing, message._endpoint.codec.name, priority=message.priority))
        outcomes.append(None)
    file.flush()
    if _is_on_disk(file):
        os.fsync(file.fileno())
    return outcomes


def _read(lines: Iterable[bytes], endpoint: "Endpoint[Any]", drop: frozenset[Part]) -> "Iterator[tuple[int, Outgoing]]":
    """The messages, each with the number of its line."""
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                message = _taken_by(endpoint, message_of(line, endpoint.codec.name), drop)
            except (InvalidArgument, TooLarge, Unsupported) as error:
                msg = f"line {number}: {error}"
                raise type(error)(msg) from None
            yield number, message


def _taken_by(endpoint: "Endpoint[Any]", message: "Outgoing", drop: frozenset[Part]) -> "Outgoing":
    lost = lost_on(endpoint)
    refused = sorted((parts_of(message) & lost) - drop)
    if refused:
        msg = f"{endpoint.where} cannot keep its {', '.join(refused)}; allow to drop that"
        raise Unsupported(msg)
    return fit(message, endpoint, lost)


def _not_imported(error: BatchError, before: int, numbers: Sequence[int]) -> BatchError:
    failed = ", ".join(str(numbers[position]) for position in error.failed)
    doubtful = sum(isinstance(one, UnimqError) and one.in_doubt for one in error.outcomes)
    doubt = f" ({doubtful} in doubt)" if doubtful else ""
    stored = before + len(numbers) - len(error.failed)
    msg = f"import: {stored} were stored; not{doubt} lines {failed} and none after {numbers[-1]}: {error.__cause__}"
    return BatchError(msg, error.outcomes)
