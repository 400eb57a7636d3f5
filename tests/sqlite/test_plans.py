"""How SQLite would go about each statement: never through the whole table, nor writing a body again."""

import math
from pathlib import Path

import pytest

from unimq.driver import Outgoing
from unimq_sqlite import statements
from unimq_sqlite.session import SQLiteSession


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("TAKE_ONE", ("q", 1.0, 2.0)),
        ("TAKE_MANY", ("q", 1.0, 2.0, 10)),
        ("TAKE_ANYWAY", ("q", 1.0, 2.0, 10)),
        ("LOOK", ("q",)),
        ("RIPEN", ("q", 1.0)),
        ("DROP_EXPIRED", ("q", 1.0)),
        ("ACK", (1, 1, 1, 1.0)),
        ("RELEASE", (1, 1, 1, 1.0)),
        ("EXTEND", (1.0, 1, 1, 1, 1.0)),
        ("CANCEL", ("q", 1.0, 1, 1)),
        ("CANCEL_OWN", ("q", 1.0, "x")),
        ("WAITING", ("q", 10)),
        ("LAST", ()),
        ("QUEUES", ()),
        ("DELETE_READY", ("q", 1, 10)),
        ("DELETE_DUE", ("q", 1, 10)),
    ],
)
def test_no_statement_reads_the_whole_table_or_sorts(
    session: SQLiteSession, name: str, values: tuple[object, ...]
) -> None:
    """Every look at the table goes through an index, so its cost does not grow with the queue."""
    session.send("q", [Outgoing(b"x")], math.inf)
    statement = getattr(statements, name)
    plan = [row[3] for row in session._store.execute("EXPLAIN QUERY PLAN " + statement, values)]
    assert not [step for step in plan if "SCAN unimq_messages" in step]
    assert [step for step in plan if step.startswith("SEARCH unimq_messages")]
    if name != "QUEUES":  # sorts the few names
        assert not [step for step in plan if "TEMP B-TREE" in step]


def test_the_row_of_a_lease_keeps_its_size(session: SQLiteSession, path: str) -> None:
    """So that SQLite does not write a large body again."""
    session.send("q", [Outgoing(b"x" * 1_000_000)], math.inf)
    before = Path(path + "-wal").stat().st_size
    session.receive(["q"], 1, 60.0, 0.0)
    assert Path(path + "-wal").stat().st_size - before < 100_000
