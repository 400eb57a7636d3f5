"""Waiting for messages: how soon it ends, what it costs, and what ends it. Times are the best of a few."""

import contextlib
import math
import sqlite3
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from unimq.driver import Outgoing
from unimq.errors import ConnectionLost, Timeout, UnimqError
from unimq_sqlite import sharing
from unimq_sqlite.session import SQLiteSession

INF = math.inf
Open = Callable[..., SQLiteSession]
Start = Callable[..., "subprocess.Popen[str]"]
Lock = Callable[[], sqlite3.Connection]


@pytest.fixture
def lock(path: str) -> Iterator[Callable[[], sqlite3.Connection]]:
    """Locks the file against writing, as another process does, until the connection's COMMIT or the end of the test."""
    opened: list[sqlite3.Connection] = []

    def lock() -> sqlite3.Connection:
        opened.append(sqlite3.connect(path, isolation_level=None, check_same_thread=False))
        opened[-1].execute("BEGIN IMMEDIATE")
        return opened[-1]

    yield lock
    for one in opened:
        one.close()


@contextlib.contextmanager
def after(seconds: float, work: Callable[[], object]) -> Iterator[None]:
    """Do it later, in a thread, and be done with it at the end: a connection that is closed under it would crash."""
    timer = threading.Timer(seconds, work)
    timer.start()
    yield
    timer.join()


def in_thread(work: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=work)
    thread.start()
    return thread


def wait_until_waiting(session: SQLiteSession) -> None:
    end = time.monotonic() + 5
    while not session._bell.waiters and time.monotonic() < end:
        time.sleep(0.001)
    time.sleep(0.005)


@pytest.mark.parametrize("act", ["put", "put many", "release", "move"])
def test_it_ends_within_20_ms_in_the_same_process(session: SQLiteSession, connect: Open, act: str) -> None:
    """From the call to the return of the receive, in another thread."""
    consumer = connect()
    delays: list[float] = []
    for _ in range(5):
        if act in ("release", "move"):
            session.send("q", [Outgoing(b"x")], INF)
            (held,) = session.receive(["q"], 1, 60.0, 0.0)
        ended: list[float] = []

        def consume(ended: list[float] = ended) -> None:
            consumer.ack(consumer.receive(["q"], 10, 60.0, time.monotonic() + 10), INF)
            ended.append(time.monotonic())

        thread = in_thread(consume)
        wait_until_waiting(consumer)
        start = time.monotonic()
        if act == "release":
            session.release([held], 0.0, INF)
        elif act == "move":
            session.move("q", [(held, Outgoing(b"x"))], INF)
        else:
            session.send("q", [Outgoing(b"x")] * (1 if act == "put" else 2), INF)
        thread.join()
        delays.append(ended[0] - start)
    assert min(delays) < 0.02


def test_it_ends_within_100_ms_across_processes(session: SQLiteSession, start: Start) -> None:
    """From the call there to the return of the receive here."""
    process = start(
        """
session = connect()
for line in sys.stdin:
    called = time.time()
    session.send("q", [Outgoing(repr(called).encode())], INF)
"""
    )
    delays: list[float] = []
    for _ in range(5):
        threading.Timer(0.05, lambda: (process.stdin.write("go\n"), process.stdin.flush())).start()
        (one,) = session.receive(["q"], 1, 60.0, time.monotonic() + 20)
        delays.append(time.time() - float(one.body))
        session.ack([one], INF)
    assert min(delays) < 0.1
    assert sorted(delays)[2] < 0.2


def test_a_delay_that_another_process_put_is_kept_to(session: SQLiteSession, start: Start) -> None:
    """A receive that waits already learns of it."""
    process = start("input(); connect().send('q', [Outgoing(repr(time.time()).encode(), delay=0.2)], INF)")
    threading.Timer(0.05, lambda: (process.stdin.write("go\n"), process.stdin.flush())).start()
    (one,) = session.receive(["q"], 1, 60.0, time.monotonic() + 20)
    assert 0.2 <= time.time() - float(one.body) < 0.5


