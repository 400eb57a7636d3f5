"""A message as STOMP headers, and a STOMP message as a delivery.

An application's header that STOMP or ActiveMQ would understand (`destination`, `expires`, `AMQ_SCHEDULED_DELAY`,
`JMSXGroupID`) travels under a prefix, so that it arrives and does nothing. What a foreign program sets in those places
(`correlation-id`, `type`, `reply-to`, `content-type`) is delivered as a header.
"""

import math
import os
import re
import time
from collections.abc import Mapping
from typing import Final

from unimq.driver import Delivery, Outgoing
from unimq.headers import COUNT, ENQUEUED, ID, PREFIX
from unimq_activemq.frames import Frame

__all__ = ["counted", "delivery_of", "destination", "expiry", "headers_of"]

_QUEUE: Final = "/queue/"
_PRIORITY: Final = 4
"""The default of Jakarta Messaging."""
_QUOTED: Final = f"{PREFIX}h."
"""In front of an application's header with a name that has a meaning here."""
_UNTIL: Final = f"{PREFIX}until"
"""When a delayed message expires. The broker restarts its own clock for that when the delay is over."""

_OURS_TO_TELL: Final = frozenset(
    (
        *("destination", "message-id", "subscription", "ack", "expires", "priority", "timestamp", "persistent"),
        *("redelivered", "content-length", "receipt", "transaction", "id", "scheduledJobId"),
    )
)
"""Headers of a MESSAGE that a delivery has a place for, or that mean nothing to an application."""
_MEANT: Final = re.compile(
    r"(?:destination|message-id|subscription|ack|id|expires|priority|timestamp|persistent|redelivered|content-length"
    r"|content-type|receipt|receipt-id|transaction|correlation-id|reply-to|type|transformation.*|browser|selector"
    r"|amq-.*|AMQ.*|activemq.*|JMS.*|scheduledJobId|original.*|breadcrumbId|unimq-h\..*|unimq-until)\Z",
    re.IGNORECASE | re.DOTALL,
)


def destination(queue: str) -> str:
    """How STOMP names a queue."""
    return _QUEUE + queue


def headers_of(queue: str, message: Outgoing, *, persistent: bool) -> tuple[dict[str, str], str]:
    """The headers of a SEND, and the id that the message has from now on: a broker's own is not told to who sends."""
    name = message.id or os.urandom(16).hex()
    headers = {"destination": _QUEUE + queue, ID: name}
    if persistent:
        headers["persistent"] = "true"
    if message.priority != _PRIORITY:
        headers["priority"] = str(message.priority)
    delay_ms = math.ceil(message.delay * 1000)
    if delay_ms:  # 0 would take the way through the scheduler as well, which costs half a second
        headers["AMQ_SCHEDULED_DELAY"] = str(delay_ms)
    if message.expires_at is not None:
        until_ms = math.ceil(message.expires_at * 1000)
        headers["expires"] = str(until_ms - delay_ms)
        if delay_ms:
            headers[_UNTIL] = str(until_ms)
    for key, value in (message.headers or {}).items():
        headers[_QUOTED + key if _MEANT.match(key) else key] = value
    return headers, name


def delivery_of(queue: str, frame: Frame, token: object) -> Delivery:
    """What arrived. The count is not here: STOMP tells none."""
    told = frame.headers
    headers = {
        key.removeprefix(_QUOTED): value
        for key, value in told.items()
        if key not in _OURS_TO_TELL and key not in (ID, _UNTIL)
    }
    return Delivery(
        queue,
        frame.body,
        token,
        headers=headers or None,
        id=told.get(ID) or told.get("message-id"),
        priority=_number(told, "priority", _PRIORITY),
        # Set for what was delivered before, and also for what was on its way to a subscription that ended.
        redelivered=None if "redelivered" in told else False,
        enqueued_at=_number(told, "timestamp", 0) / 1000 or None,
        expires_at=expiry(told),
        native=frame,
    )


def counted(delivery: Delivery) -> Outgoing:
    """The copy that takes its place, with one delivery more on its count, and its age."""
    headers = dict(delivery.headers or {})
    headers[COUNT] = str(_number(headers, COUNT, 0) + 1)
    if delivery.enqueued_at is not None:
        headers.setdefault(ENQUEUED, f"{delivery.enqueued_at:.3f}")
    priority = _PRIORITY if delivery.priority is None else delivery.priority
    return Outgoing(delivery.body, headers, delivery.id, priority=priority, expires_at=delivery.expires_at)


def expiry(told: Mapping[str, str]) -> float | None:
    """When a message expires, in seconds since the epoch."""
    return _number(told, _UNTIL, 0) / 1000 or _number(told, "expires", 0) / 1000 or None


def is_expired(frame: Frame) -> bool:
    """Whether its time is over."""
    until = expiry(frame.headers)
    return until is not None and until <= time.time()


def _number(headers: Mapping[str, str], name: str, otherwise: int) -> int:
    text = headers.get(name, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else otherwise  # noqa: PLR2004 - a long
