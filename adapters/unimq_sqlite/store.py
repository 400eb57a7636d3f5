"""A connection to a store: opened and checked, its errors translated, its waits for the write lock bounded."""

import contextlib
import os
import sqlite3
import time
from collections.abc import Callable, Generator
from typing import Any, Final, TypeVar

from unimq.errors import ConnectionLost, StorageError
from unimq_sqlite import schema
from unimq_sqlite.faults import is_busy, translate

__all__ = ["Store", "open_store", "translate"]

R = TypeVar("R")

_OLDEST: Final = (3, 35, 0)
"""The first SQLite with RETURNING."""
_SMALLEST: Final = 512
"""Bytes of the smallest page."""
_PATIENCE: Final = 0.05
"""Seconds that a call whose deadline is over still waits for a lock: others hold it for a commit, as a rule."""
_PAUSE_LEAST: Final = 0.0005
_PAUSE_MOST: Final = 0.005
_PAUSE_GROWS: Final = 1.05
"""Seconds between two attempts to get the lock: often at first, because it is free for a moment only where many write,
and each holds it for the time of a commit."""
_CACHE_KIB: Final = 16384
_CHECK_EVERY: Final = 1.0
"""Seconds after which a put makes sure that the file is still at its path."""


class Store:
    """One connection."""

    def __init__(self, connection: sqlite3.Connection, path: str) -> None:
        self.connection = connection
        self.execute = connection.execute
        self.path = path
        self._where = os.path.abspath(path)  # noqa: PTH100 - pathlib costs 5 ms of import
        self._identity: tuple[int, int] | None = None
        self._check_at = 0.0

    def attempt(self, work: Callable[[], R]) -> R | None:
        """The result of a statement, or `None` when somebody else holds the lock."""
        try:
            return work()
        except sqlite3.Error as error:
            if is_busy(error):
                return None
            raise translate(error, self.path) from error

    def run(self, deadline: float, work: Callable[[], R]) -> R:
        """The result of one statement, tried again while somebody else holds the lock.

        `work` reads the clock itself where the time matters, because it may have waited.

        Raises:
            Timeout: the lock was held until `deadline`, or for 50 ms when that is over already.
        """
        try:
            return work()
        except sqlite3.Error as error:
            if not is_busy(error):
                raise translate(error, self.path) from error
        return self._run_when_free(deadline, work)

    def _run_when_free(self, deadline: float, work: Callable[[], R]) -> R:
        until = max(deadline, time.monotonic() + _PATIENCE)
        pause = _PAUSE_LEAST
        while True:
            time.sleep(min(pause, max(0.0, until - time.monotonic())))
            pause = min(pause * _PAUSE_GROWS, _PAUSE_MOST)
            try:
                return work()
            except sqlite3.Error as error:
                if not is_busy(error) or time.monotonic() >= until:
                    raise translate(error, self.path) from error

    def write(self, deadline: float, statement: str, values: tuple[Any, ...]) -> sqlite3.Cursor:
        """Execute one statement that returns no rows; `run` without the cost of a closure when nothing is locked."""
        try:
            return self.execute(statement, values)
        except sqlite3.Error as error:
            if not is_busy(error):
                raise translate(error, self.path) from error
        return self._run_when_free(deadline, lambda: self.execute(statement, values))

    def rows(self, deadline: float, statement: str, values: tuple[Any, ...] = ()) -> list[Any]:
        """What a statement returns; fetching all ends it, an open cursor would keep its transaction open."""
        return self.run(deadline, lambda: self.execute(statement, values).fetchall())

    @contextlib.contextmanager
    def transaction(self, deadline: float) -> Generator[None]:
        """Several statements in one transaction; undone when the block raises."""
        self.run(deadline, lambda: self.execute("BEGIN IMMEDIATE"))
        try:
            yield
            self.execute("COMMIT")
        except BaseException as error:
            with contextlib.suppress(sqlite3.Error):
                self.execute("ROLLBACK")
            if isinstance(error, sqlite3.Error):
                raise translate(error, self.path) from error
            raise

    def check_now_and_then(self) -> None:
        """`check`, at most once a second."""
        now = time.monotonic()
        if now >= self._check_at:
            self._check_at = now + _CHECK_EVERY
            self.check()

    def check(self) -> None:
        """Raise `ConnectionLost` when the file is no longer at its path: what is put into a removed file is lost."""
        try:
            found = os.stat(self._where)  # noqa: PTH116 - as above
            identity = found.st_dev, found.st_ino
        except OSError:
            identity = 0, 0
        if self._identity is None:
            self._identity = identity
        elif identity != self._identity:
            msg = f"sqlite store {self.path!r} was removed or replaced while it was open"
            raise ConnectionLost(msg)


