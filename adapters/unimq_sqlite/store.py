"""A connection to a store: opened and checked, its errors translated, its waits for the write lock bounded."""

import contextlib
import errno
import os
import re
import sqlite3
import stat
import time
from collections.abc import Callable, Generator
from typing import Any, Final, TypeVar

from unimq.errors import ConnectionLost, StorageError
from unimq_sqlite import schema
from unimq_sqlite.faults import is_busy, locked, translate, unusable
from unimq_sqlite.sharing import bell

__all__ = ["Store", "open_store", "translate"]

R = TypeVar("R")

_OLDEST: Final = (3, 35, 0)
"""The first SQLite with RETURNING."""
_SMALLEST: Final = 512
"""Bytes of the smallest page."""
_TABLES: Final = "SELECT count(*), count(*) FILTER (WHERE name = 'unimq_meta') FROM sqlite_master"
_FREE: Final = (0, schema.APPLICATION_ID)
"""The application ids of a file without tables that may become ours."""
_MOUNTS: Final = "/proc/self/mountinfo"
_OCTAL: Final = re.compile(r"\\([0-7]{3})")
"""How it writes a space and the like."""
_PATIENCE: Final = 0.05
"""Seconds that a call whose deadline is over still waits for a lock: others hold it for a commit, as a rule."""
_MOMENT: Final = 0.02
"""Seconds after which one who wants a message looks whether there still is one, or he waited for a lock in vain."""
_PAUSE_LEAST: Final = 0.0005
_PAUSE_MOST: Final = 0.005
_PAUSE_GROWS: Final = 1.05
"""Seconds between two attempts to get the lock: often at first, because it is free for a moment only where many write,
and each holds it for the time of a commit."""
_CACHE_KIB: Final = 16384
_LOG_BYTES: Final = 8 << 20
"""What the log shrinks to after a long reader had let it grow; in use it has 4 MiB."""
_CHECK_EVERY: Final = 1.0
"""Seconds after which a put makes sure that the file is still at its path."""


class Store:
    """One connection."""

    def __init__(self, connection: sqlite3.Connection, path: str) -> None:
        self.connection = connection
        self.execute = connection.execute
        self.path = path
        self._turn = bell(path).turn
        self._where = os.path.abspath(path)  # noqa: PTH100 - pathlib costs 5 ms of import
        self._identity: tuple[int, int] | None = None
        self._check_at = 0.0

    def attempt(self, work: Callable[[], R]) -> R | None:
        """The result of a statement that writes, or `None` when somebody else has held the lock for 20 ms."""
        until = time.monotonic() + _MOMENT
        try:
            if not self._turn.take(until):
                return None
            return self._write(until, work)
        except sqlite3.Error as error:
            if is_busy(error):
                return None
            raise translate(error, self.path) from error
        finally:
            self._turn.give()

    def run(self, deadline: float, work: Callable[[], R]) -> R:
        """The result of a statement that writes, tried again while somebody else holds the lock.

        `work` reads the clock itself where the time matters, because it may have waited.

        Raises:
            Timeout: the lock was held until `deadline`, or for 50 ms when that is over already.
        """
        try:
            self._take_turn(deadline)
            return self._write(deadline, work)
        except sqlite3.Error as error:
            raise translate(error, self.path) from error
        finally:
            self._turn.give()

    def _take_turn(self, deadline: float) -> None:
        if not self._turn.take(deadline):
            raise locked(self.path)

    def _write(self, deadline: float, work: Callable[[], R]) -> R:
        """Do it with the turn that was taken; a statement that returns rows is open until the last was fetched."""
        self._turn.inside = True
        try:
            return _when_free(deadline, work)
        finally:
            self._turn.inside = False

    def write(self, deadline: float, statement: str, values: tuple[Any, ...]) -> sqlite3.Cursor:
        """Execute one statement that returns no rows; `run` without the cost of a closure when nothing is locked."""
        try:
            self._take_turn(deadline)
            try:
                return self.execute(statement, values)
            except sqlite3.Error as error:
                if not is_busy(error):
                    raise
            return _when_free(deadline, lambda: self.execute(statement, values))
        except sqlite3.Error as error:
            raise translate(error, self.path) from error
        finally:
            self._turn.give()

    def rows(self, deadline: float, statement: str, values: tuple[Any, ...] = ()) -> list[Any]:
        """What a statement returns; fetching all ends it, an open cursor would keep its transaction open."""
        return self.read(deadline, lambda: self.execute(statement, values).fetchall())

    def read(self, deadline: float, work: Callable[[], R]) -> R:
        """The result of what only reads: no turn is needed, and a lock is in the way only while the file is made."""
        try:
            return _when_free(deadline, work)
        except sqlite3.Error as error:
            raise translate(error, self.path) from error

    @contextlib.contextmanager
    def transaction(self, deadline: float) -> Generator[None]:
        """Several statements in one transaction; undone when the block raises."""
        turn, began = self._turn, False
        try:
            self._take_turn(deadline)
            began = turn.inside = True
            _when_free(deadline, lambda: self.execute("BEGIN IMMEDIATE"))
            yield
            self.execute("COMMIT")
        except BaseException as error:
            if began:
                with contextlib.suppress(sqlite3.Error):
                    self.execute("ROLLBACK")
            if isinstance(error, sqlite3.Error):
                raise translate(error, self.path) from error
            raise
        finally:
            if began:
                turn.inside = False
            turn.give()

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


