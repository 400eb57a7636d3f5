"""What is the SQLite backend's own: places, ids, plans, waking, the outbox."""

import contextlib
import multiprocessing
import os
import signal
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from multiprocessing.synchronize import Event
from pathlib import Path

import pytest

import unimq
import unimq_sqlite

SPAWN = multiprocessing.get_context("spawn")


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/jobs.db?queue=jobs"


@pytest.fixture
def queue(url: str) -> "Iterator[unimq.Queue[object]]":
    with unimq.Queue(url) as one:
        yield one


def test_an_id_is_not_given_twice_after_the_queue_was_empty(queue: "unimq.Queue[object]") -> None:
    """SQLite gives the same place again; the id has a nonce."""
    ids = set()
    for _ in range(20):
        ids.add(queue.put("x").id)
        queue.get(timeout=0).ack()
    assert len(ids) == 20


def test_a_stale_handle_does_not_settle_what_took_its_place(queue: "unimq.Queue[object]", url: str) -> None:
    """The place was given to another message meanwhile."""
    queue.put("first")
    with unimq.Queue(url + "&lease=50ms") as hasty:
        stale = hasty.get(timeout=0)
        time.sleep(0.06)
        queue.get(timeout=0).ack()
        queue.put("second")
        held = queue.get(timeout=0)
        with pytest.raises(unimq.LeaseLost):
            stale.ack()
        held.ack()


def test_a_batch_keeps_its_order_and_its_ids(queue: "unimq.Queue[object]") -> None:
    """Receipts and messages in the order of the put."""
    receipts = queue.put_many(range(50))
    messages = queue.get_many(50, timeout=0)
    assert [message.body for message in messages] == list(range(50))
    assert [message.id for message in messages] == [receipt.id for receipt in receipts]


def test_any_waiting_message_can_be_cancelled_by_its_id(queue: "unimq.Queue[object]") -> None:
    """Ready, delayed, with an own id or with ours, one of a batch; not what a consumer holds."""
    ready, own = queue.put(1), queue.put(2, id="own")
    delayed, batch = queue.put(3, delay=60), queue.put_many([4, 5])
    assert [queue.cancel(str(r.id)) for r in (ready, own, delayed, batch[1])] == [True] * 4
    assert not queue.cancel(str(ready.id))
    assert not queue.cancel("no such id")
    held = queue.get(timeout=0)
    assert held.body == 4
    assert not queue.cancel(str(held.id))


def test_max_size_refuses_exactly_what_is_too_much(url: str) -> None:
    """One by one and in a batch; what is delayed counts, what is held does not."""
    with unimq.Queue(url + "&max_size=3") as queue:
        queue.put(1, delay=60)
        with pytest.raises(unimq.BatchError) as caught:
            queue.put_many([2, 3, 4])
        assert caught.value.failed == [2]
        with pytest.raises(unimq.Full, match="max_size=3"):
            queue.put(5)
        queue.get(timeout=0)
        queue.put(6)


def _put_later(url: str, ready: Event, go: Event, when: "multiprocessing.Queue[float]") -> None:
    with unimq.Queue(url) as queue:
        queue.ping()
        ready.set()
        go.wait(20)
        when.put(time.time())
        queue.put("x")


@pytest.mark.slow
def test_a_put_of_another_process_wakes_within_100_ms(queue: "unimq.Queue[object]", url: str) -> None:
    """Measured between the call of the put there and the return of the get here; the best of five."""
    ready, go = SPAWN.Event(), SPAWN.Event()
    when: multiprocessing.Queue[float] = SPAWN.Queue()
    best = 1.0
    for _ in range(5):
        ready.clear()
        go.clear()
        process = SPAWN.Process(target=_put_later, args=(url, ready, go, when))
        process.start()
        assert ready.wait(20)
        threading.Timer(0.1, go.set).start()
        queue.get(timeout=10).ack()
        best = min(best, time.time() - when.get(timeout=5))
        process.join(10)
    assert best < 0.1


def test_a_put_of_the_same_process_wakes_within_20_ms(queue: "unimq.Queue[object]") -> None:
    """The best of five."""
    best = 1.0
    for _ in range(5):
        sent: list[float] = []

        def put() -> None:
            sent.append(time.monotonic())  # noqa: B023
            queue.put("x")

        threading.Timer(0.05, put).start()
        queue.get(timeout=5).ack()
        best = min(best, time.monotonic() - sent[0])
    assert best < 0.02