def test_an_idle_consumer_takes_less_than_one_percent_of_a_processor(session: SQLiteSession) -> None:
    """No busy loop, and nothing is written."""
    session.send("q", [Outgoing(b"x", delay=60.0)], INF)
    other = session._store.execute("PRAGMA data_version").fetchall()
    before = time.process_time()
    assert session.receive(["q"], 1, 60.0, time.monotonic() + 1.0) == []
    assert time.process_time() - before < 0.01
    assert session._store.execute("PRAGMA data_version").fetchall() == other


def test_an_interrupt_ends_it_at_once_and_only_that_one(session: SQLiteSession, connect: Open) -> None:
    """A later receive works, another session goes on waiting."""
    other = connect()
    found: list[bytes] = []
    thread = in_thread(lambda: found.extend(d.body for d in other.receive(["q"], 1, 60.0, time.monotonic() + 10)))
    wait_until_waiting(other)
    timer = threading.Timer(0.05, session.interrupt)
    timer.start()
    start = time.monotonic()
    assert session.receive(["q"], 1, 60.0, start + 10) == []
    assert time.monotonic() - start < 1
    assert thread.is_alive()
    session.send("q", [Outgoing(b"x")], INF)
    thread.join(5)
    assert found == [b"x"]


def test_an_interrupt_of_nothing_is_harmless(session: SQLiteSession) -> None:
    """The next receive is not the one that was meant."""
    session.interrupt()
    session.send("q", [Outgoing(b"x", delay=0.05)], INF)
    assert len(session.receive(["q"], 1, 60.0, time.monotonic() + 5)) == 1


def test_an_empty_queue_is_empty_while_the_file_is_locked(session: SQLiteSession, lock: Lock) -> None:
    """Looking needs no lock, so nobody waits for it."""
    lock()
    start = time.monotonic()
    assert session.receive(["q"], 1, 60.0, 0.0) == []
    assert session.receive(["q"], 1, 60.0, start + 0.1) == []
    assert time.monotonic() - start < 0.5


@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize("what", ["send", "receive", "ack", "release", "extend", "move", "cancel", "purge", "delete"])
def test_the_deadline_holds_while_the_file_is_locked(
    session: SQLiteSession, lock: Lock, what: str, number: int
) -> None:
    """A `Timeout`, certainly nothing was done, and the same call works afterwards. A get has a second of grace."""
    session.send("q", [Outgoing(b"x")] * number, INF)
    held = session.receive(["q"], number, 60.0, 0.0)
    session.send("q", [Outgoing(b"y", id="y")] * number, INF)
    before = session.stats("q", INF)
    call: Callable[[float], object] = {
        "send": lambda until: session.send("q", [Outgoing(b"z")] * number, until),
        "receive": lambda until: session.receive(["q"], number, 60.0, until),
        "ack": lambda until: session.ack(held, until),
        "release": lambda until: session.release(held, 0.0, until),
        "extend": lambda until: session.extend(held, 5.0, until),
        "move": lambda until: session.move("other", [(one, Outgoing(b"x")) for one in held], until),
        "cancel": lambda until: session.cancel("q", "y", until),
        "purge": lambda until: session.purge("q", until),
        "delete": lambda until: session.delete("q", until),
    }[what]
    locked = lock()
    start = time.monotonic()
    with pytest.raises(Timeout, match="locked") as caught:
        call(start + 0.1)
    grace = 1.0 if what == "receive" else 0.1
    assert grace <= time.monotonic() - start < grace + 0.3
    assert not caught.value.in_doubt
    locked.execute("COMMIT")
    counted = session.stats("q", INF)
    assert (counted.ready, counted.leased) == (before.ready, before.leased)
    call(INF)


