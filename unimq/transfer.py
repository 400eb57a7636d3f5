"""Carrying messages elsewhere: what a target can keep of them, and how they leave their source without loss.

Each is stored first and settled then, so that a crash in between leaves it on both sides, with the same id.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

import msgspec

from unimq.driver import Outgoing
from unimq.envelope import check_headers
from unimq.errors import (
    Empty,
    InvalidArgument,
    InvalidMessage,
    LeaseLost,
    TooLarge,
    UnimqError,
    Unsupported,
)
from unimq.headers import PREFIX
from unimq.message import BaseMessage

if TYPE_CHECKING:
    from unimq.endpoint import Endpoint

__all__ = ["BATCH", "PARTS", "Moved", "Part", "Store", "drain", "fit", "for_ever", "lost_on", "outgoing_of", "parts_of"]

Part = Literal["headers", "priority", "ttl", "delay", "id", "enqueued_at"]
"""What a message may have beside its body."""
PARTS: Final[tuple[Part, ...]] = get_args(Part)

BATCH: Final = 100
"""Messages that are in hand at the same time."""

_PLAIN: Final = Outgoing(b"")
_FIELDS: Final[dict[Part, str]] = {
    "headers": "headers",
    "priority": "priority",
    "ttl": "expires_at",
    "delay": "delay",
    "id": "id",
    "enqueued_at": "enqueued_at",
}
_ITS_OWN_FAULT: Final = (InvalidArgument, InvalidMessage, TooLarge, Unsupported)
"""Why one message cannot be stored, while others can."""


class Moved(msgspec.Struct, frozen=True):
    """What became of messages that were to go elsewhere."""

    moved: int = 0
    """Stored there, and gone here, but for an export that only looks."""
    failed: int = 0
    """Still here, because they cannot be stored there: too large, say."""
    doubtful: int = 0
    """Still here or coming back, and perhaps stored there as well: duplicates, if they are moved again."""
    reason: str = ""
    """Why the first of the failed ones is one."""


Store = Callable[[Sequence[BaseMessage[Any]]], Sequence[UnimqError | None]]
"""Stores messages elsewhere; the outcome of each. What it raises ends the transfer: nothing is certain then."""


# What can be kept


def lost_on(endpoint: "Endpoint[Any]") -> frozenset[Part]:
    """What a message on this queue cannot have."""
    can = endpoint.capabilities
    framed = can.headers.level != "native"
    carries = bool(can.headers) and not (framed and endpoint.settings.envelope == "never")
    kept = {
        "headers": carries,
        "priority": bool(can.priority) and (carries or "priority" in can.keeps),
        "ttl": bool(can.ttl) and (carries or can.ttl.level == "native"),
        "delay": bool(can.delay),
        "id": carries or "id" in can.keeps,
        "enqueued_at": carries or "enqueued_at" in can.keeps,
    }
    return frozenset(part for part in PARTS if not kept[part])


def parts_of(message: Outgoing) -> frozenset[Part]:
    """What this message has beside its body."""
    return frozenset(part for part, name in _FIELDS.items() if getattr(message, name) != getattr(_PLAIN, name))


def outgoing_of(message: BaseMessage[Any]) -> Outgoing:
    """The message as it was put, its expiry and its age included; deliveries count from the beginning.

    Raises:
        InvalidMessage: its envelope cannot be read.
    """
    if message._invalid is not None:
        raise message._invalid
    return Outgoing(
        message.raw,
        headers=dict(message.headers) or None,
        id=message.id,
        priority=_PLAIN.priority if message.priority is None else message.priority,
        expires_at=message.expires_at,
        enqueued_at=message.enqueued_at,
    )


def fit(message: Outgoing, target: "Endpoint[Any]", dropped: Collection[Part]) -> Outgoing:
    """What to send to `target`, without the parts that are dropped there.

    Raises:
        InvalidArgument, TooLarge, Unsupported: it is over a limit of the target.
    """
    can = target.capabilities
    changes = {_FIELDS[part]: getattr(_PLAIN, _FIELDS[part]) for part in dropped}
    message = msgspec.structs.replace(message, lease=target.put_lease, **changes)
    own = {k: v for k, v in (message.headers or {}).items() if not k.startswith(PREFIX)}
    check_headers(own, can.limits.headers, can.limits.header_count)
    if can.limits.delay is not None and message.delay > can.limits.delay:
        msg = f"delay={message.delay:g}: {target.where} can delay by at most {can.limits.delay:g} s"
        raise InvalidArgument(msg)
    return target.sender.encode(message)


# How they leave


def for_ever(endpoint: "Endpoint[Any]", limit: int | None) -> "Iterator[list[BaseMessage[Any]]]":
    """What comes, until an interrupt or the limit."""
    left = limit
    while left is None or left > 0:
        try:
            messages = endpoint.receiver.get_many(BATCH if left is None else min(BATCH, left), None)
        except Empty:
            return
        left = None if left is None else left - len(messages)
        yield messages


def drain(
    source: "Endpoint[Any]",
    batches: "Iterator[list[BaseMessage[Any]]]",
    store: Store,
    told: Callable[[Moved], object] = lambda _: None,
) -> Moved:
    """Store what is taken of `source` elsewhere, and settle it then; `told` hears the sum so far after each batch.

    What cannot be stored through its own fault is held until the end and given back, and keeps none of the others. Any
    other failure ends it, and so does an exception (Ctrl-C); everything in hand goes back, and `told` hears the sum.
    """
    way = _Way(source, store)
    try:
        for messages in batches:
            way.carry(messages)
            told(way.sum)
    finally:
        source.settler.give_back(way.held)
        told(way.sum)
    return way.sum


class _Way:
    """From one queue to elsewhere."""

    def __init__(self, source: "Endpoint[Any]", store: Store) -> None:
        self._source = source
        self._store = store
        self.sum = Moved()
        self.held: list[BaseMessage[Any]] = []
        """What goes back at the end."""

    def carry(self, messages: list[BaseMessage[Any]]) -> None:
        """One batch."""
        self.held += messages
        self._add(doubtful=len(messages))  # until it is known
        try:
            outcomes = self._store(messages)
        except UnimqError as error:
            self._add(doubtful=0 if error.in_doubt else -len(messages))
            raise
        certain = [error for error in outcomes if error is not None and not error.in_doubt]
        faulty = [error for error in certain if isinstance(error, _ITS_OWN_FAULT)]
        self._add(doubtful=-len(certain), failed=len(faulty))
        if faulty and not self.sum.reason:
            self.sum = msgspec.structs.replace(self.sum, reason=str(faulty[0]))
        stored = [message for message, error in zip(messages, outcomes, strict=True) if error is None]
        settled = self._source.settler.ack_many(stored)
        gone = settled.count(None)
        self._add(doubtful=-gone, moved=gone)
        for outcome in (*outcomes, *settled):
            if outcome is not None and not isinstance(outcome, (*_ITS_OWN_FAULT, LeaseLost)):
                raise outcome
        failed = [message for message, error in zip(messages, outcomes, strict=True) if error is not None]
        self.held = self.held[: -len(messages)] + failed
        for message in failed if self._source.capabilities.extend else ():
            message.keep()

    def _add(self, **more: int) -> None:
        changed: dict[str, Any] = {name: getattr(self.sum, name) + number for name, number in more.items()}
        self.sum = msgspec.structs.replace(self.sum, **changed)
