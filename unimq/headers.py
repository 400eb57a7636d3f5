"""The names of reserved headers: what unimq itself writes beside the application's headers."""

from typing import Final

PREFIX: Final = "unimq-"
"""Headers that begin so are the library's; an application can read them and cannot set them."""

REPLY_TO: Final = "unimq-reply-to"
"""The queue that a reply is wanted on."""
CORRELATION_ID: Final = "unimq-correlation-id"
"""Which request a reply belongs to."""

ERROR: Final = "unimq-error"
"""In place of a reply: why there is none, in words; the body is empty."""

DEAD_PREFIX: Final = "unimq-dead-"
"""What a dead letter's story begins with; redrive takes it off."""
DEAD_REASON: Final = "unimq-dead-reason"
"""Why it was given up, in words."""
DEAD_DETAILS: Final = "unimq-dead-details"
"""More about it, in lines, such as a traceback: the end of it."""
DEAD_PUT: Final = "unimq-dead-put"
"""When it was put, before its first delivery, where that is known: Unix epoch, seconds with milliseconds."""
DEAD_AT: Final = "unimq-dead-at"
"""When it was given up: Unix epoch, seconds with microseconds."""
DEAD_ORIGIN: Final = "unimq-dead-origin"
"""The queue it comes from; redrive puts it back there."""
DEAD_DELIVERIES: Final = "unimq-dead-deliveries"
"""How often it had been delivered, where that is known."""
DEAD_VERBATIM: Final = "unimq-dead-verbatim"
"""It came plain, or its envelope could not be read: the body is the message as it came, and redrive sends it so."""

ID: Final = "unimq-id"
EXPIRES: Final = "unimq-expires"
COUNT: Final = "unimq-count"
ENQUEUED: Final = "unimq-enqueued"
PRIORITY: Final = "unimq-priority"

_REASON_CHARACTERS: Final = 1000
_DETAILS_CHARACTERS: Final = 2000
"""Any of them fits into a header line of 10 KiB, which is what ActiveMQ takes."""


def reason_text(reason: str) -> str:
    """What `DEAD_REASON` has of an error's text, which may have any length, lines, and names that are no text."""
    text = _printable(" ".join(reason[: 2 * _REASON_CHARACTERS].split()))
    return text if len(text) <= _REASON_CHARACTERS else f"{text[: _REASON_CHARACTERS - 3]}..."


def details_text(details: str) -> str:
    """What `DEAD_DETAILS` has of a text of any length: its end, where a traceback has the cause."""
    text = "\n".join(_printable(line) for line in details[-_DETAILS_CHARACTERS:].splitlines())
    return text if len(details) <= _DETAILS_CHARACTERS else f"...{text[3:]}"


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else "\ufffd" for c in text)
