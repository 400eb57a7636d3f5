"""The frame that carries metadata in front of a body, for backends whose protocol has no headers.

Pure functions: bytes and values in, bytes and values out. A message without metadata travels as its plain body, so
that any foreign program can read it. `docs/wire-format.md` describes every byte, `tests/vectors/envelope.json` holds
this code to it. Which metadata a message needs is the layers' to decide; bodies are `unimq.codec`'s.
"""

import struct
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal
from zlib import crc32

import msgspec

from unimq.errors import InvalidArgument, InvalidMessage, Unsupported

__all__ = ["MAGIC", "OVERHEAD", "VERSION", "EnvelopeMode", "Metadata", "check_headers", "frame_size", "pack", "unpack"]

EnvelopeMode = Literal["auto", "always", "never"]

MAGIC: Final = b"\xc1UMQ"
"""How a frame begins. 0xC1 begins no UTF-8 text and is the one byte that MessagePack never uses."""
VERSION: Final = 1

# The magic and the checksum stand where they are in every version, and the checksum covers all that follows it, so
# that a reader can tell a newer frame from a plain body.
_FIXED: Final = struct.Struct(">4sIBI")
_CHECKED_FROM: Final = 8
_COVERED: Final = struct.Struct(">BI")
OVERHEAD: Final = _FIXED.size
"""Bytes that a frame adds to its header and body."""

_LATEST_MS: Final = 2**53
"""Largest point in time in milliseconds: beyond it a float loses them."""
_PRIORITIES: Final = range(10)


