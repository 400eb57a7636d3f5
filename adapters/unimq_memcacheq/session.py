"""One connection to a server, with the methods of the driver contract."""

import itertools
import re
import time
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from unimq.capabilities import Capabilities
from unimq.driver import BaseSession, Delivery, Outgoing, Settling, Stats
from unimq.errors import ConnectionLost, InvalidName, ProtocolError, ServerError, Timeout, TooLarge, UnimqError
from unimq_memcacheq.connection import Connection
from unimq_memcacheq.waiting import Watch, first_use, forget, ring, was_used, watch
from unimq_memcacheq.wire import KEYS, get_command, parse_counters, set_command

__all__ = ["MemcacheQSession"]

_WINDOW: Final = 128 * 1024
"""Bytes of puts that are written before their replies are read."""
_GRACE: Final = 0.1
"""Seconds beyond its deadline that an exchange may last."""
_POLL_GRACE: Final = 1.0
"""The same for a look: a past deadline still asks the server once."""
_LIST_BYTES: Final = 2045
"""What the server's list of queues has at most; a longer one is cut without a word."""
_LONGEST_ENTRY: Final = 300
_SERVER_FILES: Final = re.compile(r"queue\.list|log\.[0-9]+|__db.*|[^A-Za-z0-9_].*")
"""Names that are files of the server, or begin with what its files should not."""


