"""A stand-in for MemcacheQ 0.2.1, of which no package exists: it speaks the protocol recorded from the real one.

It contains nothing of MemcacheQ. `tests/memcacheq/test_standin.py` holds its replies byte for byte to the recorded
exchanges. It is imitated where a client can be hurt by it, too:

- a get removes the message and commits that before it answers, so that a reply that gets lost is a message lost;
- a line that is not understood leaves the body behind it to be read as commands;
- a creation that fails (a name that cannot be a file name, `-B` too large for `-A`) keeps the global lock with its
  worker: all queue commands on other workers hang until a queue command comes on a connection of that one. With `-t 1`
  there is no other worker;
- `stats queue` is cut at 2 KiB without a word, and its counters start at the last dump after a kill: the messages are
  there, `sets` and `gets` are not;
- set and get sync the disk, each get of a line by itself, unless `-N` is given.

Not imitated: names that escape from the directory, lengths that crash the daemon, what `-N` loses when it is killed,
hanging deletes (with `-t` above 1), and a store that is opened with another `-B`.
"""

import argparse
import contextlib
import itertools
import os
import resource
import selectors
import signal
import socket
import stat
import sys
import threading
import time
import zlib
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Final

from store import CreationFailedError, GlobalLock, Store

VERSION: Final = "0.2.1"
LONGEST_KEY: Final = 250
RECORD_OVERHEAD: Final = 15
LIST_BYTES: Final = 2048 - len(b"END\r\n")

ERROR: Final = b"ERROR\r\n"
END: Final = b"END\r\n"
BAD_LINE: Final = b"CLIENT_ERROR bad command line format\r\n"


class Server:
    """What all connections share."""

    def __init__(self, store: Store, workers: int) -> None:
        self.store = store
        self.lock = GlobalLock(workers)
        self.started = time.time()
        self.workers = workers
        self.reset()
        self.connections = self.accepted = 0

    def reset(self) -> None:
        """Start the figures of `stats` anew."""
        self.figures = dict.fromkeys(("get_cmds", "get_hits", "set_cmds", "set_hits", "bytes_read", "bytes_written"), 0)

    def stats(self) -> bytes:
        """The reply to `stats`."""
        usage = resource.getrusage(resource.RUSAGE_SELF)
        figures = {
            "pid": os.getpid(),
            "uptime": int(time.time() - self.started),
            "time": int(time.time()),
            "version": VERSION,
            "pointer_size": 64,
            "rusage_user": f"{usage.ru_utime:.6f}",
            "rusage_system": f"{usage.ru_stime:.6f}",
            "curr_connections": self.connections,
            "total_connections": self.accepted,
            "connection_structures": self.accepted,
            **self.figures,
            "threads": self.workers,
        }
        return b"".join(f"STAT {name} {value}\r\n".encode() for name, value in figures.items()) + END

    def stats_queue(self) -> bytes:
        """In the order of a hash, and cut where the buffer of the real one ends."""
        listed = b""
        for key in sorted(self.store.queues, key=zlib.crc32):
            line = b"STAT %b %d/%d\r\n" % (key, *self.store.counters[key])
            if len(listed) + len(line) > LIST_BYTES:
                break
            listed += line
        return listed + END


