"""One connection: made by pymemcache, then used by its socket, with a deadline for each exchange.

pymemcache connects, and proves the server by asking its version. It is not called again: its timeout is one for each
read and not for the call, it connects again silently after an error, its `get_many` loses messages, and it can neither
pipeline nor get several messages of a queue.
"""

import contextlib
import select
import socket
import time
from typing import Final, cast

from pymemcache import Client, MemcacheError  # pyright: ignore[reportMissingTypeStubs] # it has none

from unimq.errors import ConnectError, ConnectionLost, ProtocolError, Timeout
from unimq.url import URL
from unimq_memcacheq.wire import Values, line_end

__all__ = ["DEFAULT_PORT", "Connection", "connect", "server_of"]

DEFAULT_PORT: Final = 22201
_IDLE_LOOK: Final = 0.05
"""Seconds of idleness after which a connection is looked at before it is written to."""
_READ: Final = 16 * 1024
"""Bytes asked for at a time. The room for more than 128 KiB would be asked of the system for each read."""
_LONGEST_WAIT: Final = 86400.0
"""Seconds that one wait lasts at most, whatever the deadline is: more than a `poll` can count is asked for never."""
_HANGS: Final = "the server may hang, as one with more than one thread does after some errors: start it with -t 1"


def server_of(url: URL) -> tuple[str, int]:
    """Host and port of the one server of `url`."""
    host = url.hosts[0] if url.hosts else None
    return (host.name if host else "127.0.0.1", (host.port if host else None) or DEFAULT_PORT)


def connect(url: URL, deadline: float) -> Client:
    """A client that is connected and has the server's version.

    Each address of the host is tried: pymemcache would try only the first for which a socket can be made.
    """
    host, port = server_of(url)
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        msg = f"{url}: the host {host!r} has no address: {error}"
        raise ConnectError(msg) from error
    failure: Exception | None = None
    for address in dict.fromkeys((str(info[4][0]), port) for info in found):
        rest = deadline - time.monotonic()
        if rest <= 0:
            break
        client = Client(address, connect_timeout=rest, timeout=rest, no_delay=True, default_noreply=False)
        try:
            client.version()
        except (OSError, MemcacheError) as error:
            client.close()
            failure = error
        else:
            return client
    msg = f"{url}: no MemcacheQ at {host}:{port}: {failure or 'no time was left'}"
    if isinstance(failure, TimeoutError):
        msg += f"; {_HANGS}"
    raise ConnectError(msg) from failure


class Connection:
    """Bytes to and from a server. After an error it is broken, and every further use says so."""

    def __init__(self, client: Client, where: str) -> None:
        self.where = where
        self.broken = False
        self._client = client
        self._socket = cast("socket.socket", client.sock)  # it is connected
        # With a timeout Python would ask before each write too, and setting one anew for each call costs as much again.
        self._socket.setblocking(False)  # noqa: FBT003 - its only form
        self._readable, self._writable = select.poll(), select.poll()
        self._readable.register(self._socket, select.POLLIN)
        self._writable.register(self._socket, select.POLLOUT)
        self._used = time.monotonic()

    def look(self) -> None:
        """Raise `ConnectionLost`, not in doubt, where the connection is known to be gone."""
        if self.broken:
            msg = f"{self.where}: the connection broke before"
            raise ConnectionLost(msg)
        if time.monotonic() - self._used <= _IDLE_LOOK:
            return
        try:
            self._socket.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return
        except OSError as error:
            self.broken = True
            msg = f"{self.where}: the connection died while it was idle: {error}"
            raise ConnectionLost(msg) from error
        self.broken = True
        msg = f"{self.where}: the server closed the connection while it was idle"
        raise ConnectionLost(msg)

    def write(self, data: bytes, deadline: float) -> None:
        """Send all of `data`; an error leaves open how much of it arrived."""
        sent = 0
        try:
            while sent < len(data):
                try:
                    sent += self._socket.send(memoryview(data)[sent:] if sent else data)
                except BlockingIOError:
                    _wait(self._writable, deadline)
        except OSError as error:
            raise self._failed(error) from error

    def read(self, deadline: float) -> bytes:
        """What has come, at least one byte."""
        try:
            _wait(self._readable, deadline)
            data = self._socket.recv(_READ)
        except OSError as error:
            raise self._failed(error) from error
        if not data:
            self.broken = True
            msg = f"{self.where}: the server closed the connection"
            raise ConnectionLost(msg, in_doubt=True)
        self._used = time.monotonic()
        return data

    def read_lines(self, count: int, deadline: float, found: list[bytes]) -> None:
        """Append `count` lines to `found`, which has those that came when it fails."""
        buffer, at = b"", 0
        wanted = len(found) + count
        while len(found) < wanted:
            buffer, at = buffer[at:] + self.read(deadline), 0
            while len(found) < wanted and (end := self._line_end(buffer, at)) >= 0:
                found.append(buffer[at:end])
                at = end + 2
        self._nothing_behind(buffer[at:])

    def ask_lines(self, command: bytes, deadline: float) -> list[bytes]:
        """The lines of the reply to `command`, up to an `END`, or the one line that is none of such a list."""
        self.look()
        self.write(command, deadline)
        lines: list[bytes] = []
        buffer, at = b"", 0
        while True:
            buffer, at = buffer[at:] + self.read(deadline), 0
            while (end := self._line_end(buffer, at)) >= 0:
                line = buffer[at:end]
                at = end + 2
                if line == b"END" or not line.startswith(b"STAT "):
                    self._nothing_behind(buffer[at:])
                    return lines if line == b"END" else [line]
                lines.append(line)

    def get(self, command: bytes, queue: bytes, deadline: float) -> list[tuple[bytes, int]]:
        """The messages that a get brought. What came before the connection broke is not lost: then it is `broken`."""
        self.look()
        values = Values(queue)
        try:
            self.write(command, deadline)
            while not values.feed(self.read(deadline)):
                pass
        except (ConnectionLost, Timeout, ProtocolError):
            self.broken = True
            if not values.found:
                raise
        return values.found

    def close(self) -> None:
        """Close the socket."""
        self.broken = True
        with contextlib.suppress(OSError):
            self._client.close()

    def _failed(self, error: OSError) -> ConnectionLost | Timeout:
        self.broken = True
        if isinstance(error, TimeoutError):
            return Timeout(f"{self.where}: no answer until the deadline; {_HANGS}", in_doubt=True)
        return ConnectionLost(f"{self.where}: the connection broke: {error}", in_doubt=True)

    def _line_end(self, buffer: bytes, at: int) -> int:
        try:
            return line_end(buffer, at)
        except ProtocolError:
            self.broken = True
            raise

    def _nothing_behind(self, rest: bytes) -> None:
        if rest:
            self.broken = True
            msg = f"{self.where}: the server sends {rest[:80]!r}, which nobody asked for"
            raise ProtocolError(msg)


def _wait(events: select.poll, deadline: float) -> None:
    """Until the socket can be used. Raises `TimeoutError` at `deadline`."""
    rest = deadline - time.monotonic()
    if rest <= 0 or not events.poll(min(rest, _LONGEST_WAIT) * 1000):
        msg = "no time is left"
        raise TimeoutError(msg)