class MemcacheQSession(BaseSession):
    """A session of the driver contract."""

    settling: Settling = "nowhere"

    def __init__(
        self, connection: Connection, capabilities: Capabilities, server: tuple[str, int], poll: float
    ) -> None:
        self.capabilities = capabilities
        self._connection = connection
        self._server = server
        self._poll = poll
        self._tokens = itertools.count()
        self._turn = 0
        self._interrupted = False
        self._watch: Watch | None = None

    # Messages

    def send(self, queue: str, messages: Sequence[Outgoing], deadline: float) -> Sequence[str | UnimqError | None]:
        """Store them in windows: write one, read its replies. What was never written is not in doubt."""
        name = _checked(queue)
        until = max(deadline, time.monotonic() + _GRACE)
        self._connection.look()
        commands = [set_command(name, message.body) for message in messages]
        if was_used(self._server, queue):
            outcomes = self._send_all(commands, until)
        else:
            with first_use(self._server, queue, until - time.monotonic()):
                outcomes = self._send_all(commands, until)
        ring(self._server, queue)
        return outcomes

    def _send_all(self, commands: Sequence[bytes], until: float) -> list[str | UnimqError | None]:
        if len(commands) == 1:
            return self._send_window(commands, until)
        outcomes: list[str | UnimqError | None] = []
        while len(outcomes) < len(commands):
            count = _window(commands, len(outcomes))
            outcomes += self._send_window(commands[len(outcomes) : len(outcomes) + count], until)
            if self._connection.broken:
                rest = f"{self._connection.where}: not written, because the connection broke before"
                outcomes += [ConnectionLost(rest) for _ in range(len(commands) - len(outcomes))]
        return outcomes

    def _send_window(self, commands: Sequence[bytes], until: float) -> list[str | UnimqError | None]:
        lines: list[bytes] = []
        outcomes: list[str | UnimqError | None] = []
        try:
            self._connection.write(b"".join(commands), until)
            self._connection.read_lines(len(commands), until, lines)
        except (ConnectionLost, Timeout, ProtocolError) as error:
            error.in_doubt = True
            outcomes = [error] * (len(commands) - len(lines))
        return [*map(self._stored, lines), *outcomes]

    def _stored(self, reply: bytes) -> UnimqError | None:
        """What the reply to a put means."""
        if reply == b"STORED":
            return None
        where = self._connection.where
        if reply == b"NOT_STORED":
            return ServerError(
                f"{where}: not stored: the server could not make the queue, or its disk failed (is its -B larger than "
                "its -A allows?); with more than one thread it may hang from now on: start it with -t 1"
            )
        if reply.startswith(b"SERVER_ERROR out of memory"):
            return TooLarge(f"{where}: the server's records are smaller than ?record= says: start it with a larger -B")
        # The body was read as commands: whatever follows is out of step.
        self._connection.broken = True
        return ProtocolError(f"{where}: the server answers a put with {reply[:80]!r}", in_doubt=True)

    def receive(
        self, queues: Sequence[str], limit: int, lease: float, deadline: float, *, ahead: bool = False
    ) -> Sequence[Delivery]:
        """Take what is there; while there is nothing, look now and then."""
        names = [(queue, _checked(queue)) for queue in queues]
        self._interrupted = False
        found = self._take(names, limit, limit, deadline)
        if found or time.monotonic() >= deadline:
            return found
        with watch(self._server, queues) as self._watch:
            ended = lambda: self._interrupted  # noqa: E731 - shorter than a function
            look = lambda: self._take(names, limit, 1, deadline)  # noqa: E731
            return self._watch.until_found(look, ended, deadline, self._poll) or []

    def _take(self, names: Sequence[tuple[str, bytes]], limit: int, first: int, deadline: float) -> list[Delivery]:
        """Up to `limit` messages: `first` at a time, until there is one."""
        until = max(deadline, time.monotonic() + _POLL_GRACE) if deadline != _NEVER else _NEVER
        until = min(until, time.monotonic() + _LONGEST_LOOK)
        if len(names) > 1:  # the next one first, or a busy queue would starve the others
            self._turn = (self._turn + 1) % len(names)
            names = [*names[self._turn :], *names[: self._turn]]
        found: list[Delivery] = []
        for queue, name in names:
            size = min(first, KEYS)
            while len(found) < limit and not self._connection.broken:
                values = self._connection.get(get_command(name, size), name, until)
                found += [Delivery(queue, body, next(self._tokens), native=flags) for body, flags in values]
                if len(values) < size:
                    break
                size = min(limit - len(found), KEYS)
        return found

    def interrupt(self) -> None:
        """Let the receive that waits give up; a reply that is on its way is waited for, or its messages were lost."""
        self._interrupted = True
        waiting = self._watch
        if waiting is not None:
            waiting.give_up()

    # Settling

    def ack(self, deliveries: Sequence[Delivery], deadline: float) -> Sequence[UnimqError | None]:
        """They left the server when they were delivered."""
        return [None] * len(deliveries)

    def move(
        self, queue: str, pairs: Sequence[tuple[Delivery, Outgoing]], deadline: float
    ) -> Sequence[str | UnimqError | None]:
        """Put them there; here they are gone."""
        return self.send(queue, [message for _, message in pairs], deadline)

    # Looking after it

    def stats(self, queue: str, deadline: float) -> Stats:
        """The difference of the counters; `None` where the queue may be in the part of the list that was cut off."""
        counters, whole = self._counters(deadline)
        if queue in counters:
            put, got = counters[queue]
            return Stats(ready=max(0, put - got), approximate=True)
        return Stats(ready=0 if whole else None, approximate=True)

    def queues(self, deadline: float) -> Sequence[str]:
        """The whole list, or an error."""
        counters, whole = self._counters(deadline)
        if not whole:
            where = self._connection.where
            msg = f"{where}: the server lists its queues in 2 KiB, and has more: {len(counters)} of them are known"
            raise ServerError(msg)
        return sorted(counters)

    def _counters(self, deadline: float) -> tuple[dict[str, tuple[int, int]], bool]:
        lines = self._connection.ask_lines(b"stats queue\r\n", max(deadline, time.monotonic() + _GRACE))
        whole = sum(len(line) + 2 for line in lines) + _LONGEST_ENTRY < _LIST_BYTES
        return parse_counters(lines), whole

    def purge(self, queue: str, deadline: float) -> int:
        """Get as many as there were, or all where the server does not tell, until the deadline at most."""
        name, removed = _checked(queue), 0
        waiting = self.stats(queue, deadline).ready
        while waiting is None or removed < waiting:
            size = KEYS if waiting is None else min(KEYS, waiting - removed)
            until = max(deadline, time.monotonic() + _POLL_GRACE)
            count = len(self._connection.get(get_command(name, size), name, until))
            removed += count
            if count < size or time.monotonic() >= deadline:
                break
        return removed

    def delete(self, queue: str, deadline: float) -> None:
        """Remove it, with its files."""
        reply = self._ask(b"delete %b\r\n" % _checked(queue), deadline)
        forget(self._server, queue)
        if reply not in {b"DELETED", b"NOT_FOUND"}:
            msg = f"{self._connection.where}: the server answers a delete with {reply[:80]!r}"
            raise ServerError(msg)

    # The connection

    def ping(self, deadline: float) -> str:
        """The server's version."""
        reply = self._ask(b"version\r\n", deadline)
        return f"MemcacheQ {reply.removeprefix(b'VERSION ').decode(errors='replace')}"

    def _ask(self, command: bytes, deadline: float) -> bytes:
        [reply] = self._connection.ask_lines(command, max(deadline, time.monotonic() + _GRACE)) or [b"END"]
        return reply

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


_NEVER: Final = float("inf")
_LONGEST_LOOK: Final = 30.0
"""Seconds that one look may take where the caller waits for ever: a server that does not answer is told by then."""


@lru_cache(1024)
def _checked(queue: str) -> bytes:
    """The name as the server gets it. Raises `InvalidName` for one that would be a file of its own, or of nobody."""
    if _SERVER_FILES.fullmatch(queue):
        msg = f"queue name {queue!r}: must begin with a letter, a digit or '_', and be no file of the server's own"
        raise InvalidName(msg)
    return queue.encode()


def _window(commands: Sequence[bytes], start: int) -> int:
    """How many from `start` are written at once; at least one."""
    size, end = 0, start
    while end < len(commands) and (end == start or size + len(commands[end]) <= _WINDOW):
        size += len(commands[end])
        end += 1
    return end - start