class Connection:
    """One client: what it sent and is not answered yet, and the answers that it has not read yet."""

    def __init__(self, sock: socket.socket, server: Server, worker: object) -> None:
        self.sock = sock
        self.closing = False
        self.unsent = b""
        self._server = server
        self._worker = worker
        self._received = bytearray()
        self._set: tuple[bytes, int, int] | None = None
        self._swallow = 0
        self._commands: dict[bytes, Callable[[list[bytes]], bytes]] = {
            b"get": self._get,
            b"set": self._begin_set,
            b"delete": self._delete,
            b"stats": self._stats,
            b"version": lambda _: f"VERSION {VERSION}\r\n".encode(),
            b"verbosity": lambda _: b"OK\r\n",
            b"db_checkpoint": lambda _: b"OK\r\n",
            b"db_archive": lambda _: b"OK\r\n",
            b"quit": lambda _: self._quit(),
        }

    def readable(self) -> None:
        """Take what the client sent, and answer it."""
        data = self.sock.recv(65536)
        self._server.figures["bytes_read"] += len(data)
        self._received += data
        self.closing = self.closing or not data
        self.answer()

    def answer(self) -> None:
        """Command by command: what follows one is not read before the client can have the reply."""
        while not self.unsent and not self.closing and (reply := self._next()) is not None:
            self.unsent = reply
            self.flush()

    def flush(self) -> None:
        """Send of the replies what the client takes."""
        if self.unsent:
            with contextlib.suppress(BlockingIOError):
                sent = self.sock.send(self.unsent)
                self._server.figures["bytes_written"] += sent
                self.unsent = self.unsent[sent:]

    def _next(self) -> bytes | None:
        """The reply to the next thing that was received whole; `None` when there is none."""
        swallowed = min(self._swallow, len(self._received))
        del self._received[:swallowed]
        self._swallow -= swallowed
        if self._swallow:
            return None
        if self._set is not None:
            return self._end_set(*self._set)
        end = self._received.find(b"\n")
        if end < 0:
            return None
        line = bytes(self._received[:end]).removesuffix(b"\r")
        del self._received[: end + 1]
        words = [word for word in line.split(b" ") if word]
        command = self._commands.get(words[0]) if words else None
        return ERROR if command is None else command(words)

    # Each command gets the words of its line.

    def _begin_set(self, words: list[bytes]) -> bytes:
        if len(words) != 5:
            return ERROR
        _, key, flag_text, _, size_text = words
        if len(key) > LONGEST_KEY or not size_text.isdigit():
            return BAD_LINE
        self._server.figures["set_cmds"] += 1
        flags = (_number(flag_text) + 2**31) % 2**32 - 2**31
        size = int(size_text)
        if RECORD_OVERHEAD + len(key) + len(str(flags)) + len(str(size)) + size > self._server.store.record:
            self._swallow = size + 2
            return b"SERVER_ERROR out of memory storing object\r\n"
        self._set = (key, flags, size)
        return b""

    def _end_set(self, key: bytes, flags: int, size: int) -> bytes | None:
        if len(self._received) < size + 2:
            return None
        data = bytes(self._received[: size + 2])
        del self._received[: size + 2]
        self._set = None
        if not data.endswith(b"\r\n"):
            return b"CLIENT_ERROR bad data chunk\r\n"
        try:
            with self._server.lock.held(self._worker):
                self._server.store.push(key, flags, data[:-2])
        except CreationFailedError:
            return b"NOT_STORED\r\n"
        self._server.figures["set_hits"] += 1
        return b"STORED\r\n"

    def _get(self, words: list[bytes]) -> bytes:
        if len(words) == 1:
            return ERROR
        values: list[bytes] = []
        for key in words[1:]:
            if len(key) > LONGEST_KEY:
                # The values of the keys before it are sent, and no end.
                return b"".join(values) or BAD_LINE
            self._server.figures["get_cmds"] += 1
            with self._server.lock.held(self._worker):
                found = self._server.store.pop(key)
            if found is not None:
                self._server.figures["get_hits"] += 1
                values.append(b"VALUE %b %d %d\r\n%b\r\n" % (key, found[0], len(found[1]), found[1]))
        return b"".join(values) + END

    def _delete(self, words: list[bytes]) -> bytes:
        if not 2 <= len(words) <= 3:
            return ERROR
        with self._server.lock.held(self._worker):
            return b"DELETED\r\n" if self._server.store.drop(words[1]) else b"NOT_FOUND\r\n"

    def _stats(self, words: list[bytes]) -> bytes:
        if words[1:] == [b"queue"]:
            with self._server.lock.held(self._worker):
                return self._server.stats_queue()
        if words[1:] == [b"reset"]:
            self._server.reset()
            return b"RESET\r\n"
        return ERROR if words[1:] else self._server.stats()

    def _quit(self) -> bytes:
        self.closing = True
        return b""


