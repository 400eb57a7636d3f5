"""The frame that carries headers in front of a body, for backends whose protocol has none.

Pure functions: bytes and values in, bytes and values out. A message without headers travels as its plain body, so that
any foreign program can read it. `docs/wire-format.md` describes every byte, `tests/vectors/envelope.json` holds this
code to it. Which headers a message needs is the layers' to decide; bodies are `unimq.codec`'s.
"""

import struct
from collections.abc import Mapping
from typing import Any, Final, Literal
from zlib import crc32

import msgspec

from unimq.errors import InvalidArgument, InvalidMessage, Unsupported
from unimq.headers import PREFIX

__all__ = ["MAGIC", "OVERHEAD", "VERSION", "Mode", "check_headers", "is_plain", "pack", "unpack"]

Mode = Literal["auto", "always", "never"]
"""When a body is framed: where it needs to be, always, or never."""

MAGIC: Final = b"\xc1UMQ"
"""How a frame begins. 0xC1 begins no UTF-8 text and is the one byte that MessagePack never uses."""
VERSION: Final = 1
"""The version of frame that is written, and the newest that is read."""

# The magic and the checksum stand where they are in every version, and the checksum covers all that follows it, so
# that a reader can tell a newer frame from a plain body.
_FIXED: Final = struct.Struct(">4sIBI")
_CHECKED_FROM: Final = 8
_COVERED: Final = struct.Struct(">BI")
OVERHEAD: Final = _FIXED.size
"""Bytes that a frame adds to its header and body."""

_encode_header: Final = msgspec.msgpack.Encoder().encode
_decode_header: Final = msgspec.msgpack.Decoder(dict[str, str]).decode


def pack(body: bytes, headers: Mapping[str, str] | None, *, mode: Mode) -> bytes:
    """What to send for this body and these headers.

    "auto" frames only where there are headers, or where the plain body begins like a frame; "always" frames
    everything; "never" frames nothing.

    Raises:
        Unsupported: `mode` is "never" and there are headers.
        InvalidArgument: a header has a lone surrogate, which UTF-8 cannot write.
    """
    if mode == "never":
        if headers:
            msg = (
                f"envelope=never: the headers {_short(list(headers), 200)} cannot travel without the envelope on this "
                "backend; use envelope=auto, or leave out what needs them"
            )
            raise Unsupported(msg)
        return body
    if mode == "auto" and not headers and not body.startswith(MAGIC):
        return body
    try:
        header = _encode_header(dict(headers or {}))
    except UnicodeEncodeError as error:
        msg = f"headers: {_short(error.object)} must not hold lone surrogates, which UTF-8 cannot write"
        raise InvalidArgument(msg) from error
    start = _COVERED.pack(VERSION, len(header)) + header
    return b"".join((MAGIC, crc32(body, crc32(start)).to_bytes(4, "big"), start, body))


def is_plain(raw: bytes) -> bool:
    """Whether a body does not begin as a frame does."""
    return not raw.startswith(MAGIC)


def unpack(raw: bytes, *, mode: Mode) -> tuple[bytes, dict[str, str] | None]:
    """The body and headers of what arrived. What is no whole frame is a plain body, and so is all in mode "never".

    Raises:
        InvalidMessage: it is a frame of a newer version, or a whole frame with headers that make no sense.
    """
    if not raw.startswith(MAGIC) or mode == "never" or len(raw) < OVERHEAD:
        return raw, None
    _, checksum, version, header_length = _FIXED.unpack_from(raw)
    if version == 0 or crc32(memoryview(raw)[_CHECKED_FROM:]) != checksum:
        return raw, None
    if version > VERSION:
        msg = f"the message has an envelope of version {version}, this unimq reads up to {VERSION}: upgrade unimq"
        raise InvalidMessage(msg)
    start = OVERHEAD + header_length
    if start > len(raw):
        return raw, None
    try:
        return raw[start:], _decode_header(raw[OVERHEAD:start])
    except (ValueError, RecursionError) as error:
        msg = f"the message has a damaged envelope header ({header_length} bytes): {error}"
        raise InvalidMessage(msg) from error


# --- the headers of users --------------------------------------------------------------------------------------------

_KEY_LENGTH: Final = 200
_ENTRIES: Final = 1000
_TOTAL_BYTES: Final = 64 * 1024


def check_headers(
    headers: Mapping[str, str], limit: int | None = None, most_entries: int | None = None
) -> dict[str, str]:
    """A copy of the user's headers, if every backend can carry them unchanged.

    Keys are 1 to 200 characters and do not begin with `unimq-` (in any case), values may be empty; both are any Unicode
    but NUL and lone surrogates; at most 1000 entries. An empty key is refused, because header protocols cannot write
    it. `limit` is the largest sum of keys and values in UTF-8 bytes; `None` means 64 KiB. `most_entries` is a backend's
    smaller number of entries.

    Raises:
        InvalidArgument: one of these does not hold; the text names the key, the value and the range.
    """
    entries: Any = headers  # what the annotation promises is checked here
    if not isinstance(entries, Mapping):
        msg = f"headers={_short(entries)}: must be a mapping of str to str"
        raise InvalidArgument(msg)
    most = _ENTRIES if most_entries is None else min(most_entries, _ENTRIES)
    if len(headers) > most:
        msg = f"headers: {len(headers)} entries, at most {most} are allowed"
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
    if key[: len(PREFIX)].lower() == PREFIX:
        msg = f"the header key {_short(key)} begins with {PREFIX!r}, which is reserved for unimq itself"
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


def _short(value: object, most: int = 60) -> str:
    text = repr(value)
    return text if len(text) <= most else f"{text[: most - 3]}..."
