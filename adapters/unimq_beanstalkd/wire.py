"""One connection to beanstalkd: bytes out, replies in, each with a deadline.

`greenstalk.Client` waits for ever on a server that stalls, and cannot pipeline; so the conversation is here, and its
errors and jobs are greenstalk's. The protocol: https://github.com/beanstalkd/beanstalkd/blob/master/doc/protocol.txt
"""

import contextlib
import re
import select
import socket
import struct
import time
from collections.abc import Callable
from typing import Final, cast

from greenstalk import ERROR_RESPONSES, BeanstalkdError, BuriedError

from unimq.errors import (
    ConnectError,
    ConnectionLost,
    ProtocolError,
    ServerError,
    StorageError,
    Timeout,
    TooLarge,
    UnimqError,
)
from unimq.url import URL

__all__ = ["Reply", "Wire", "connect"]

_SLICE: Final = 0.1
"""Seconds after which a blocked system call comes back to look at the deadline: cheaper than a timeout set per call."""
_CHUNK: Final = 65_536
"""Bytes that are read at once, at most."""
_LONGEST_LINE: Final = 1024
_JOB: Final = re.compile(rb"RESERVED (\d{1,20}) (\d{1,10})\r\n")
_TABLE: Final = re.compile(rb"OK (\d{1,10})\r\n")
_LARGE: Final = 16_384
"""Bytes of a body that are read to where they stay; less is cheaper copied with what comes with it."""
_IDLE: Final = 0.05
"""Seconds of rest after which a connection may have died unnoticed, and is looked at before it is written to."""

_CLOSED_HERE: Final = "it was closed"
_CLOSED_THERE: Final = "the server closed it"
_FULL: Final = "the server takes no more bytes, and the time is over"
_SILENT: Final = "no answer in time"

Reply = list[bytes] | UnimqError
"""The words behind the expected one, or what the server said instead."""

_KINDS: Final[dict[bytes, tuple[type[UnimqError], str]]] = {
    b"DRAINING": (ServerError, "it takes no more messages, it is being drained"),
    b"OUT_OF_MEMORY": (StorageError, "it has no memory left"),
    b"BURIED": (StorageError, "it had no memory to queue the message, and buried it"),
    b"INTERNAL_ERROR": (ServerError, "it has an internal error"),
    b"JOB_TOO_BIG": (TooLarge, "the message is larger than its limit for jobs (beanstalkd -z)"),
    b"NOT_FOUND": (ServerError, "there is none"),
    b"TIMED_OUT": (ServerError, "nothing came in time"),
    b"DEADLINE_SOON": (ServerError, "the lease of a held message ends soon"),
}


def connect(url: URL, deadline: float) -> "Wire":
    """A connection to the one host, or the socket file, of `url`.

    Raises:
        ConnectError: nobody listens there, or nobody answers until the deadline.
    """
    rest = min(max(deadline - time.monotonic(), 0.001), 3600.0)
    try:
        if url.transport == "unix":
            connection = _connected_file(url.path, rest)
        else:
            host = url.hosts[0]
            connection = socket.create_connection((host.name, host.port or 11300), rest)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    except OSError as error:
        msg = f"{url}: no connection to beanstalkd: {error}"
        raise ConnectError(msg) from error
    return Wire(connection, str(url))


def _connected_file(path: str, timeout: float) -> socket.socket:
    """What `socket.create_connection` is for addresses."""
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.settimeout(timeout)
        connection.connect(path)
    except BaseException:
        connection.close()
        raise
    return connection