def test_an_idle_consumer_costs_little(queue: "unimq.Queue[object]") -> None:
    """Less than 2 % of one processor while it waits."""
    queue.ping()
    before = time.process_time()
    with pytest.raises(unimq.Empty):
        queue.get(timeout=1.0)
    assert time.process_time() - before < 0.02


def _hold(url: str, held: Event) -> None:
    with unimq.Queue(url) as queue:
        queue.get(timeout=5)
        held.set()
        time.sleep(60)


@pytest.mark.slow
def test_what_a_killed_consumer_held_comes_back_counted(queue: "unimq.Queue[object]", url: str) -> None:
    """SIGKILL; after its lease."""
    queue.put("x")
    held = SPAWN.Event()
    process = SPAWN.Process(target=_hold, args=(url + "&lease=500ms", held))
    process.start()
    assert held.wait(20)
    os.kill(process.pid or 0, signal.SIGKILL)
    process.join(10)
    again = queue.get(timeout=5)
    assert (again.body, again.delivery_count, again.redelivered) == ("x", 2, True)


def _put_until_killed(url: str, told: "multiprocessing.SimpleQueue[int]") -> None:
    with unimq.Queue(url) as queue:
        number = 0
        while True:
            queue.put(number)
            told.put(number)
            number += 1


@pytest.mark.slow
@pytest.mark.parametrize("durability", ["full", "normal"])
def test_what_a_killed_producer_stored_is_there(url: str, durability: str) -> None:
    """Every put that returned before the SIGKILL, with both durabilities."""
    url = f"{url}&durability={durability}"
    told: multiprocessing.SimpleQueue[int] = SPAWN.SimpleQueue()
    process = SPAWN.Process(target=_put_until_killed, args=(url, told))
    process.start()
    last = -1
    while last < 50:
        last = told.get()
    os.kill(process.pid or 0, signal.SIGKILL)
    process.join(10)
    while not told.empty():
        last = told.get()
    with unimq.Queue(url) as queue:
        bodies = [message.body for message in queue.consume(timeout=0)]
    assert bodies[: last + 1] == list(range(last + 1))
    assert len(bodies) <= last + 2


