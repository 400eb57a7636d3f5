"""The protocol as bytes: commands, and readers of replies that take any split. No I/O.

It is memcached's text protocol as MemcacheQ 0.2.1 speaks it. A body is framed by its length, so that it may hold
anything; a name must hold neither spaces nor line ends, which the limits of the driver see to.
"""

import re
from typing import Final

from unimq.errors import ProtocolError

__all__ = ["KEYS", "LONGEST_LINE", "Values", "get_command", "line_end", "parse_counters", "set_command"]

KEYS: Final = 100
"""Names in one line of a get. The server takes thousands, but holds all messages of a line until it is done."""
LONGEST_LINE: Final = 2048
_LARGEST_BODY: Final = 128 * 1024
"""Twice what any server can store."""
_VALUE: Final = re.compile(rb"VALUE ([^ \r\n]+) (-?[0-9]{1,10}) ([0-9]{1,6})")
_COUNTERS: Final = re.compile(rb"STAT ([^\r\n]+) ([0-9]{1,20})/([0-9]{1,20})")
_END: Final = b"END"


def set_command(queue: bytes, body: bytes) -> bytes:
    """Put `body`."""
    return b"set %b 0 0 %d\r\n%b\r\n" % (queue, len(body), body)


def get_command(queue: bytes, count: int) -> bytes:
    """Get up to `count` messages: the server takes one for each time the name stands there."""
    return b"get " + b" ".join([queue] * count) + b"\r\n"


def line_end(buffer: bytearray | bytes, start: int) -> int:
    """Where the line from `start` ends, or -1 where that has not come yet. Raises `ProtocolError` for endless ones."""
    end = buffer.find(b"\r\n", start, start + LONGEST_LINE)
    if end < 0 and len(buffer) - start >= LONGEST_LINE:
        raise _broken(buffer[start : start + 80], "a line without an end")
    return end


class Values:
    """Reads the reply to a get: `VALUE` lines with their bodies, then `END`."""

    def __init__(self, queue: bytes) -> None:
        self.found: list[tuple[bytes, int]] = []
        """Bodies and flags that have come whole."""
        self.complete = False
        self._queue = queue
        self._buffer = bytearray()
        self._at = 0

    def feed(self, data: bytes) -> bool:
        """Take what was read; whether the reply is complete. Raises `ProtocolError` for what is no such reply."""
        self._buffer += data
        while not self.complete and self._step():
            pass
        if self.complete and len(self._buffer) > self._at:
            raise _broken(self._buffer[self._at : self._at + 80], "bytes behind the end of the reply")
        return self.complete

    def _step(self) -> bool:
        """Whether another line was there, with the body behind it."""
        buffer, start = self._buffer, self._at
        end = line_end(buffer, start)
        if end < 0:
            return False
        line = bytes(buffer[start:end])
        if line == _END:
            self.complete = True
            self._at = end + 2
            return True
        match = _VALUE.fullmatch(line)
        if match is None or match[1] != self._queue or int(match[3]) > _LARGEST_BODY:
            raise _broken(line, f"not a value of {self._queue.decode()!r}")
        body_end = end + 2 + int(match[3])
        if len(buffer) < body_end + 2:
            return False
        if buffer[body_end : body_end + 2] != b"\r\n":
            raise _broken(buffer[body_end : body_end + 2], "a body that is longer than it says")
        self.found.append((bytes(buffer[end + 2 : body_end]), int(match[2])))
        self._at = body_end + 2
        return True


def parse_counters(lines: list[bytes]) -> dict[str, tuple[int, int]]:
    """Messages put and got of each queue, from the lines of `stats queue`."""
    counters: dict[str, tuple[int, int]] = {}
    for line in lines:
        match = _COUNTERS.fullmatch(line)
        if match is None:
            raise _broken(line, "not the counters of a queue")
        counters[match[1].decode(errors="backslashreplace")] = (int(match[2]), int(match[3]))
    return counters


def _broken(seen: bytes | bytearray, what: str) -> ProtocolError:
    return ProtocolError(f"the server answers {bytes(seen[:80])!r}, which is {what}: is it a MemcacheQ?")
