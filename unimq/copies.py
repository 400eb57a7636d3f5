"""The message that takes another's place: on its own queue, or as a dead letter with its story."""

import contextlib
import time
from typing import Any, Final

import msgspec

from unimq import headers as reserved
from unimq.driver import Outgoing
from unimq.errors import TooLarge
from unimq.message import Letter
from unimq.sender import Sender

__all__ = ["copy_of", "dead_letter_of"]

_SHORT_REASON: Final = 100


def copy_of(letter: Letter[Any], target: Sender[Any], *, verbatim: bool = False, **changes: Any) -> Outgoing:
    """The message as it was sent, for `target`; `verbatim` sends its bytes without an envelope around them."""
    delivery = letter._delivery
    fields: dict[str, Any] = {
        "headers": delivery.headers,
        "id": delivery.id,
        "priority": Outgoing(b"").priority if delivery.priority is None else delivery.priority,
        "expires_at": delivery.expires_at,
        "enqueued_at": delivery.enqueued_at,
        **changes,
    }
    message = Outgoing(delivery.body, lease=target.state.put_lease, **fields)
    if not verbatim:
        return target.encode(message)
    if target.state.capabilities.headers.level == "native":
        return message
    return msgspec.structs.replace(message, headers=None)


def dead_letter_of(
    letter: Letter[Any], target: Sender[Any], reason: str, deliveries: int | None, details: str
) -> Outgoing:
    """The message for the dead-letter queue, with as much of its story as fits into the backend's body limit."""
    own = {k: v for k, v in letter.headers.items() if not k.startswith(reserved.DEAD_PREFIX)}
    origin = {reserved.DEAD_ORIGIN: letter.queue}
    if letter._invalid is not None or _is_plain(letter):
        origin[reserved.DEAD_VERBATIM] = "yes"
    story = {reserved.DEAD_REASON: reserved.reason_text(reason), reserved.DEAD_AT: f"{time.time():.6f}"}
    if letter.enqueued_at is not None:
        story[reserved.DEAD_PUT] = f"{letter.enqueued_at:.6f}"
    if deliveries is not None:
        story[reserved.DEAD_DELIVERIES] = str(deliveries)
    whole = {**story, reserved.DEAD_DETAILS: reserved.details_text(details)} if details else story
    brief = {reserved.DEAD_REASON: reserved.reason_text(reason)[:_SHORT_REASON]}
    for told in (whole, story, {**story, **brief}, {}):
        with contextlib.suppress(TooLarge):
            return copy_of(letter, target, headers={**own, **origin, **told}, expires_at=None, delivery_count=0)
    return copy_of(letter, target, verbatim=True, headers=None, expires_at=None)


def _is_plain(letter: Letter[Any]) -> bool:
    """Whether it came as nothing but its body, as a foreign program sends it; it goes back so."""
    return not letter._raw.headers and letter._raw.body == letter._delivery.body
