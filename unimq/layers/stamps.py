"""Stamps: what a protocol does not bring back on delivery travels as reserved headers.

`unimq-id`, `unimq-expires`, `unimq-enqueued` (Unix epoch, seconds with milliseconds), `unimq-count` (deliveries that
already count) and `unimq-priority` (when it is not the default). A message without any of them gets no header, so
that it can still travel plain; one that gets headers anyway also gets an id and its
time where the protocol keeps none.
"""

import os
import time
from dataclasses import dataclass
from typing import Any, Self

import msgspec

from unimq.capabilities import Capabilities
from unimq.driver import Delivery, Outgoing
from unimq.errors import InvalidMessage
from unimq.headers import COUNT, DEAD_ORIGIN, ENQUEUED, EXPIRES, ID, PRIORITY

__all__ = ["Stamps"]

DEFAULT_PRIORITY = 4


@dataclass(frozen=True, slots=True)
class Stamps:
    """The reserved headers one backend needs."""

    id: bool
    ttl: bool
    count: bool
    enqueued: bool
    priority: bool
    names_all: bool = False
    """Whether every message gets an id, because every message gets headers anyway."""

    @classmethod
    def for_backend(cls, capabilities: Capabilities, *, names_all: bool = False) -> Self | None:
        """The stamps needed, or `None` when the backend keeps everything itself."""
        stamps = cls(
            id="id" not in capabilities.keeps,
            ttl=capabilities.ttl.level == "layered",
            count=capabilities.delivery_count.level == "layered" and capabilities.counts is not None,
            enqueued="enqueued_at" not in capabilities.keeps,
            priority="priority" not in capabilities.keeps and bool(capabilities.priority),
            names_all=names_all,
        )
        needed = stamps.id or stamps.ttl or stamps.count or stamps.enqueued or stamps.priority
        return stamps if needed else None

    @property
    def sends_plain(self) -> bool:
        """Whether only what needs a stamp is stamped."""
        return not self.names_all

    @property
    def completes(self) -> bool:
        """Whether the absence of a stamp means something."""
        return self.count or self.priority

    def encode(self, message: Outgoing) -> Outgoing:
        """Move what the backend does not keep into headers."""
        stamped = self._stamps(message)
        if not (stamped or message.headers or self.names_all):
            return message
        changes: dict[str, Any] = {}
        if self.id:
            stamped[ID] = changes["id"] = message.id or message.unique or os.urandom(16).hex()
        if self.enqueued:
            if (at := message.enqueued_at or _put_now(message)) is not None:
                stamped[ENQUEUED] = f"{at:.3f}"
            changes["enqueued_at"] = None
        if self.ttl:
            changes["expires_at"] = None
        if self.count:
            changes["delivery_count"] = 0
        return msgspec.structs.replace(message, headers={**(message.headers or {}), **stamped}, **changes)

    def _stamps(self, message: Outgoing) -> dict[str, str]:
        """What makes headers necessary."""
        stamped: dict[str, str] = {}
        if self.id and message.id is not None:
            stamped[ID] = message.id
        if self.ttl and message.expires_at is not None:
            stamped[EXPIRES] = f"{message.expires_at:.3f}"
        if self.count and message.delivery_count:
            stamped[COUNT] = str(message.delivery_count)
        if self.enqueued and message.enqueued_at is not None:
            stamped[ENQUEUED] = f"{message.enqueued_at:.3f}"
        if self.priority and message.priority != DEFAULT_PRIORITY:
            stamped[PRIORITY] = str(message.priority)
        return stamped

    def decode(self, delivery: Delivery) -> Delivery:
        """Bring the stamps back to their places. A count that is layered starts at 1 for a message without a stamp."""
        if not delivery.headers:
            return self.plain(delivery)
        headers = dict(delivery.headers)
        changes: dict[str, Any] = {}
        if self.id and (own := headers.pop(ID, None)) is not None:
            changes["id"] = own
        if self.ttl and (expires := _number(headers, EXPIRES)) is not None:
            changes["expires_at"] = expires
        if self.count:
            changes["delivery_count"] = int(_number(headers, COUNT) or 0) + 1
        if self.enqueued and (enqueued := _number(headers, ENQUEUED)) is not None:
            changes["enqueued_at"] = enqueued
        if self.priority:
            priority = _number(headers, PRIORITY, below=10)
            changes["priority"] = DEFAULT_PRIORITY if priority is None else int(priority)
        if not changes:
            return delivery
        return msgspec.structs.replace(delivery, headers=headers or None, **changes)

    def plain(self, delivery: Delivery) -> Delivery:
        """It is the first delivery, of the usual priority."""
        if not self.completes:
            return delivery
        count = 1 if self.count else delivery.delivery_count
        priority = DEFAULT_PRIORITY if self.priority else delivery.priority
        return msgspec.structs.replace(delivery, delivery_count=count, priority=priority)


def _put_now(message: Outgoing) -> float | None:
    """The time, if this is its first put: when a copy of unknown age was put first stays unknown."""
    is_copy = message.delivery_count > 0 or (message.headers is not None and DEAD_ORIGIN in message.headers)
    return None if is_copy else time.time()


def _number(headers: dict[str, str], name: str, *, below: float = 1e12) -> float | None:
    """Take the number out of a reserved header; a text that is none is a forged or damaged message.

    The default limit is the year 33658, and a count beyond reason.
    """
    text = headers.pop(name, None)
    if text is None:
        return None
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < below:  # NaN fails too
        msg = f"header {name}={text[:40]!r} is not a number from 0 to below {below:g}: the message is damaged"
        raise InvalidMessage(msg)
    return value
