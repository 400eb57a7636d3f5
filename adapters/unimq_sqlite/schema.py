"""The tables and their versions. A file is ours when it has `unimq_meta`; its version is in there.

The version is not in `PRAGMA user_version`, because that belongs to the application where the tables live inside its
own database. A file of ours alone carries `PRAGMA application_id`, so that `file` and others can tell what it is.

One table holds every message. `due` is the time (Unix epoch, seconds) when the message changes by itself: a delay or a
lease ends, or what waits expires; `NEVER` where nothing will happen. The two partial indexes keep the cost of a get
independent of how many messages wait, are delayed or are leased.

`due` is never null, and `state` is one of 0, 1 and 2, so that leasing a message does not change the size of its row:
SQLite then rewrites the few bytes that differ, and not a body of many pages (measured: five times faster at 64 KiB).
"""

import sqlite3
from typing import Final

from unimq.errors import StorageError

__all__ = [
    "APPLICATION_ID",
    "DELAYED",
    "LEASED",
    "MIGRATIONS",
    "NEVER",
    "READY",
    "VERSION",
    "Row",
    "create",
    "version_of",
]

READY: Final = 0
LEASED: Final = 1
DELAYED: Final = 2
NEVER: Final = 1e300
"""The `due` of what changes only when somebody does something."""
APPLICATION_ID: Final = 0x756E696D
"""Bytes 68 to 71 of a file of ours: "unim"."""

MIGRATIONS: Final[tuple[tuple[str, ...], ...]] = (
    (
        """CREATE TABLE unimq_messages (
            seq INTEGER PRIMARY KEY,
            queue TEXT NOT NULL,
            rank INTEGER NOT NULL,
            due REAL NOT NULL,
            state INTEGER NOT NULL,
            nonce INTEGER NOT NULL,
            count INTEGER NOT NULL,
            own_id TEXT,
            expires REAL,
            enqueued REAL NOT NULL,
            headers BLOB,
            body BLOB NOT NULL
        )""",
        "CREATE INDEX unimq_ready ON unimq_messages (queue, rank, seq) WHERE state = 0",
        "CREATE INDEX unimq_due ON unimq_messages (queue, due, state) WHERE due < 1e300",
        "CREATE INDEX unimq_own_id ON unimq_messages (queue, own_id) WHERE own_id IS NOT NULL",
    ),
)
"""What leads from each version to the next; version 0 is a database without our tables."""

VERSION: Final = len(MIGRATIONS)

Row = tuple[int, int, int, int, "str | None", "float | None", float, "bytes | None", bytes]
"""seq, rank, nonce, count, own_id, expires, enqueued, headers, body."""


def version_of(connection: sqlite3.Connection) -> int | None:
    """The version of our tables; `None` when there are none.

    Raises:
        StorageError: a table of that name does not say.
    """
    cursor = connection.cursor()
    cursor.row_factory = None  # the connection may be an application's, with rows of its own kind
    if not cursor.execute("SELECT 1 FROM sqlite_master WHERE name = 'unimq_meta'").fetchall():
        return None
    try:
        found = cursor.execute("SELECT value FROM unimq_meta WHERE name = 'version'").fetchall()
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_ERROR:  # no such column
            raise
        found = []
    if not found or type(found[0][0]) is not int or found[0][0] < 1:
        msg = "its table unimq_meta has no version of the tables: restore the file from a backup, or name another one"
        raise StorageError(msg)
    return found[0][0]


def create(connection: sqlite3.Connection, current: int) -> None:
    """Bring the tables from version `current` to `VERSION`, inside the caller's transaction."""
    if current == 0:
        connection.execute("CREATE TABLE unimq_meta (name TEXT PRIMARY KEY, value) WITHOUT ROWID")
    for statements in MIGRATIONS[current:]:
        for statement in statements:
            connection.execute(statement)
    connection.execute("INSERT OR REPLACE INTO unimq_meta VALUES ('version', ?)", (VERSION,))
