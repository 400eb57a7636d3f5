"""STOMP 1.2 frames as bytes: written, and read from any split of a stream.

A frame is stomp.py's own `Frame`, so that `message.native` is what its users know. The codec is not stomp.py's: that
leaves header keys unescaped, which lets a key inject headers, replaces what is no UTF-8, and takes three times as long
(see docs/decisions/0011-stomp-py-for-its-frame.md). What frames mean is the session's business.
"""

import os
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from unimq.errors import ProtocolError

__all__ = ["Frame", "Parser", "encode"]

if TYPE_CHECKING:

    class Frame:
        """What stomp.py's frame is, for type checkers; it has no annotations of its own."""

        cmd: str
        headers: dict[str, str]
        body: bytes

        def __init__(self, cmd: str, headers: dict[str, str], body: bytes) -> None: ...
else:
    # Its import asks the name service for this host's name, which may take seconds, unless it is told not to.
    _scan = os.environ.get("STOMP_SKIP_HOSTNAME_SCAN")
    os.environ["STOMP_SKIP_HOSTNAME_SCAN"] = "1"
    try:
        from stomp.utils import Frame
    finally:
        if _scan is None:
            del os.environ["STOMP_SKIP_HOSTNAME_SCAN"]
        else:
            os.environ["STOMP_SKIP_HOSTNAME_SCAN"] = _scan

_ESCAPES: Final = {"\\": "\\\\", "\r": "\\r", "\n": "\\n", ":": "\\c"}
_UNESCAPES: Final = {escaped: plain for plain, escaped in _ESCAPES.items()}
_TO_ESCAPE: Final = re.compile(r"[\\\r\n:]")
_ESCAPED: Final = re.compile(r"\\.?", re.DOTALL)
_HEAD_END: Final = re.compile(rb"\r?\n\r?\n")
_LARGEST_HEAD: Final = 16 * 1024 * 1024
"""Bytes of command and headers; a broker takes 1000 lines of 10 KiB."""
_LARGEST_BODY: Final = 1 << 30
_CONNECTING: Final = ("CONNECT", "CONNECTED")
"""Their headers are not escaped, so that STOMP 1.0 can read them."""


def _escape(text: str) -> str:
    if _TO_ESCAPE.search(text) is None:
        return text
    return _TO_ESCAPE.sub(lambda found: _ESCAPES[found.group()], text)


def encode(command: str, headers: Mapping[str, str], body: bytes | None = None) -> bytes:
    """The bytes of a frame. A `body` gets its length as a header, or the broker would take it for text."""
    if command in _CONNECTING:
        lines = "".join([f"{key}:{value}\n" for key, value in headers.items()])
    else:
        lines = "".join([f"{_escape(key)}:{_escape(value)}\n" for key, value in headers.items()])
    if body is None:
        return f"{command}\n{lines}\n\0".encode()
    return b"".join((f"{command}\n{lines}content-length:{len(body)}\n\n".encode(), body, b"\0"))


class Parser:
    """Frames out of a stream of bytes."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._wanted = 1
        """How many bytes there must be before it is worth looking."""

    def feed(self, data: bytes) -> list[Frame]:
        """The frames that `data` completes. What is between them, heart-beats, is dropped.

        Raises:
            ProtocolError: this is no STOMP.
        """
        self._buffer += data
        frames: list[Frame] = []
        start = 0
        while len(self._buffer) - start >= self._wanted:
            frame, end = self._next(start)
            start = end
            if frame is None:
                break
            frames.append(frame)
        del self._buffer[:start]
        return frames

    def _next(self, start: int) -> tuple[Frame | None, int]:
        """The frame that begins at `start` or after heart-beats, and where it ends; none while it is not whole."""
        buffer = self._buffer
        while start < len(buffer) and buffer[start] in b"\r\n":
            start += 1
        found = _HEAD_END.search(buffer, start)
        if found is None or buffer.find(b"\0", start, found.start()) >= 0:
            if len(buffer) - start > _LARGEST_HEAD or buffer.find(b"\0", start) >= 0:
                msg = f"the peer sent what is no STOMP frame: {bytes(buffer[start : start + 60])!r}"
                raise ProtocolError(msg)
            self._wanted = len(buffer) - start + 1
            return None, start
        command, headers = _head(bytes(buffer[start : found.start()]))
        end = self._end(headers, found.end())
        if end >= len(buffer):
            self._wanted = end + 1 - start
            return None, start
        self._wanted = 1
        return Frame(command, headers, bytes(buffer[found.end() : end])), end + 1

    def _end(self, headers: Mapping[str, str], start: int) -> int:
        """Where the body that begins at `start` ends, which may be behind what is there."""
        buffer = self._buffer
        length = headers.get("content-length")
        if length is None:
            end = buffer.find(b"\0", start)
            if end < 0 and len(buffer) - start > _LARGEST_BODY:
                msg = "the peer sent a body without an end"
                raise ProtocolError(msg)
            return len(buffer) if end < 0 else end
        if not (length.isascii() and length.isdigit()) or int(length) > _LARGEST_BODY:
            msg = f"the peer sent content-length:{length[:40]}, which is no length from 0 to {_LARGEST_BODY}"
            raise ProtocolError(msg)
        end = start + int(length)
        if end < len(buffer) and buffer[end]:
            msg = f"the peer sent a body longer than its content-length:{length}"
            raise ProtocolError(msg)
        return end


def _head(head: bytes) -> tuple[str, dict[str, str]]:
    try:
        command, *lines = head.decode().split("\n")
    except UnicodeDecodeError as error:
        msg = f"the peer sent headers that are no UTF-8: {head[:60]!r}"
        raise ProtocolError(msg) from error
    command = command.removesuffix("\r")
    escaped = "\\" in "".join(lines) and command not in _CONNECTING
    headers: dict[str, str] = {}
    for line in lines:
        key, colon, value = line.removesuffix("\r").partition(":")
        if not colon:
            msg = f"the peer sent a header line without a colon: {line[:60]!r}"
            raise ProtocolError(msg)
        if escaped:
            key, value = _ESCAPED.sub(_unescape, key), _ESCAPED.sub(_unescape, value)
        headers.setdefault(key, value)  # of repeated ones the first counts
    return command, headers


def _unescape(found: Any) -> str:
    try:
        return _UNESCAPES[found.group()]
    except KeyError:
        msg = f"the peer sent the header escape {found.group()!r}, which STOMP 1.2 does not have"
        raise ProtocolError(msg) from None