def test_a_short_lock_is_waited_for_even_by_a_poll(session: SQLiteSession, lock: Lock) -> None:
    """As a network backend waits for a reply."""
    session.send("q", [Outgoing(b"x")], INF)
    locked = lock()
    with after(0.02, lambda: locked.execute("COMMIT")):
        assert len(session.receive(["q"], 1, 60.0, 0.0)) == 1


def test_a_lease_begins_when_the_lock_was_got(session: SQLiteSession, lock: Lock) -> None:
    """Waiting for the lock takes nothing off it."""
    session.send("q", [Outgoing(b"x")], INF)
    locked = lock()
    start = time.monotonic()
    with after(0.2, lambda: locked.execute("COMMIT")):
        (one,) = session.receive(["q"], 1, 0.3, time.monotonic() + 5)
    assert (one.lease_until or 0.0) > start + 0.45
    assert session.ack([one], INF) == [None]


def test_a_removed_file_ends_the_waiting(session: SQLiteSession, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody will ever put anything into it again."""
    session.ping(INF)
    monkeypatch.setattr("unimq_sqlite.store._CHECK_EVERY", 0.01)
    threading.Timer(0.05, lambda: Path(path).replace(path + ".old")).start()
    with pytest.raises(ConnectionLost, match="removed or replaced"):
        session.receive(["q"], 1, 60.0, time.monotonic() + 10)


def test_a_child_does_not_share_its_parents_bell(session: SQLiteSession, path: str) -> None:
    """After a fork nobody waits in the child, and no lock is held there."""
    assert session._bell is sharing.bell(path)
    lock = sharing._lock
    with lock:
        sharing._after_fork()
    assert sharing.bell(path) is not session._bell


def test_a_waiting_consumer_takes_no_lock(session: SQLiteSession, connect: Open) -> None:
    """It looks when somebody stored something, and only writes when that was for it."""
    consumer = connect()
    statements: list[str] = []
    consumer._store.connection.set_trace_callback(statements.append)
    thread = in_thread(lambda: consumer.receive(["q"], 1, 60.0, time.monotonic() + 0.3))
    wait_until_waiting(consumer)
    before = len(statements)
    for _ in range(5):
        session.send("other", [Outgoing(b"x")], INF)
        time.sleep(0.01)
    thread.join()
    later = statements[before:]
    assert [one for one in later if one.startswith("SELECT")]
    assert not [one for one in later if one.startswith(("UPDATE", "BEGIN", "DELETE"))]


@pytest.mark.slow
def test_a_wait_notices_that_the_clock_was_set(session: SQLiteSession, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is due by the new time comes within seconds, as after a suspend."""
    clock = time.time
    session.send("q", [Outgoing(b"x", delay=60)], INF)
    start = time.monotonic()
    with after(0.3, lambda: monkeypatch.setattr(time, "time", lambda: clock() + 3600)):
        (found,) = session.receive(["q"], 1, 60.0, time.monotonic() + 30)
    assert found.body == b"x"
    assert time.monotonic() - start < 15


def test_a_poll_of_what_somebody_else_took_meanwhile_is_empty(session: SQLiteSession, lock: Lock) -> None:
    """It looks again while the lock is busy, and does not blame it for what is not there any more."""
    session.send("q", [Outgoing(b"x")], INF)
    locked = lock()

    def take_it() -> None:
        locked.execute("DELETE FROM unimq_messages")
        locked.execute("COMMIT")
        locked.execute("BEGIN IMMEDIATE")

    with after(0.1, take_it):
        assert session.receive(["q"], 1, 60.0, 0.0) == []


def test_what_was_taken_is_delivered_though_another_queue_is_locked(session: SQLiteSession, lock: Lock) -> None:
    """A get over several queues does not drop the first message because of the second."""
    for queue in ("a", "b"):
        session.send(queue, [Outgoing(queue.encode())], INF)
    execute = session._store.execute
    taken: list[int] = []

    def lock_after_the_first(statement: str, values: tuple[object, ...] = ()) -> sqlite3.Cursor:
        if statement.startswith("UPDATE"):
            if len(taken) == 1:
                lock()
            taken.append(1)
        return execute(statement, values)

    session._store.execute = lock_after_the_first  # type: ignore[method-assign,assignment]
    (found,) = session.receive(["a", "b"], 10, 60.0, 0.0)
    assert found.body in {b"a", b"b"}


def test_a_put_wakes_as_many_as_it_has_messages(session: SQLiteSession, connect: Open) -> None:
    """The others sleep on; in the end everybody has one."""
    consumers = [connect() for _ in range(6)]
    found: list[bytes] = []
    threads = [
        in_thread(lambda one=one: found.extend(d.body for d in one.receive(["q"], 1, 60.0, time.monotonic() + 20)))  # type: ignore[misc]
        for one in consumers
    ]
    end = time.monotonic() + 10
    while session._bell.waiters < 6 and time.monotonic() < end:
        time.sleep(0.001)
    session._bell.ring("q", 2)
    assert session._bell.waiters >= 2  # the next look puts the others back
    for batch in ([b"1"], [b"2", b"3"], [b"4", b"5", b"6"]):
        session.send("q", [Outgoing(body) for body in batch], INF)
    for thread in threads:
        thread.join(20)
    assert sorted(found) == [b"1", b"2", b"3", b"4", b"5", b"6"]
    assert session._bell.waiters == 0


@pytest.mark.slow
def test_many_idle_threads_find_it_empty(session: SQLiteSession, connect: Open) -> None:
    """Thirty that wait for a tenth of a second each, while others put: `Empty` or a message, never a lock."""
    stop = time.monotonic() + 2.0
    outcomes: list[object] = []

    def consume(consumer: SQLiteSession) -> None:
        while time.monotonic() < stop:
            try:
                found = consumer.receive(["q"], 1, 60.0, time.monotonic() + 0.1)
                outcomes.extend(consumer.ack(found, time.monotonic() + 10))
            except UnimqError as error:
                outcomes.append(error)

    consumers = [connect() for _ in range(30)]
    threads = [in_thread(lambda one=one: consume(one)) for one in consumers]  # type: ignore[misc]
    count = 0
    while time.monotonic() < stop - 0.3:
        session.send("q", [Outgoing(b"x")], time.monotonic() + 10)
        count += 1
        time.sleep(0.02)
    for thread in threads:
        thread.join(20)
    assert outcomes == [None] * count


@pytest.mark.slow
def test_a_signal_handler_may_put(start: Start) -> None:
    """In the middle of any call: it works, or fails at once with its reason; nothing waits for itself."""
    process = start(
        """
import signal
from unimq.errors import StorageError
session, own = connect("?durability=normal"), connect("?durability=normal")
counts = {"put": 0, "refused": 0}
slowest = 0.0
def handler(*_):
    global slowest
    began = time.monotonic()
    try:
        own.send("q", [Outgoing(b"tick")], began + 20)
        counts["put"] += 1
    except StorageError as error:
        assert "signal handler" in str(error), error
        counts["refused"] += 1
    slowest = max(slowest, time.monotonic() - began)
signal.signal(signal.SIGALRM, handler)
end = time.monotonic() + 4
number = 0
while time.monotonic() < end:
    number += 1
    signal.setitimer(signal.ITIMER_REAL, 0.0002 + (number % 97) * 0.00002)
    session.send("q", [Outgoing(b"x")] * 50, INF)
    session.ack(session.receive(["q"], 100, 60.0, 0.0), INF)
    session.receive(["other"], 1, 60.0, time.monotonic() + 0.001)
signal.setitimer(signal.ITIMER_REAL, 0)
print(counts["put"], counts["refused"], slowest)
"""
    )
    put, _refused, slowest = process.communicate(timeout=60)[0].split()
    assert int(put) > 50
    assert float(slowest) < 5.0
