"""The tables and their versions. A file is ours when it has `unimq_meta`; its version is in there.

One table holds every message. `due` is null for what is ready, otherwise the time when a delay or lease ends; the two
partial indexes keep the cost of a get independent of how many messages wait, are delayed or are leased.
"""

import sqlite3
from typing import Final

__all__ = ["MIGRATIONS", "VERSION", "Row", "create", "version_of"]

MIGRATIONS: Final[tuple[tuple[str, ...], ...]] = (
    (
        """CREATE TABLE unimq_messages (
            seq INTEGER PRIMARY KEY,
            queue TEXT NOT NULL,
            rank INTEGER NOT NULL,
            due REAL,
            held INTEGER NOT NULL,
            nonce INTEGER NOT NULL,
            count INTEGER NOT NULL,
            own_id TEXT,
            expires REAL,
            enqueued REAL NOT NULL,
            headers BLOB,
            body BLOB NOT NULL
        )""",
        "CREATE INDEX unimq_ready ON unimq_messages (queue, rank, seq) WHERE due IS NULL",
        "CREATE INDEX unimq_due ON unimq_messages (queue, due) WHERE due IS NOT NULL",
        "CREATE INDEX unimq_own_id ON unimq_messages (queue, own_id) WHERE own_id IS NOT NULL",
    ),
)
"""What leads from each version to the next; version 0 is a database without our tables."""

VERSION: Final = len(MIGRATIONS)

Row = tuple[int, int, int, int, "str | None", "float | None", float, "bytes | None", bytes]
"""seq, rank, nonce, count, own_id, expires, enqueued, headers, body."""


def version_of(connection: sqlite3.Connection) -> int | None:
    """The version of our tables; `None` when there are none."""
    found = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'unimq_meta'").fetchall()
    if not found:
        return None
    return int(connection.execute("SELECT value FROM unimq_meta WHERE name = 'version'").fetchall()[0][0])


def create(connection: sqlite3.Connection, current: int) -> None:
    """Bring the tables from version `current` to `VERSION`, inside the caller's transaction."""
    if current == 0:
        connection.execute("CREATE TABLE unimq_meta (name TEXT PRIMARY KEY, value) WITHOUT ROWID")
    for statements in MIGRATIONS[current:]:
        for statement in statements:
            connection.execute(statement)
    connection.execute("INSERT OR REPLACE INTO unimq_meta VALUES ('version', ?)", (VERSION,))
