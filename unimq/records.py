"""What the records of `logging` carry beside their text: the same names everywhere, for those who search for them."""

from typing import Literal, Protocol

from unimq.masking import shown_name

__all__ = ["Event", "about"]

Event = Literal[
    "away",
    "back",
    "died",
    "done before",
    "failed when settled",
    "given back",
    "lost",
    "rejected",
    "retried",
    "unanswered",
    "unsettled",
]
"""What has happened; `docs/observability.md` explains each."""


class _Identified(Protocol):
    """What identifies a message."""

    @property
    def queue(self) -> str: ...
    @property
    def id(self) -> str | None: ...
    @property
    def delivery_count(self) -> int | None: ...


def about(event: Event, message: _Identified | None = None, **more: object) -> dict[str, object]:
    """The `extra=` of a record: the event, what identifies the message, and more; each name begins with `unimq_`."""
    told = {"event": event, **more}
    if message is not None:
        told["queue"] = shown_name(message.queue)
        told["id"] = message.id
        told["delivery_count"] = message.delivery_count
    return {f"unimq_{name}": value for name, value in told.items()}
