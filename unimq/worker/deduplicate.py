"""Idempotent receiver: what a handler has done once is not done again when its message is delivered again."""

import asyncio
import os
import sqlite3
import threading
import time
import weakref
from collections.abc import Awaitable
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast, overload

from unimq.errors import InvalidArgument, StorageError
from unimq.message import BaseMessage, Message
from unimq.options import seconds, short
from unimq.records import about
from unimq.url import URL
from unimq.worker.handling import AsyncHandler, Handler, log

if TYPE_CHECKING:
    from unimq.aio import AsyncMessage

__all__ = ["Deduplicate"]

_WEEK: Final = 7 * 86_400.0
_PATIENCE: Final = 30.0
"""Seconds to wait for another process that writes."""
_URL: Final = "sqlite:///"
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS done (queue TEXT, id TEXT, until REAL, PRIMARY KEY (queue, id)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS done_until ON done (until);
"""


class Deduplicate:
    """Middleware of both workers: a message whose id is known as done is acked, and its handler is not called.

    ```python
    unimq.Worker(url, charge, middleware=[unimq.Deduplicate("charged.db")]).run()
    ```

    The id is written to a SQLite file after the handler has returned and before the message is acked. So a redelivery
    after a lost ack, and a put that was repeated with the same `id=`, are done once. It does not help where the handler
    ends and its process dies before the id is written, nor against two deliveries that are worked on at the same time
    (a lease that ended under a running handler): a handler that must never act twice needs a transaction of its own.

    A message is known by the id that it was put with. Where the protocol keeps no id (`"id"` is not in
    `capabilities.keeps`) only what was put with an `id=`, or with headers, has one that stays its own; any other one is
    handled each time that it comes. Who asked for a reply (`queue.call`) gets none for what was done before.
    """

    def __init__(self, store: str | os.PathLike[str], *, ttl: float | timedelta = _WEEK) -> None:
        """Nothing is opened before the first message.

        Args:
            store: The SQLite file, which all workers of the queue on this machine share: its path, or a URL such as
                `sqlite:///done.db`.
            ttl: Seconds for which an id is known; a week by default.

        Raises:
            InvalidArgument: one of them cannot be used.
        """
        path = os.fspath(store)
        if isinstance(path, str) and path.startswith(_URL):
            url = URL.parse(path)
            path = "" if url.options else url.file_path
        if not isinstance(path, str) or not path or ":" in path.partition("/")[0]:
            msg = f"store={short(store)}: must be the path of a file, such as 'done.db', or 'sqlite:///done.db'"
            raise InvalidArgument(msg)
        self._path = str(Path(path).absolute())
        self._ttl = seconds(ttl, "ttl", minimum=1.0)
        self._stores: dict[int, _Store] = {}

    @overload
    def __call__(self, message: Message[Any], handler: Handler, /) -> object: ...
    @overload
    def __call__(self, message: "AsyncMessage[Any]", handler: AsyncHandler, /) -> Awaitable[object]: ...
    def __call__(self, message: BaseMessage[Any], handler: Any, /) -> object:
        """Call the handler, unless the message is known as done.

        Raises:
            StorageError: the file cannot be read or written. The message is not done, then: it comes again.
        """
        if message.lasting_id is None:
            return handler(message)
        if isinstance(message, Message):
            return self._once(message, handler)
        return self._once_async(cast("AsyncMessage[Any]", message), handler)

    def _once(self, message: Message[Any], handler: Handler) -> object:
        if self._knows(message):
            return None
        result = handler(message)
        self._learn(message)
        return result

    async def _once_async(self, message: "AsyncMessage[Any]", handler: AsyncHandler) -> object:
        if await asyncio.to_thread(self._knows, message):
            return None
        result = await handler(message)
        await asyncio.to_thread(self._learn, message)
        return result

    def _knows(self, message: BaseMessage[Any]) -> bool:
        found = self._run(
            "SELECT 1 FROM done WHERE queue = ? AND id = ? AND until > ?",
            (message.queue, message.lasting_id, time.time()),
        )
        if found:
            log.info("%r was done before, and is not done again", message, extra=about("done before", message))
        return bool(found)

    def _learn(self, message: BaseMessage[Any]) -> None:
        now = time.time()
        self._run(
            "INSERT INTO done VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET until = excluded.until",
            (message.queue, message.lasting_id, now + self._ttl),
        )
        self._run("DELETE FROM done WHERE until <= ?", (now,))

    def _run(self, statement: str, values: tuple[object, ...]) -> list[Any]:
        """On the connection of this process: the child of a fork has one of its own, and a lock."""
        pid = os.getpid()
        store = self._stores.get(pid) or self._stores.setdefault(pid, _Store(self._path))
        return store.run(statement, values)


class _Store:
    """A connection, opened when it is needed, and closed when nobody has it any more."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None

    def run(self, statement: str, values: tuple[object, ...]) -> list[Any]:
        try:
            with self._lock:
                if self._connection is None:
                    self._connection = self._open()
                return self._connection.execute(statement, values).fetchall()
        except sqlite3.Error as error:
            msg = f"{self._path}: cannot keep what is done: {error}"
            raise StorageError(msg) from error

    def _open(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, timeout=_PATIENCE, isolation_level=None, check_same_thread=False)
        weakref.finalize(self, _close, connection, os.getpid())
        connection.execute("PRAGMA journal_mode = WAL")
        connection.executescript(_SCHEMA)
        return connection


def _close(connection: sqlite3.Connection, pid: int) -> None:
    if os.getpid() == pid:  # that of a parent is not the child's to close
        connection.close()