class Wire:
    """A connected socket, and what was read from it. After an error that ends the session it is broken for good."""

    def __init__(self, connection: socket.socket, label: str) -> None:
        self.label = label
        self.broken = False
        self._socket = connection
        connection.settimeout(None)
        slice_ = struct.pack("ll", 0, int(_SLICE * 1e6))
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, slice_)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, slice_)
        self._readable = select.poll()
        self._readable.register(connection, select.POLLIN)
        # A `recv` of that size may ask the system for memory, and give it back, each time: it doubled what a put costs.
        self._chunk = memoryview(bytearray(_CHUNK))
        self._data = b""
        self._at = 0
        self._used = time.monotonic()

    def close(self) -> None:
        """End the connection, also under a thread that reads from it."""
        self.broken = True
        self.break_off()
        self._socket.close()

    def abandon(self) -> None:
        """Close the descriptor, without a word to the server."""
        self.broken = True
        self._socket.close()

    def break_off(self) -> None:
        """Wake a thread that reads; the connection is used up by it."""
        self.broken = True
        with contextlib.suppress(OSError):  # it was gone
            self._socket.shutdown(socket.SHUT_RDWR)

    def look(self) -> None:
        """Raise `ConnectionLost` if the connection died while nobody used it. To be called before a write."""
        if self.broken:
            raise self._lost(_CLOSED_HERE)
        if time.monotonic() - self._used > _IDLE and self._readable.poll(0):
            # Nothing was asked, so whatever there is to read means the end.
            raise self._lost(_CLOSED_THERE)

    def write(self, data: bytes, deadline: float) -> None:
        """Send all of `data`. An error's `in_doubt` says whether some of it may have left."""
        sent = 0
        while sent < len(data):
            try:
                sent += self._socket.send(memoryview(data)[sent:] if sent else data)
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise self._late(_FULL, in_doubt=sent > 0) from None
            except OSError as error:
                raise self._lost(str(error), in_doubt=sent > 0) from error

    def lines(self, most: int, deadline: float) -> list[bytes]:
        """The next lines, one to `most` of those that are there; replies of one line each, and nothing behind them."""
        self._end_of_line(deadline)
        end = self._data.rfind(b"\r\n", self._at)
        lines = self._data[self._at : end].split(b"\r\n", most)
        self._at = end + 2
        if len(lines) > most:
            self._at -= len(lines.pop()) + 2
        return lines

    def line(self, deadline: float) -> bytes:
        """The next line."""
        end = self._end_of_line(deadline)
        line = self._data[self._at : end]
        self._at = end + 2
        return line

    def _end_of_line(self, deadline: float) -> int:
        """Where the next line ends, when all of it is there."""
        while (end := self._data.find(b"\r\n", self._at)) < 0:
            if len(self._data) - self._at > _LONGEST_LINE:
                raise self._nonsense(self._data[self._at : self._at + 60])
            self._read(deadline)
        return end

    def reserved(self, deadline: float) -> tuple[int, bytes] | UnimqError:
        """The number of a job that was reserved and its body, or why there is none."""
        if (whole := self._whole(_JOB, deadline)) is not None:
            return int(whole[0][1]), whole[1]
        words = self.reply(b"RESERVED", deadline)
        return words if isinstance(words, UnimqError) else self.job(words, deadline)

    def told(self, deadline: float) -> bytes | UnimqError:
        """The table that answers a question, or why there is none."""
        if (whole := self._whole(_TABLE, deadline)) is not None:
            return whole[1]
        words = self.reply(b"OK", deadline)
        return words if isinstance(words, UnimqError) else self.body(words, deadline)

    def _whole(self, head: re.Pattern[bytes], deadline: float) -> tuple[re.Match[bytes], bytes] | None:
        """A reply that begins so and tells a size last, and what stands behind it; where all of it comes at once."""
        if self._at == len(self._data):
            self._read(deadline)
        found = head.match(self._data, self._at)
        if found is None:
            return None
        start = found.end()
        end = start + int(found[head.groups])
        if self._data[end : end + 2] != b"\r\n":
            return None
        self._at = end + 2
        return found, self._data[start:end]

    def job(self, words: list[bytes], deadline: float) -> tuple[int, bytes]:
        """The number of a job and its body, of which `words` give the number and the size."""
        number, size = self._numbers(words, 2)
        return number, self._bytes(size, deadline)

    def body(self, words: list[bytes], deadline: float) -> bytes:
        """The bytes whose size is the one word."""
        return self._bytes(self._numbers(words, 1)[0], deadline)

    def _bytes(self, size: int, deadline: float) -> bytes:
        end = self._at + size
        if end + 2 - len(self._data) > _LARGE:
            return self._large(size, deadline)
        while len(self._data) < end + 2:
            self._read(deadline)
            end = self._at + size
        if self._data[end : end + 2] != b"\r\n":
            raise self._nonsense(self._data[end : end + 20])
        body = self._data[self._at : end]
        self._at = end + 2
        return body

    def _large(self, size: int, deadline: float) -> bytes:
        """A body of which most is still to come; then nothing that was read is left."""
        body = bytearray(size + 2)
        there = len(self._data) - self._at
        body[:there] = self._data[self._at :]
        self._data, self._at = b"", 0
        rest = memoryview(body)[there:]
        while rest:
            rest = rest[self._fill(rest, deadline) :]
        if body[size:] != b"\r\n":
            raise self._nonsense(bytes(body[size:]))
        return bytes(memoryview(body)[:size])

    def _numbers(self, words: list[bytes], count: int) -> list[int]:
        """The words as what they must be."""
        if len(words) != count or not b"".join(words).isdigit():
            raise self._nonsense(b" ".join(words))
        return [int(word) for word in words]

    def reply(self, expected: bytes, deadline: float) -> Reply:
        """The words behind `expected`, or the error that the server's answer stands for.

        Raises:
            ProtocolError: it says what beanstalkd does not say.
        """
        words = self.line(deadline).split()
        if words and words[0] == expected:
            return words[1:]
        return self.refusal(words)

    def refusal(self, words: list[bytes]) -> UnimqError:
        """The error that an answer stands for which is not the expected one.

        Raises:
            ProtocolError: it is none that beanstalkd gives.
        """
        if not words or words[0] not in _KINDS:
            raise self._nonsense(b" ".join(words))
        error, why = _KINDS[words[0]]
        refusal = error(f"{self.label}: {why}")
        refusal.__cause__ = _greenstalk_error(words)
        return refusal

    def must(self, expected: bytes, deadline: float) -> list[bytes]:
        """The words of a reply that can only be the expected one."""
        reply = self.reply(expected, deadline)
        if isinstance(reply, UnimqError):
            self.broken = True
            msg = f"{self.label}: out of step: {reply}"
            raise ProtocolError(msg) from reply
        return reply

    def ask(self, command: bytes, expected: bytes, deadline: float) -> Reply:
        """One command and its reply."""
        self.look()
        self.write(command + b"\r\n", deadline)
        return self.reply(expected, deadline)

    def table(self, command: bytes, deadline: float) -> dict[str, str] | None:
        """The keys and values that a command of the `stats` family answers; `None` where what it asks about is not."""
        words = self.ask(command, b"OK", deadline)
        if isinstance(words, UnimqError):
            return None
        lines = self.body(words, deadline).decode("ascii", "replace").splitlines()
        return dict(line.split(": ", 1) for line in lines if ": " in line)

    def used(self) -> None:
        """Note that the connection is in step now."""
        self._used = time.monotonic()
        if self._at == len(self._data):
            self._data, self._at = b"", 0

    def _read(self, deadline: float) -> None:
        """Add what comes next, with patience until `deadline`."""
        size = self._fill(self._chunk, deadline)
        self._data = self._data[self._at :] + self._chunk[:size]
        self._at = 0

    def _fill(self, place: memoryview, deadline: float) -> int:
        """Read what comes next to `place`; the number of bytes."""
        while True:
            rest = deadline - time.monotonic()
            if rest < _SLICE and not self._readable.poll(max(rest, 0.0) * 1000):
                raise self._late(_SILENT)
            try:
                size = self._socket.recv_into(place)
            except BlockingIOError:
                continue
            except OSError as error:
                raise self._lost(str(error), in_doubt=True) from error
            if not size:
                raise self._lost(_CLOSED_THERE, in_doubt=True)
            return size

    def _lost(self, why: str, *, in_doubt: bool = False) -> ConnectionLost:
        self.broken = True
        return ConnectionLost(f"{self.label}: the connection is lost: {why}", in_doubt=in_doubt)

    def _late(self, why: str, *, in_doubt: bool = True) -> Timeout:
        self.broken = True
        return Timeout(f"{self.label}: {why}", in_doubt=in_doubt)

    def _nonsense(self, said: bytes) -> ProtocolError:
        self.broken = True
        return ProtocolError(f"{self.label}: unexpected answer {said[:100]!r}: is this a beanstalkd?", in_doubt=True)


def _greenstalk_error(words: list[bytes]) -> BeanstalkdError:
    """What greenstalk would have raised."""
    if words[0] == b"BURIED":
        return BuriedError(words[1:])
    kind = cast("Callable[[str], BeanstalkdError]", ERROR_RESPONSES[words[0]])  # the others take any text
    return kind(words[0].decode())
