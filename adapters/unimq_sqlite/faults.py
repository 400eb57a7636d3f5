"""SQLite's errors in our words: what happened to which file, and what to do about it."""

import errno
import sqlite3
from typing import Final

from unimq.errors import ConnectError, ConnectionLost, ServerError, StorageError, Timeout, TooLarge, UnimqError

__all__ = ["is_busy", "locked", "translate", "unusable"]

_MASK: Final = 0xFF
"""Extended error codes have the primary code in their low byte."""
_BUSY: Final = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL})
_ADVICE: Final = {
    sqlite3.SQLITE_FULL: "the disk is full: free some space, nothing of this call was stored",
    sqlite3.SQLITE_READONLY: "the file or its directory is read-only: change its permissions",
    sqlite3.SQLITE_PERM: "the permissions do not allow it: change them",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened: check the path, and the permissions of the file and its directory",
    sqlite3.SQLITE_NOTADB: "it is no SQLite database: name another file",
    sqlite3.SQLITE_CORRUPT: "it is damaged: restore it from a backup, or salvage it with `sqlite3 FILE .recover`",
    sqlite3.SQLITE_IOERR: "the disk reported an error: look into the system's log",
}

_ERRNO: Final = {
    sqlite3.SQLITE_FULL: errno.ENOSPC,
    sqlite3.SQLITE_READONLY: errno.EROFS,
    sqlite3.SQLITE_PERM: errno.EACCES,
    sqlite3.SQLITE_IOERR: errno.EIO,
}
"""SQLite does not tell the system's own number; this is what it stands for."""


def is_busy(error: sqlite3.Error) -> bool:
    """Whether somebody else holds a lock, so that the same call may succeed in a moment."""
    return _code(error) in _BUSY


def translate(error: sqlite3.Error, path: str) -> UnimqError:
    """Our error for one of SQLite's. It is in doubt only where the disk failed, perhaps after the commit."""
    code = _code(error)
    where = f"sqlite store {path!r}"
    if code in _BUSY:
        return locked(path)
    if code == sqlite3.SQLITE_TOOBIG or isinstance(error, sqlite3.DataError):
        return TooLarge(f"{where}: {error}: send a reference to it instead")
    if isinstance(error, sqlite3.ProgrammingError):
        return ConnectionLost(f"{where}: {error}")
    if code in _ADVICE:
        text = f"{where}: {_ADVICE[code]} ({error})"
        return unusable(text, _ERRNO.get(code), in_doubt=code == sqlite3.SQLITE_IOERR)
    if isinstance(error, sqlite3.OperationalError) and "no such table" in str(error):
        return ConnectError(f"{where}: its tables are gone ({error}): was the file replaced?")
    return ServerError(f"{where}: {error}")


def unusable(text: str, number: int | None, *, in_doubt: bool = False) -> StorageError:
    """The store cannot be used; `number` is the system's for that, of the module errno."""
    error = StorageError(text, in_doubt=in_doubt)
    error.errno = number
    return error


def locked(path: str) -> Timeout:
    """Others had the lock all the time. The connection is as good as before."""
    error = Timeout(
        f"sqlite store {path!r} was locked until the deadline, by others that write to it or by one that keeps a "
        "transaction open: nothing was done, try again"
    )
    error.ends_session = False
    return error


def _code(error: sqlite3.Error) -> int:
    return getattr(error, "sqlite_errorcode", 0) & _MASK