def _when_free(deadline: float, work: Callable[[], R]) -> R:
    """Do it, again and again while another process holds SQLite's lock: until `deadline`, and for 50 ms at least."""
    until, pause = 0.0, _PAUSE_LEAST
    while True:
        try:
            return work()
        except sqlite3.Error as error:
            until = until or max(deadline, time.monotonic() + _PATIENCE)
            if not is_busy(error) or time.monotonic() >= until:
                raise
        time.sleep(min(pause, max(0.0, until - time.monotonic())))
        pause = min(pause * _PAUSE_GROWS, _PAUSE_MOST)


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
    connection.text_factory = _text
    store = Store(connection, path)
    try:
        _prepare(store, shared=shared, durability=durability, deadline=deadline)
        store.check()
    except BaseException:
        connection.close()
        raise
    return store


def _text(raw: bytes) -> str:
    """A text of the store, which a foreign program may have written: it must not block what is beside it."""
    return raw.decode(errors="replace")


def _check_path(path: str) -> None:
    if sqlite3.sqlite_version_info < _OLDEST:
        msg = f"SQLite {sqlite3.sqlite_version} is too old: at least 3.35 is needed; use a newer Python build"
        raise StorageError(msg)
    if os.path.basename(path) in ("", ":memory:"):  # noqa: PTH119 - pathlib costs 5 ms of import
        msg = f"sqlite:///{path}: a store needs a file, as in sqlite:///jobs.db; in memory there is memory://"
        raise StorageError(msg)
    if "\0" in path:
        msg = f"sqlite store {path!r}: a path has no NUL character: name another file"
        raise StorageError(msg)
    folder = os.path.dirname(path) or "."  # noqa: PTH120
    if not os.path.isdir(folder):  # noqa: PTH112
        msg = f"sqlite store {path!r}: the directory {folder!r} does not exist: create it first"
        raise unusable(msg, errno.ENOENT)
    if os.path.exists(path):  # noqa: PTH110
        _check_file(path)


def _check_file(path: str) -> None:
    found = os.stat(path)  # noqa: PTH116
    if stat.S_ISREG(found.st_mode) and 0 < found.st_size < _SMALLEST:
        # SQLite would take it for an empty one, and write over it. Its first bytes are not looked at: closing a file
        # that was opened here would end the locks of this process's other connections to it.
        msg = f"sqlite store {path!r}: it is no SQLite database, it has less than {_SMALLEST} bytes: name another file"
        raise StorageError(msg)
    if not stat.S_ISREG(found.st_mode):
        msg = f"sqlite store {path!r}: it is a directory or a device, and no file: name a file, as in sqlite:///jobs.db"
        raise unusable(msg, errno.EISDIR if stat.S_ISDIR(found.st_mode) else errno.EINVAL)
    # SQLite keeps the log of what was committed beside the name: under two names there are two, and both lose.
    if found.st_nlink > 1:
        names = f"{found.st_nlink} names (hard links)"
    elif _is_mounted(os.path.realpath(path)):
        names = "a mount of its own, so that it has another name elsewhere"
    else:
        return
    msg = f"sqlite store {path!r}: the file has {names}, where messages get lost: share or mount its directory instead"
    raise StorageError(msg)


def _is_mounted(path: str) -> bool:
    """Whether that very file is a mount point, as containers mount single files."""
    try:
        with open(_MOUNTS, encoding="utf-8", errors="surrogateescape") as mounts:  # noqa: PTH123
            points = [line.split()[4] for line in mounts]
    except OSError:
        return False  # no Linux, and no such mounts
    return any(_OCTAL.sub(lambda found: chr(int(found[1], 8)), point) == path for point in points)


def _prepare(store: Store, *, shared: bool, durability: str, deadline: float) -> None:
    current = store.read(deadline, lambda: _checked_version(store, shared=shared)[0])
    mode = store.rows(deadline, "PRAGMA journal_mode = WAL")[0][0]
    if mode != "wal":
        msg = (
            f"sqlite store {store.path!r}: SQLite cannot keep a write-ahead log there (journal_mode is {mode}): "
            "use a file on a local disk, not on a network file system"
        )
        raise StorageError(msg)
    store.run(deadline, lambda: store.execute(f"PRAGMA synchronous = {durability.upper()}"))
    store.run(deadline, lambda: store.execute(f"PRAGMA cache_size = -{_CACHE_KIB}"))
    store.run(deadline, lambda: store.execute(f"PRAGMA journal_size_limit = {_LOG_BYTES}"))
    if current != schema.VERSION:
        _migrate(store, shared=shared, deadline=deadline)


def _migrate(store: Store, *, shared: bool, deadline: float) -> None:
    with store.transaction(deadline):
        # Looked at again: another process may have been faster.
        current, is_new = _checked_version(store, shared=shared)
        if is_new:
            store.execute(f"PRAGMA application_id = {schema.APPLICATION_ID}")
        if current != schema.VERSION:
            schema.create(store.connection, current or 0)


def _checked_version(store: Store, *, shared: bool) -> tuple[int | None, bool]:
    """The version of the tables, `None` when there are none yet, and whether the file has nothing else either.

    Refused when they are not ours to make or to read. One statement looks for both, or somebody who makes the tables
    between two of them would be taken for somebody else.
    """
    tables, ours = store.execute(_TABLES).fetchall()[0]
    try:
        version = schema.version_of(store.connection) if ours else None
    except StorageError as error:
        msg = f"sqlite store {store.path!r}: {error}"
        raise StorageError(msg) from None
    if version is None:
        if not shared and (tables or store.execute("PRAGMA application_id").fetchall()[0][0] not in _FREE):
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
    return version, not tables
