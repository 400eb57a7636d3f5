"""The outbox: a put that is part of the application's own transaction."""

import os
import sqlite3
import time
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from unimq.errors import InvalidArgument
from unimq.message import Receipt
from unimq.observing import sending
from unimq.queue import Queue
from unimq_sqlite import statements as sql
from unimq_sqlite.rows import id_of, nonces, row_of
from unimq_sqlite.schema import VERSION, version_of
from unimq_sqlite.store import translate

__all__ = ["put"]


def put(  # noqa: PLR0913 - the arguments of a put
    connection: sqlite3.Connection,
    queue: Queue[Any],
    body: Any,
    *,
    headers: Mapping[str, str] | None = None,
    priority: int | None = None,
    delay: float | timedelta = 0,
    at: datetime | None = None,
    ttl: float | timedelta | None = None,
    id: str | None = None,  # noqa: A002 - as in Queue.put
) -> Receipt:
    """Put on `queue` over your own `connection` to the same file, inside the transaction that is open on it.

    The message exists when you commit, together with your other changes, and never did when you roll back; so the
    receipt says `confirmed=False`. `?max_size=` is not looked at. The other arguments are those of `Queue.put`.
    Make the tables inside your database by using the queue once with `?shared=true`, a `ping()` is enough.

    Raises:
        InvalidArgument: the connection's database is not the queue's file, or has no tables of this version.
        StorageError, Timeout: SQLite refused.
    """
    _check_same_file(connection, queue)
    try:
        if version_of(connection) != VERSION:
            msg = f"connection: its database has no unimq tables of version {VERSION}: use the queue once to make them"
            raise InvalidArgument(msg)
        with sending(queue, body, headers) as (along, told):
            message = queue.encode(body, headers=along, priority=priority, delay=delay, at=at, ttl=ttl, id=id)
            nonce = next(nonces())
            row = row_of(queue.name, message, None, nonce, time.time())
            seq = connection.execute(sql.INSERT, row).lastrowid or 0
            return told(Receipt(id_of(seq, nonce, message.id), confirmed=False, queue=queue.name))
    except sqlite3.Error as error:
        raise translate(error, queue.client.url.file_path) from error


def _check_same_file(connection: sqlite3.Connection, queue: Queue[Any]) -> None:
    url = queue.client.url
    if url.scheme != "sqlite":
        msg = f"queue: {queue!r} is not in an SQLite file, so it cannot take part in the transaction"
        raise InvalidArgument(msg)
    if not isinstance(connection, sqlite3.Connection):
        msg = f"connection: is a {type(connection).__name__}: must be a sqlite3.Connection, take the one that it wraps"
        raise InvalidArgument(msg)
    main = _main_file(connection)
    if not main or not os.path.exists(url.file_path) or not os.path.samefile(main, url.file_path):  # noqa: PTH110, PTH121
        shown = main or "in memory"
        msg = f"connection: its database is {shown!r}, the queue's is {url.file_path!r}: they must be one"
        raise InvalidArgument(msg)


def _main_file(connection: sqlite3.Connection) -> str:
    """The path of its main database, whatever rows and texts look like on an application's connection."""
    cursor = connection.cursor()
    cursor.row_factory = None
    rows = cursor.execute("SELECT CAST(file AS BLOB) FROM pragma_database_list WHERE name = 'main'").fetchall()
    return os.fsdecode(rows[0][0] or b"")
