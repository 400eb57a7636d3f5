"""The message that takes another's place: on its own queue, or as a dead letter with its story."""

import contextlib
import time
from typing import Any, Final

import msgspec

from unimq import headers as reserved
from unimq.driver import Outgoing
from unimq.errors import TooLarge
from unimq.message import BaseMessage
from unimq.sender import Sender

__all__ = ["copy_of", "dead_letter_of"]

_SHORT_REASON: Final = 100


def copy_of(message: BaseMessage[Any], target: Sender[Any], *, verbatim: bool = False, **changes: Any) -> Outgoing:
    """The message as it was sent, for `target`; `verbatim` sends its bytes without an envelope around them."""
    delivery = message._delivery
    fields: dict[str, Any] = {
        "headers": delivery.headers,
        "id": delivery.id,
        "priority": Outgoing(b"").priority if delivery.priority is None else delivery.priority,
        "expires_at": delivery.expires_at,
        "enqueued_at": delivery.enqueued_at,
        **changes,
    }
    outgoing = Outgoing(delivery.body, lease=target.state.put_lease, **fields)
    if not verbatim:
        return target.encode(outgoing)
    if target.state.capabilities.headers.level == "native":
        return outgoing
    return msgspec.structs.replace(outgoing, headers=None)


def dead_letter_of(
    message: BaseMessage[Any], target: Sender[Any], reason: str, deliveries: int | None, details: str
) -> Outgoing:
    """The message for the dead-letter queue, with as much of its story as fits into the backend's body limit."""
    own = {k: v for k, v in message.headers.items() if not k.startswith(reserved.DEAD_PREFIX)}
    origin = {reserved.DEAD_ORIGIN: message.queue}
    if message._invalid is not None or _is_plain(message):
        origin[reserved.DEAD_VERBATIM] = "yes"
    story = {reserved.DEAD_REASON: reserved.reason_text(reason), reserved.DEAD_AT: f"{time.time():.6f}"}
    if message.enqueued_at is not None:
        story[reserved.DEAD_PUT] = f"{message.enqueued_at:.6f}"
    if deliveries is not None:
        story[reserved.DEAD_DELIVERIES] = str(deliveries)
    whole = {**story, reserved.DEAD_DETAILS: reserved.details_text(details)} if details else story
    brief = {reserved.DEAD_REASON: reserved.reason_text(reason)[:_SHORT_REASON]}
    for told in (whole, story, {**story, **brief}, {}):
        with contextlib.suppress(TooLarge):
            return copy_of(message, target, headers={**own, **origin, **told}, expires_at=None, delivery_count=0)
    return copy_of(message, target, verbatim=True, headers=None, expires_at=None)


def _is_plain(message: BaseMessage[Any]) -> bool:
    """Whether it came as nothing but its body, as a foreign program sends it; it goes back so."""
    return not message._raw.headers and message._raw.body == message._delivery.body
