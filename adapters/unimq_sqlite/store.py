"""A connection to a store: opened and checked, its errors translated, its waits for the write lock bounded."""

import contextlib
import os
import sqlite3
import time
from collections.abc import Callable, Generator
from typing import Any, Final, TypeVar

from unimq.errors import ConnectError, ConnectionLost, ServerError, StorageError, Timeout, TooLarge, UnimqError
from unimq_sqlite import schema

__all__ = ["Store", "open_store", "translate"]

R = TypeVar("R")

_OLDEST: Final = (3, 35, 0)
"""The first SQLite with RETURNING."""
_BUSY_SLICE_MS: Final = 50
"""How long SQLite itself waits for the lock before the deadline is looked at again."""
_CACHE_KIB: Final = 16384
_MASK: Final = 0xFF
"""Extended error codes have the primary code in their low byte."""


class Store:
    """One connection."""

    def __init__(self, connection: sqlite3.Connection, path: str) -> None:
        self.connection = connection
        self.execute = connection.execute
        self.path = path

    def write(self, deadline: float, statement: str, values: tuple[Any, ...]) -> sqlite3.Cursor:
        """Execute one statement that returns no rows; `run` without the cost of a closure when nothing is locked."""
        try:
            return self.execute(statement, values)
        except sqlite3.Error:
            return self.run(deadline, lambda: self.execute(statement, values))

    def run(self, deadline: float, work: Callable[[], R]) -> R:
        """Run one statement, waiting for the write lock until `deadline`, at least once."""
        while True:
            try:
                return work()
            except sqlite3.Error as error:
                if not _is_busy(error) or time.monotonic() >= deadline:
                    raise translate(error, self.path) from error

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


def open_store(path: str, *, shared: bool, durability: str, deadline: float) -> Store:
    """Connect to the file, and make or migrate its tables where that is needed.

    Raises:
        StorageError: it cannot be opened, is no store of ours, is of a newer version, or cannot be written.
        Timeout: another process kept it locked until the deadline.
    """
    if sqlite3.sqlite_version_info < _OLDEST:
        msg = f"SQLite {sqlite3.sqlite_version} is too old: at least 3.35 is needed; use a newer Python build"
        raise StorageError(msg)
    if path in ("", ":memory:"):
        msg = f"sqlite:///{path}: a store needs a file, as in sqlite:///jobs.db; in memory there is memory://"
        raise StorageError(msg)
    folder = os.path.dirname(path) or "."  # noqa: PTH120 - pathlib costs 5 ms of import
    if not os.path.isdir(folder):  # noqa: PTH112
        msg = f"sqlite store {path!r}: the directory {folder!r} does not exist: create it first"
        raise StorageError(msg)
    try:
        connection = sqlite3.connect(
            path, timeout=_BUSY_SLICE_MS / 1000, isolation_level=None, check_same_thread=False, cached_statements=64
        )
    except sqlite3.Error as error:
        raise translate(error, path) from error
    store = Store(connection, path)
    try:
        _prepare(store, shared=shared, durability=durability, deadline=deadline)
    except BaseException:
        connection.close()
        raise
    return store


def _prepare(store: Store, *, shared: bool, durability: str, deadline: float) -> None:
    execute = store.execute
    _check_version(store, store.run(deadline, lambda: schema.version_of(store.connection)), shared=shared)
    store.run(deadline, lambda: execute("PRAGMA journal_mode = WAL").fetchall())
    store.run(deadline, lambda: execute(f"PRAGMA synchronous = {durability.upper()}"))
    store.run(deadline, lambda: execute(f"PRAGMA cache_size = -{_CACHE_KIB}"))
    if store.run(deadline, lambda: schema.version_of(store.connection)) == schema.VERSION:
        return
    with store.transaction(deadline):
        # Looked at again: another process may have been faster.
        version = schema.version_of(store.connection)
        _check_version(store, version, shared=shared)
        if version != schema.VERSION:
            schema.create(store.connection, version or 0)


def _check_version(store: Store, version: int | None, *, shared: bool) -> None:
    if version is None:
        others = store.execute("SELECT count(*) FROM sqlite_master").fetchall()[0][0]
        if others and not shared:
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


def _is_busy(error: sqlite3.Error) -> bool:
    return _code(error) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def _code(error: sqlite3.Error) -> int:
    return getattr(error, "sqlite_errorcode", 0) & _MASK


_ADVICE: Final = {
    sqlite3.SQLITE_FULL: "the disk is full: free some space, nothing of this call was stored",
    sqlite3.SQLITE_READONLY: "the file or its directory is read-only: change its permissions",
    sqlite3.SQLITE_PERM: "the permissions do not allow it",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened: check the path and its permissions",
    sqlite3.SQLITE_NOTADB: "it is no SQLite database: name another file",
    sqlite3.SQLITE_CORRUPT: "it is damaged: restore it from a backup, or salvage it with `sqlite3 FILE .recover`",
    sqlite3.SQLITE_IOERR: "the disk reported an error",
}


def translate(error: sqlite3.Error, path: str) -> UnimqError:
    """Our error for one of SQLite's."""
    code = _code(error)
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return Timeout(f"sqlite store {path!r} was locked by another process until the deadline")
    if code == sqlite3.SQLITE_TOOBIG or isinstance(error, OverflowError):
        return TooLarge(f"sqlite store {path!r}: {error}")
    if isinstance(error, sqlite3.ProgrammingError):
        return ConnectionLost(f"sqlite store {path!r}: {error}")
    if code in _ADVICE:
        return StorageError(f"sqlite store {path!r}: {_ADVICE[code]} ({error})")
    if isinstance(error, sqlite3.OperationalError) and "no such table" in str(error):
        return ConnectError(f"sqlite store {path!r}: its tables are gone ({error}): was the file replaced?")
    return ServerError(f"sqlite store {path!r}: {error}")