class Metadata(msgspec.Struct, frozen=True):
    """What a frame says about its body. Points in time are seconds since the epoch, kept to the millisecond."""

    headers: dict[str, str] | None = None
    id: str | None = None
    delivery_count: int = 0
    """Deliveries that already count (nacks)."""
    expires_at: float | None = None
    enqueued_at: float | None = None
    priority: int | None = None
    """0 to 9; only when it is not the default and the protocol does not give it back."""

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to say, so that the body may travel plain."""
        return self == _NOTHING or (not self.headers and not _present(self))


_NOTHING: Final = Metadata()

_Count = Annotated[int, msgspec.Meta(ge=0)]
_Milliseconds = Annotated[int, msgspec.Meta(ge=0, le=_LATEST_MS)]


class _Header(msgspec.Struct, omit_defaults=True, rename={
    "headers": "h", "id": "i", "delivery_count": "n", "expires_ms": "e", "enqueued_ms": "t", "priority": "p",
}):  # fmt: skip
    """The MessagePack map on the wire. Keys that a later version adds are skipped by msgspec."""

    headers: dict[str, str] | None = None
    id: str | None = None
    delivery_count: _Count = 0
    expires_ms: _Milliseconds | None = None
    enqueued_ms: _Milliseconds | None = None
    priority: Annotated[int, msgspec.Meta(ge=0, le=9)] | None = None


_encode_header: Final = msgspec.msgpack.Encoder().encode
_decode_header: Final = msgspec.msgpack.Decoder(_Header).decode


def pack(body: bytes, metadata: Metadata, *, mode: EnvelopeMode = "auto") -> bytes:
    """What to send for this body and metadata.

    "auto" frames only where there is metadata, or where the plain body begins like a frame; "always" frames
    everything; "never" frames nothing.

    Raises:
        Unsupported: `mode` is "never" and there is metadata.
        InvalidArgument: a value of the metadata is out of its range, or not encodable.
    """
    if mode != "always" and metadata.is_empty and (mode == "never" or not body.startswith(MAGIC)):
        return body
    if mode == "never":
        needed = ", ".join(_present(metadata))
        msg = f"envelope=never: {needed} cannot travel without the envelope on this backend; use envelope=auto"
        raise Unsupported(msg)
    header = _header_bytes(metadata)
    covered = _COVERED.pack(VERSION, len(header)) + header + body
    return b"%b%b%b" % (MAGIC, crc32(covered).to_bytes(4), covered)


def unpack(raw: bytes, *, mode: EnvelopeMode = "auto") -> tuple[bytes, Metadata]:
    """The body and metadata of what arrived. Whatever is no whole frame is a plain body; so is all in mode "never".

    Raises:
        InvalidMessage: it is a frame of a newer version, or a whole frame with a header that makes no sense.
    """
    if not raw.startswith(MAGIC) or mode == "never" or len(raw) < OVERHEAD:
        return raw, _NOTHING
    _, checksum, version, header_length = _FIXED.unpack_from(raw)
    if version == 0 or crc32(memoryview(raw)[_CHECKED_FROM:]) != checksum:
        return raw, _NOTHING
    if version > VERSION:
        msg = f"the message has an envelope of version {version}, this unimq reads up to {VERSION}: upgrade unimq"
        raise InvalidMessage(msg)
    start = OVERHEAD + header_length
    if start > len(raw):
        return raw, _NOTHING
    return raw[start:], _metadata(raw[OVERHEAD:start])


def frame_size(body_length: int, metadata: Metadata) -> int:
    """Bytes of the frame around a body of that many bytes, to be checked against a backend's limit before sending.

    Raises:
        InvalidArgument: as `pack` does.
    """
    return OVERHEAD + len(_header_bytes(metadata)) + body_length


def _present(metadata: Metadata) -> list[str]:
    """What needs the envelope, in the words of the options that lead to it."""
    reasons = (
        ("headers", bool(metadata.headers)),
        ("an id", metadata.id is not None),
        ("a delivery count", metadata.delivery_count != 0),
        ("ttl", metadata.expires_at is not None),
        ("the time of the put", metadata.enqueued_at is not None),
        ("priority", metadata.priority is not None),
    )
    return [reason for reason, present in reasons if present]


def _header_bytes(metadata: Metadata) -> bytes:
    if metadata.delivery_count < 0:
        msg = f"delivery_count={metadata.delivery_count}: must be 0 or more"
        raise InvalidArgument(msg)
    if metadata.priority is not None and metadata.priority not in _PRIORITIES:
        msg = f"priority={metadata.priority}: must be 0 to 9"
        raise InvalidArgument(msg)
    header = _Header(
        metadata.headers or None,
        metadata.id,
        metadata.delivery_count,
        _milliseconds("expires_at", metadata.expires_at),
        _milliseconds("enqueued_at", metadata.enqueued_at),
        metadata.priority,
    )
    try:
        return _encode_header(header)
    except (TypeError, ValueError, OverflowError) as error:
        msg = f"the id or a header cannot be encoded: {error}"
        raise InvalidArgument(msg) from error


def _milliseconds(name: str, seconds: float | None) -> int | None:
    if seconds is None:
        return None
    if not 0 <= seconds <= _LATEST_MS / 1000:  # NaN fails as well
        msg = f"{name}={seconds!r}: must be seconds since the epoch, 0 to {_LATEST_MS // 1000}"
        raise InvalidArgument(msg)
    return round(seconds * 1000)  # not cut off: a time that was read and written again must not creep


def _metadata(raw: bytes) -> Metadata:
    try:
        header = _decode_header(raw)
    except (ValueError, RecursionError) as error:
        msg = f"the message has a damaged envelope header ({len(raw)} bytes): {error}"
        raise InvalidMessage(msg) from error
    return Metadata(
        header.headers or None,
        header.id,
        header.delivery_count,
        _seconds(header.expires_ms),
        _seconds(header.enqueued_ms),
        header.priority,
    )


def _seconds(milliseconds: int | None) -> float | None:
    return None if milliseconds is None else milliseconds / 1000


# --- the headers of users --------------------------------------------------------------------------------------------

_RESERVED: Final = "unimq-"
_KEY_LENGTH: Final = 200
_ENTRIES: Final = 1000
_TOTAL_BYTES: Final = 64 * 1024


def check_headers(headers: Mapping[str, str], limit: int | None = None) -> dict[str, str]:
    """A copy of the user's headers, if every backend can carry them unchanged.

    Keys are 1 to 200 characters and do not begin with `unimq-` (in any case), values may be empty; both are any Unicode
    but NUL and lone surrogates; at most 1000 entries. An empty key is refused, because header protocols cannot write
    it. `limit` is the largest sum of keys and values in UTF-8 bytes; `None` means 64 KiB.

    Raises:
        InvalidArgument: one of these does not hold; the text names the key, the value and the range.
    """
    entries: Any = headers  # what the annotation promises is checked here
    if not isinstance(entries, Mapping):
        msg = f"headers={_short(entries)}: must be a mapping of str to str"
        raise InvalidArgument(msg)
    if len(headers) > _ENTRIES:
        msg = f"headers: {len(headers)} entries, at most {_ENTRIES} are allowed"
        raise InvalidArgument(msg)
    total = 0
    for key, value in headers.items():
        _check_key(key)
        total += _bytes_of(f"the header key {_short(key)}", key)
        total += _bytes_of(f"the value of header {_short(key)}", value)
    most = _TOTAL_BYTES if limit is None else limit
    if total > most:
        msg = f"headers: {total} bytes of keys and values, at most {most} are allowed; put large values into the body"
        raise InvalidArgument(msg)
    return dict(headers)


def _check_key(key: Any) -> None:
    if not isinstance(key, str) or not 0 < len(key) <= _KEY_LENGTH:
        msg = f"the header key {_short(key)} must be a str of 1 to {_KEY_LENGTH} characters"
        raise InvalidArgument(msg)
    if key[: len(_RESERVED)].lower() == _RESERVED:
        msg = f"the header key {_short(key)} begins with {_RESERVED!r}, which is reserved for unimq itself"
        raise InvalidArgument(msg)


def _bytes_of(what: str, text: Any) -> int:
    if not isinstance(text, str):
        msg = f"{what} is {_short(text)}: must be a str"
        raise InvalidArgument(msg)
    if "\0" in text:
        msg = f"{what} is {_short(text)}: must not hold NUL, which ends a text in several protocols"
        raise InvalidArgument(msg)
    try:
        return len(text.encode())
    except UnicodeEncodeError as error:
        msg = f"{what} is {_short(text)}: must not hold lone surrogates, which UTF-8 cannot write"
        raise InvalidArgument(msg) from error


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."  # noqa: PLR2004 - half a line