def _work(url: str, done: "multiprocessing.Queue[int]") -> None:
    def consume() -> None:
        for message in queue.consume(timeout=1):
            done.put(message.body)
            message.ack()

    with unimq.Queue(url) as queue:
        threads = [threading.Thread(target=consume) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


@pytest.mark.slow
def test_processes_and_threads_share_the_work(queue: "unimq.Queue[object]", url: str) -> None:
    """Three processes with two threads each: everything once."""
    done: multiprocessing.Queue[int] = SPAWN.Queue()
    processes = [SPAWN.Process(target=_work, args=(url, done)) for _ in range(3)]
    for process in processes:
        process.start()
    for number in range(300):
        queue.put(number)
    seen = [done.get(timeout=20) for _ in range(300)]
    for process in processes:
        process.join(20)
    assert sorted(seen) == list(range(300))
    assert queue.size() == 0


def test_a_forked_child_has_connections_of_its_own(queue: "unimq.Queue[object]", tmp_path: Path) -> None:
    """The parent's keep working, and the child's work arrives."""
    queue.put("parent")
    parent = queue.get(timeout=0)
    child = os.fork()
    if child == 0:
        try:
            queue.put("child")
            os._exit(0)
        except BaseException:  # noqa: BLE001
            os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
    parent.ack()
    assert queue.get(timeout=5).body == "child"


class TestOutbox:
    """A put inside the application's own transaction."""

    @pytest.fixture
    def connection(self, tmp_path: Path) -> Iterator[sqlite3.Connection]:
        connection = sqlite3.connect(tmp_path / "app.db")
        connection.execute("CREATE TABLE orders (number)")
        connection.commit()
        yield connection
        connection.close()

    @pytest.fixture
    def queue(self, connection: sqlite3.Connection, tmp_path: Path) -> "Iterator[unimq.Queue[object]]":
        with unimq.Queue(f"sqlite:///{tmp_path}/app.db?queue=jobs&shared=true") as one:
            one.ping()
            yield one

    def test_it_exists_when_the_transaction_is_committed(
        self, connection: sqlite3.Connection, queue: "unimq.Queue[object]"
    ) -> None:
        """Together with the other changes, and not before."""
        connection.execute("INSERT INTO orders VALUES (7)")
        receipt = unimq_sqlite.put(connection, queue, "ship 7", priority=9, headers={"a": "b"})
        assert not receipt.confirmed
        assert queue.size() == 0
        connection.commit()
        message = queue.get(timeout=1)
        assert (message.body, message.id, message.priority, message.headers["a"]) == ("ship 7", receipt.id, 9, "b")

    def test_it_never_was_when_the_transaction_is_rolled_back(
        self, connection: sqlite3.Connection, queue: "unimq.Queue[object]"
    ) -> None:
        """Together with the other changes."""
        connection.execute("INSERT INTO orders VALUES (7)")
        unimq_sqlite.put(connection, queue, "ship 7")
        connection.rollback()
        assert queue.size() == 0
        assert connection.execute("SELECT count(*) FROM orders").fetchall() == [(0,)]

    def test_a_waiting_consumer_is_woken_by_the_commit(
        self, connection: sqlite3.Connection, queue: "unimq.Queue[object]"
    ) -> None:
        """By the look at the file, as for another process."""
        got: list[object] = []
        thread = threading.Thread(target=lambda: got.append(queue.get(timeout=5).body))
        thread.start()
        unimq_sqlite.put(connection, queue, "x")
        connection.commit()
        thread.join(2)
        assert got == ["x"]

    def test_another_database_is_refused(self, queue: "unimq.Queue[object]") -> None:
        """It could not be one transaction."""
        with (
            closing(sqlite3.connect(":memory:")) as connection,
            pytest.raises(unimq.InvalidArgument, match="in memory.*must be one"),
        ):
            unimq_sqlite.put(connection, queue, "x")

    def test_another_backend_is_refused(self, connection: sqlite3.Connection) -> None:
        """A queue elsewhere takes no part in this transaction."""
        with unimq.Queue("memory:///jobs") as queue, pytest.raises(unimq.InvalidArgument, match="SQLite file"):
            unimq_sqlite.put(connection, queue, "x")

    def test_tables_that_are_not_there_yet_are_said(self, connection: sqlite3.Connection, tmp_path: Path) -> None:
        """The outbox makes no tables in somebody's transaction."""
        with (
            unimq.Queue(f"sqlite:///{tmp_path}/app.db?queue=jobs&shared=true") as queue,
            pytest.raises(unimq.InvalidArgument, match="use the queue once"),
        ):
            unimq_sqlite.put(connection, queue, "x")


@pytest.mark.parametrize(
    "damage",
    [
        "headers = x'c1'",
        "headers = 'text'",
        "headers = x'80ff'",
        "body = 'text'",
        "body = 7",
        "own_id = x'00'",
        "own_id = CAST(x'ff' AS TEXT)",
        "expires = 'never'",
        "enqueued = 'yesterday'",
        "count = 'many'",
        "rank = 'first'",
        "nonce = 'none'",
    ],
)
def test_a_damaged_row_does_not_block_its_neighbours(tmp_path: Path, damage: str) -> None:
    """It is an invalid message like any other: it can be settled, rejected and shown, and the others come."""
    path = tmp_path / "jobs.db"
    with unimq.Queue(f"sqlite:///{path}?queue=jobs") as queue:
        queue.put_many(["a", "b", "c"], headers={"own": "kept"})
        connection = sqlite3.connect(path, isolation_level=None)
        connection.execute(f"UPDATE unimq_messages SET {damage} WHERE seq = 2")  # noqa: S608 - of these tests
        connection.close()
        assert queue.stats().ready == 3
        assert len(queue.peek(10)) == 3
    with unimq.Queue(f"sqlite:///{path}?queue=jobs&invalid=reject", max_deliveries=2) as queue:
        seen: list[object] = []
        with contextlib.suppress(unimq.Empty):
            while True:
                with queue.get(timeout=0) as message:
                    seen.append(message.body)
        assert [one for one in seen if one != "b"] == ["a", "c"]
        assert (queue.size(), queue.stats().leased) == (0, 0)
        assert queue.dead.size() == 3 - len(seen)
        for letter in queue.dead.peek():
            assert "damaged" in letter.headers["unimq-dead-reason"]


def test_a_time_of_whole_seconds_is_sound(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite gives it back as an int where a row is returned by the statement that changes it."""
    now = float(int(time.time()) + 5)
    monkeypatch.setattr(time, "time", lambda: now)
    with unimq.Queue(url) as queue:
        queue.put("x", ttl=60)
        message = queue.get(timeout=0)
        assert (message.body, message.enqueued_at, message.expires_at) == ("x", now, now + 60)
        assert {type(message.enqueued_at), type(message.expires_at)} == {float}
