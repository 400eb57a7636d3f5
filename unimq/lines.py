"""Messages as JSON lines: a message each, with all that it has, for files that outlive a backend.

A line is an object. `body` is the encoded body, a text where `encoding` is `utf-8`, else its bytes in base64; `codec`
names who encoded it. What the message has of these is there too: `id`, `headers` (texts), `priority` (0 to 9),
`enqueued_at` (when it was first put, seconds since the Unix epoch), and `delay` and `ttl`: the seconds that are left
before it is due, and before it expires.
"""

import base64
import binascii
import json
import time
from typing import Annotated, Final, Literal

import msgspec

from unimq import headers as reserved
from unimq.driver import Outgoing
from unimq.envelope import check_headers
from unimq.errors import InvalidArgument
from unimq.options import seconds
from unimq.sender import text

__all__ = ["line_of", "message_of"]

_STAMPS: Final = {reserved.ID, reserved.EXPIRES, reserved.COUNT, reserved.ENQUEUED, reserved.PRIORITY}
"""Headers that say something which a line says in other fields."""
_SOON: Final = 0.001
"""Seconds that are left at least to what has not expired yet."""


class _Line(msgspec.Struct, omit_defaults=True, forbid_unknown_fields=True):
    body: str
    encoding: Literal["utf-8", "base64"]
    codec: str | None = None
    id: str | None = None
    headers: dict[str, str] | None = None
    priority: Annotated[int, msgspec.Meta(ge=0, le=9)] | None = None
    enqueued_at: Annotated[float, msgspec.Meta(ge=0, lt=1e12)] | None = None
    delay: float | None = None
    ttl: float | None = None


_decode: Final = msgspec.json.Decoder(_Line).decode


def line_of(message: Outgoing, codec: str, *, priority: int | None) -> bytes:
    """The line of a message, its newline included; `priority` is `None` where the backend does not tell it.

    It is ASCII, without control characters, so that it arrives unchanged wherever it is shown or sent.
    """
    line = _Line(
        *_as_text(message.body),
        codec=codec,
        id=message.id,
        headers=dict(message.headers) if message.headers else None,
        priority=priority,
        enqueued_at=message.enqueued_at,
        delay=message.delay or None,
        ttl=None if message.expires_at is None else max(_SOON, round(message.expires_at - time.time(), 3)),
    )
    return json.dumps(msgspec.to_builtins(line)).replace("\x7f", "\\u007f").encode() + b"\n"


def _as_text(body: bytes) -> tuple[str, Literal["utf-8", "base64"]]:
    try:
        return body.decode(), "utf-8"
    except UnicodeDecodeError:
        return base64.b64encode(body).decode(), "base64"


def message_of(line: bytes, codec: str) -> Outgoing:
    """The message of a line, whose time is counted from now on.

    Raises:
        InvalidArgument: it is no such line, a value is out of its range, or its body is another codec's.
    """
    try:
        found = _decode(line)
        body = found.body.encode() if found.encoding == "utf-8" else base64.b64decode(found.body, validate=True)
    except (msgspec.DecodeError, UnicodeError, binascii.Error) as error:
        msg = f"this is no exported message: {error}"
        raise InvalidArgument(msg) from None
    if found.codec is not None and found.codec != codec:
        msg = f"its codec is {found.codec}, and the queue's {codec}: bodies are not translated"
        raise InvalidArgument(msg)
    delay, lifetime = seconds(found.delay or 0.0, "delay"), None if found.ttl is None else seconds(found.ttl, "ttl")
    if lifetime is not None and lifetime <= delay:
        msg = f"ttl={lifetime:g}: must be longer than the delay of {delay:g} s, or it expires undelivered"
        raise InvalidArgument(msg)
    return Outgoing(
        body,
        headers=_checked(found.headers or {}) or None,
        id=None if found.id is None else text(found.id, "id", 200),
        priority=Outgoing(b"").priority if found.priority is None else found.priority,
        delay=delay,
        expires_at=None if lifetime is None else time.time() + lifetime,
        enqueued_at=found.enqueued_at,
    )


def _checked(headers: dict[str, str]) -> dict[str, str]:
    """Headers that unimq wrote are its own to write again, but for those that have a field."""
    own = {name: value for name, value in headers.items() if not name.startswith(reserved.PREFIX)}
    check_headers(own)
    stamps = sorted(_STAMPS.intersection(headers))
    if stamps:
        msg = f"the header key {stamps[0]!r} is reserved for unimq itself, and has a field of its own"
        raise InvalidArgument(msg)
    return headers