def _number(text: bytes) -> int:
    return int(text) if text.removeprefix(b"-").isdigit() else 0


class Worker(threading.Thread):
    """Serves its connections one after the other: when one must wait for the global lock, all of them wait."""

    def __init__(self, server: Server) -> None:
        super().__init__(daemon=True)
        self._server = server
        self._selector = selectors.DefaultSelector()
        self._wake_reader, self._wake_writer = socket.socketpair()
        self._selector.register(self._wake_reader, selectors.EVENT_READ)
        self._accepted: deque[socket.socket] = deque()

    def take(self, sock: socket.socket) -> None:
        """Serve one more connection."""
        self._accepted.append(sock)
        self._wake_writer.send(b"x")

    def run(self) -> None:
        """Serve, without an end."""
        while True:
            for key, events in self._selector.select():
                if key.data is None:
                    self._welcome(len(self._wake_reader.recv(4096)))
                else:
                    self._serve(key.data, events)

    def _welcome(self, count: int) -> None:
        for _ in range(count):
            sock = self._accepted.popleft()
            sock.setblocking(False)  # noqa: FBT003 - its only form
            self._selector.register(sock, selectors.EVENT_READ, Connection(sock, self._server, self))
            self._server.connections += 1

    def _serve(self, connection: Connection, events: int) -> None:
        try:
            if events & selectors.EVENT_WRITE:
                connection.flush()
                connection.answer()
            else:
                connection.readable()
        except OSError:
            connection.closing = True
        if connection.closing:
            self._selector.unregister(connection.sock)
            connection.sock.close()
            self._server.connections -= 1
        else:
            wanted = selectors.EVENT_WRITE if connection.unsent else selectors.EVENT_READ
            if self._selector.get_key(connection.sock).events != wanted:
                self._selector.modify(connection.sock, wanted, connection)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-p", type=int, default=22201, metavar="PORT")
    parser.add_argument("-l", default="0.0.0.0", metavar="ADDRESS")  # noqa: S104 - as the real one, for a container
    parser.add_argument("-s", metavar="PATH", help="a Unix socket instead of a port")
    parser.add_argument("-H", type=Path, required=True, metavar="FOLDER", help="the store; its parent must exist")
    parser.add_argument("-B", type=int, default=1024, metavar="BYTES", help="length of a record")
    parser.add_argument("-A", type=int, default=4096, metavar="BYTES", help="size of a page")
    parser.add_argument("-t", type=int, default=4, metavar="COUNT", help="workers")
    parser.add_argument("-S", type=float, default=30.0, metavar="SECONDS", help="between two dumps of the counters")
    parser.add_argument("-N", action="store_true", help="do not sync the disk")
    parser.add_argument("-R", action="store_true", help="accepted: there are no old logs to be removed")
    parser.add_argument("-u", metavar="USER", help="accepted: the user stays as it is")
    return parser.parse_args()


def _listener(arguments: argparse.Namespace) -> socket.socket:
    if arguments.s is None:
        listener = socket.create_server((arguments.l, arguments.p), backlog=1024)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # what it accepts inherits that
        return listener
    path = Path(arguments.s)
    if path.exists() and stat.S_ISSOCK(path.stat().st_mode):
        path.unlink()
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(arguments.s)
    listener.listen(1024)
    return listener


def main() -> None:
    """Serve until SIGTERM."""
    arguments = _arguments()
    server = Server(Store(arguments.H, record=arguments.B, page=arguments.A, sync=not arguments.N), arguments.t)
    workers = [Worker(server) for _ in range(arguments.t)]
    for worker in workers:
        worker.start()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    listener = _listener(arguments)
    threading.Thread(target=_dump_now_and_then, args=(server.store, arguments.S), daemon=True).start()
    try:
        for worker in itertools.cycle(workers):
            sock, _ = listener.accept()
            server.accepted += 1
            worker.take(sock)
    finally:
        server.store.dump_counters()


def _dump_now_and_then(store: Store, seconds: float) -> None:
    while True:
        time.sleep(seconds)
        store.dump_counters()


if __name__ == "__main__":
    main()
