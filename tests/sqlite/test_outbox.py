"""A put inside an application's own transaction, on connections as applications have them."""

import math
import sqlite3
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import unimq
import unimq_sqlite
from unimq_sqlite.session import SQLiteSession

INF = math.inf
Open = Callable[..., SQLiteSession]


def rows_as_dicts(cursor: sqlite3.Cursor, row: tuple[object, ...]) -> dict[str, object]:
    return {column[0]: value for column, value in zip(cursor.description, row, strict=True)}


@pytest.fixture
def queue(path: str) -> "Iterator[unimq.Queue[Any]]":
    with unimq.Queue(f"sqlite:///{path}?queue=q&timeout=300ms") as one:
        one.ping()
        yield one


@pytest.mark.parametrize("isolation_level", [None, "", "DEFERRED", "IMMEDIATE", "EXCLUSIVE"])
@pytest.mark.parametrize("ending", ["COMMIT", "ROLLBACK"])
def test_it_shares_the_fate_of_the_transaction(
    path: str, queue: "unimq.Queue[Any]", isolation_level: str | None, ending: str
) -> None:
    """Whatever begins it; several puts in one."""
    connection = sqlite3.connect(path, isolation_level=isolation_level)
    if isolation_level is None:
        connection.execute("BEGIN")
    receipts = [unimq_sqlite.put(connection, queue, number) for number in range(3)]
    assert queue.size() == 0
    connection.execute(ending)
    connection.close()
    expected = [receipt.id for receipt in receipts] if ending == "COMMIT" else []
    assert [message.id for message in queue.peek(10)] == expected


def test_rows_and_texts_of_any_kind_do_not_matter(path: str, queue: "unimq.Queue[Any]") -> None:
    """An application may have set them."""
    connection = sqlite3.connect(path)
    connection.row_factory = rows_as_dicts
    connection.text_factory = bytes
    with connection:
        receipt = unimq_sqlite.put(connection, queue, "x", id="own", priority=9, delay=0.01)
    assert connection.row_factory is rows_as_dicts
    connection.close()
    message = queue.get(timeout=5)
    assert (message.id, message.body, message.priority) == ("own", "x", 9)
    assert receipt.id == "own"


def test_what_is_no_connection_is_refused(queue: "unimq.Queue[Any]") -> None:
    """A wrapper of one, for example."""
    with pytest.raises(unimq.InvalidArgument, match=r"is a str: must be a sqlite3\.Connection"):
        unimq_sqlite.put("connection", queue, "x")  # type: ignore[arg-type]


def test_a_newer_store_is_refused(path: str, queue: "unimq.Queue[Any]", connect: Open) -> None:
    """Its rows may mean something else."""
    connect()._store.execute("UPDATE unimq_meta SET value = 99 WHERE name = 'version'")
    connection = sqlite3.connect(path)
    with pytest.raises(unimq.InvalidArgument, match="no unimq tables of version"):
        unimq_sqlite.put(connection, queue, "x")
    connection.close()


def test_a_locked_file_is_waited_for_as_the_connection_says(
    path: str, queue: "unimq.Queue[Any]", connect: Open
) -> None:
    """Its own busy timeout, and then ours of the errors."""
    connection = sqlite3.connect(path, timeout=0.05)
    with connect()._store.transaction(INF):
        start = time.monotonic()
        with pytest.raises(unimq.Timeout, match="locked"):
            unimq_sqlite.put(connection, queue, "x")
        assert time.monotonic() - start < 1
    connection.close()


def test_an_open_transaction_of_the_application_holds_up_other_puts_only_so_long(
    path: str, queue: "unimq.Queue[Any]"
) -> None:
    """Until their deadline; it loses nothing."""
    connection = sqlite3.connect(path)
    unimq_sqlite.put(connection, queue, "first")
    with pytest.raises(unimq.Timeout, match="keeps a transaction open"):
        queue.put("second")
    connection.commit()
    connection.close()
    assert queue.get(timeout=0).body == "first"
