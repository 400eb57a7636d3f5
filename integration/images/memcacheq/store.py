"""What the stand-in stores: queues, their counters, and the lock of all queue commands."""

import contextlib
import itertools
import json
import os
import re
import struct
import threading
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Final

__all__ = ["CreationFailedError", "GlobalLock", "Store"]

PAGE_OVERHEAD: Final = 29
"""A page of `-A` bytes takes a record of 29 fewer."""
RESERVED: Final = re.compile(rb"queue\.list|log\.[0-9]{10}|__db.*|.*/.*|.{248,}", re.DOTALL)
"""Names that cannot be made files in the directory of the store."""
HEAD: Final = struct.Struct("!cHiI")


class CreationFailedError(Exception):
    """A queue could not be made; it stays with the worker that tried."""


class GlobalLock:
    """The lock of all queue commands, which a failed creation leaves with its worker."""

    def __init__(self, workers: int) -> None:
        self._several = workers > 1
        self._condition = threading.Condition()
        self._left_with: object = None

    @contextlib.contextmanager
    def held(self, worker: object) -> Iterator[None]:
        """Hold it for one command; what a failed creation left with `worker` is given up."""
        with self._condition:
            while self._left_with not in {None, worker}:
                self._condition.wait()
            self._left_with = None
            self._condition.notify_all()
            try:
                yield
            except CreationFailedError:
                self._left_with = worker if self._several else None
                raise


class Store:
    """The queues, and a log of what was done to them, read again at the start. Its user holds the global lock."""

    def __init__(self, folder: Path, *, record: int, page: int, sync: bool) -> None:
        self.queues: dict[bytes, deque[tuple[int, bytes]]] = {}
        self.counters: dict[bytes, list[int]] = {}
        self.record = record
        self._fits = record <= page - PAGE_OVERHEAD
        self._sync = sync
        folder.mkdir(exist_ok=True)
        self._path, self._counters_path = folder / "messages", folder / "counters"
        self._replay()
        self._log = os.open(self._path, os.O_WRONLY | os.O_APPEND)

    def push(self, key: bytes, flags: int, body: bytes) -> None:
        """Add a message, and the queue with the first one."""
        if key not in self.queues:
            if not self._fits or RESERVED.fullmatch(key):
                raise CreationFailedError
            self.queues[key], self.counters[key] = deque(), [0, 0]
        self._write(_entry(b"S", key, flags, body))
        self.queues[key].append((flags, body))
        self.counters[key][0] += 1

    def pop(self, key: bytes) -> tuple[int, bytes] | None:
        """Remove the oldest message: its flags and body."""
        if not self.queues.get(key):
            return None
        self._write(_entry(b"G", key))
        self.counters[key][1] += 1
        return self.queues[key].popleft()

    def drop(self, key: bytes) -> bool:
        """Remove a queue; whether there was one."""
        if key not in self.queues:
            return False
        self._write(_entry(b"D", key))
        del self.queues[key], self.counters[key]
        return True

    def dump_counters(self) -> None:
        """What a kill leaves of them."""
        new = self._counters_path.with_suffix(".new")
        new.write_text(json.dumps({key.decode("latin-1"): counts for key, counts in dict(self.counters).items()}))
        new.replace(self._counters_path)

    def _write(self, entry: bytes) -> None:
        os.write(self._log, entry)
        if self._sync:
            os.fdatasync(self._log)

    def _replay(self) -> None:
        for kind, key, flags, body in _entries(self._path.read_bytes() if self._path.exists() else b""):
            if kind == b"S":
                self.queues.setdefault(key, deque()).append((flags, body))
            elif kind == b"G":
                self.queues[key].popleft()
            else:
                del self.queues[key]
        dumped = json.loads(self._counters_path.read_text()) if self._counters_path.exists() else {}
        self.counters = {key: dumped.get(key.decode("latin-1"), [0, 0]) for key in self.queues}
        new = self._path.with_suffix(".new")
        # A queue that is empty is still one: a set and a get of nothing make it again.
        made = {key: [_entry(b"S", key), _entry(b"G", key)] for key in self.queues}
        for key, messages in self.queues.items():
            made[key] += [_entry(b"S", key, flags, body) for flags, body in messages]
        new.write_bytes(b"".join(itertools.chain.from_iterable(made.values())))
        new.replace(self._path)


def _entry(kind: bytes, key: bytes, flags: int = 0, body: bytes = b"") -> bytes:
    return HEAD.pack(kind, len(key), flags, len(body)) + key + body


def _entries(log: bytes) -> Iterator[tuple[bytes, bytes, int, bytes]]:
    """Those that were written to their ends; a kill may have cut the last one."""
    at = 0
    while at + HEAD.size <= len(log):
        kind, key_size, flags, size = HEAD.unpack_from(log, at)
        key_at = at + HEAD.size
        at = key_at + key_size + size
        if at <= len(log):
            yield kind, log[key_at : key_at + key_size], flags, log[key_at + key_size : at]
