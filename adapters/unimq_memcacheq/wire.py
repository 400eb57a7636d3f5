"""The protocol as bytes: commands, and readers of replies that take any split. No I/O.

It is memcached's text protocol as MemcacheQ 0.2.1 speaks it. A body is framed by its length, so that it may hold
anything; a name must hold neither spaces nor line ends, which the limits of the driver see to.
"""

import re
from functools import lru_cache
from typing import Final

from unimq.errors import ProtocolError

__all__ = ["KEYS", "LONGEST_LINE", "Values", "get_command", "line_end", "parse_counters", "set_command"]

KEYS: Final = 100
"""Names in one line of a get. The server takes thousands, but holds all messages of a line until it is done."""
LONGEST_LINE: Final = 2048
_LARGEST_BODY: Final = 128 * 1024
"""Twice what any server can store."""
_COUNTERS: Final = re.compile(rb"STAT ([^\r\n]+) ([0-9]{1,20})/([0-9]{1,20})")
_END: Final = b"END"
_NOTHING: Final = b"END\r\n"
_LAST: Final = b"\r\nEND\r\n"
"""What is behind the last body."""
_LINE_END: Final = b"\r\n"


def set_command(queue: bytes, body: bytes) -> bytes:
    """Put `body`."""
    return b"set %b 0 0 %d\r\n%b\r\n" % (queue, len(body), body)


@lru_cache(1024)
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
        self._rest = b""

    def feed(self, data: bytes) -> bool:
        """Take what was read; whether the reply is complete. Raises `ProtocolError` for what is no such reply."""
        if data == _NOTHING and not self._rest:  # as nearly every look of one who waits
            self.complete = True
            return True
        buffer, at = self._rest + data, 0
        match_value, found = _value(self._queue).match, self.found
        while (match := match_value(buffer, at)) is not None:
            start, size = match.end(), int(match[2])
            end = start + size
            if size > _LARGEST_BODY or not _LINE_END.startswith(buffer[end : end + 2]):
                raise _broken(buffer[at : at + 80], "a body of another length than it says, or an absurd one")
            if len(buffer) < end + 2:
                break
            found.append((buffer[start:end], int(match[1])))
            at = end + 2
            if len(buffer) == end + len(_LAST) and buffer.endswith(_LAST):
                self.complete = True
                return True
        else:
            if (end := line_end(buffer, at)) >= 0:
                self._end(buffer[at:end], buffer[end + 2 :])
        self._rest = buffer[at:]
        return self.complete

    def _end(self, line: bytes, behind: bytes) -> None:
        """Note the end, which every other line but a value's is not."""
        if line != _END:
            raise _broken(line, f"not a value of {self._queue.decode()!r}")
        if behind:
            raise _broken(behind, "bytes behind the end of the reply")
        self.complete = True


@lru_cache(1024)
def _value(queue: bytes) -> re.Pattern[bytes]:
    """What stands before a body: its flags and its length."""
    return re.compile(rb"VALUE %b (-?[0-9]{1,10}) ([0-9]{1,6})\r\n" % re.escape(queue))


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