def open_store(path: str, *, shared: bool, durability: str, deadline: float) -> Store:
    """Connect to the file, and make or migrate its tables where that is needed.

    Raises:
        StorageError: it cannot be opened, is no store of ours, is of a newer version, or cannot be written.
        Timeout: another process kept it locked until the deadline.
    """
    _check_path(path)
    try:
        # Waiting for locks is done in `Store.run`, where a deadline and Ctrl-C are looked at.
        connection = sqlite3.connect(
            path, timeout=0, isolation_level=None, check_same_thread=False, cached_statements=64
        )
    except sqlite3.Error as error:
        raise translate(error, path) from error
    store = Store(connection, path)
    try:
        _prepare(store, shared=shared, durability=durability, deadline=deadline)
        store.check()
    except BaseException:
        connection.close()
        raise
    return store


def _check_path(path: str) -> None:
    if sqlite3.sqlite_version_info < _OLDEST:
        msg = f"SQLite {sqlite3.sqlite_version} is too old: at least 3.35 is needed; use a newer Python build"
        raise StorageError(msg)
    if path in ("", ":memory:"):
        msg = f"sqlite:///{path}: a store needs a file, as in sqlite:///jobs.db; in memory there is memory://"
        raise StorageError(msg)
    if "\0" in path:
        msg = f"sqlite store {path!r}: a path has no NUL character: name another file"
        raise StorageError(msg)
    folder = os.path.dirname(path) or "."  # noqa: PTH120 - pathlib costs 5 ms of import
    if not os.path.isdir(folder):  # noqa: PTH112
        msg = f"sqlite store {path!r}: the directory {folder!r} does not exist: create it first"
        raise StorageError(msg)
    if os.path.isfile(path) and 0 < os.path.getsize(path) < _SMALLEST:  # noqa: PTH113, PTH202
        # SQLite would take it for an empty one, and write over it. Its first bytes are not looked at: closing a file
        # that was opened here would end the locks of this process's other connections to it.
        msg = f"sqlite store {path!r}: it is no SQLite database, it has less than {_SMALLEST} bytes: name another file"
        raise StorageError(msg)


def _prepare(store: Store, *, shared: bool, durability: str, deadline: float) -> None:
    current = store.run(deadline, lambda: _checked_version(store, shared=shared))
    mode = store.rows(deadline, "PRAGMA journal_mode = WAL")[0][0]
    if mode != "wal":
        msg = (
            f"sqlite store {store.path!r}: SQLite cannot keep a write-ahead log there (journal_mode is {mode}): "
            "use a file on a local disk, not on a network file system"
        )
        raise StorageError(msg)
    store.run(deadline, lambda: store.execute(f"PRAGMA synchronous = {durability.upper()}"))
    store.run(deadline, lambda: store.execute(f"PRAGMA cache_size = -{_CACHE_KIB}"))
    if current != schema.VERSION:
        _migrate(store, shared=shared, deadline=deadline)


def _migrate(store: Store, *, shared: bool, deadline: float) -> None:
    with store.transaction(deadline):
        # Looked at again: another process may have been faster.
        current = _checked_version(store, shared=shared)
        if current is None and not _has_tables(store):
            store.execute(f"PRAGMA application_id = {schema.APPLICATION_ID}")
        if current != schema.VERSION:
            schema.create(store.connection, current or 0)


def _checked_version(store: Store, *, shared: bool) -> int | None:
    """The version of the tables, `None` when there are none yet; refused when they are not ours to make or to read."""
    version = schema.version_of(store.connection)
    if version is None:
        if not shared and _has_tables(store):
            msg = (
                f"sqlite store {store.path!r} is a database of something else: name another file, "
                "or add ?shared=true to keep the queues inside it"
            )
            raise StorageError(msg)
    elif version > schema.VERSION:
        msg = (
            f"sqlite store {store.path!r} has version {version} of the tables, this unimq knows up to "
            f"{schema.VERSION}: upgrade unimq"
        )
        raise StorageError(msg)
    return version


def _has_tables(store: Store) -> bool:
    return bool(store.execute("SELECT count(*) FROM sqlite_master").fetchall()[0][0])
