"""Many processes and threads on one file, and what survives when one is killed."""

import json
import math
import sqlite3
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from unimq.driver import Outgoing
from unimq_sqlite.session import SQLiteSession

pytestmark = pytest.mark.slow

INF = math.inf
Open = Callable[..., SQLiteSession]
Start = Callable[..., "subprocess.Popen[str]"]


def told(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


@pytest.mark.parametrize("durability", ["full", "normal"])
def test_what_a_killed_producer_stored_is_there(start: Start, connect: Open, durability: str) -> None:
    """Every put that returned before the SIGKILL, one by one and in batches, in its order."""
    process = start(
        """
session = connect("?durability=" + sys.argv[2])
number = 0
while True:
    for batch in (1, 3):
        session.send("q", [Outgoing(b"%d" % (number + n)) for n in range(batch)], INF)
        number += batch
        os.write(1, b"%d\\n" % number)
""",
        durability,
    )
    for _ in range(60):
        returned = int(told(process))
    process.kill()
    assert process.stdout is not None
    returned = int([str(returned), *process.stdout.read().split()][-1])
    session = connect()
    stored = [int(one.body) for one in session.receive(["q"], 100_000, 60.0, 0.0)]
    assert stored == list(range(len(stored)))
    assert returned <= len(stored) <= returned + 3
    assert session._store.rows(INF, "PRAGMA integrity_check") == [("ok",)]


def test_what_a_killed_consumer_held_comes_back_when_its_lease_ends(start: Start, session: SQLiteSession) -> None:
    """Counted; what it had acked does not."""
    session.send("q", [Outgoing(b"acked"), Outgoing(b"held")], INF)
    process = start(
        """
session = connect()
acked, held = session.receive(["q"], 2, 1.0, 0.0)
session.ack([acked], INF)
print(time.time(), flush=True)
time.sleep(60)
"""
    )
    leased = float(told(process))
    process.kill()
    process.wait()
    assert session.receive(["q"], 10, 60.0, 0.0) == []
    (again,) = session.receive(["q"], 10, 60.0, time.monotonic() + 10)
    assert (again.body, again.delivery_count) == (b"held", 2)
    assert time.time() - leased < 2.0


def test_a_kill_in_the_middle_of_a_transaction_undoes_it(start: Start, session: SQLiteSession) -> None:
    """A batch is stored whole or not at all, and the lock is free at once."""
    process = start(
        """
session = connect()
with session._store.transaction(INF):
    session._insert("q", [Outgoing(b"x")] * 1000)
    print("inside", flush=True)
    time.sleep(60)
"""
    )
    assert told(process) == "inside"
    process.kill()
    process.wait()
    session.send("q", [Outgoing(b"y")], time.monotonic() + 1)
    assert session.stats("q", INF).ready == 1


def test_processes_and_threads_share_the_work(start: Start, session: SQLiteSession) -> None:
    """Four processes with two threads each put and take: nothing is lost, nothing comes twice."""
    script = """
import json, threading
number = int(sys.argv[2])
seen = []
def put(thread):
    session = connect("?durability=normal")
    for one in range(0, 150, 3):
        session.send("q", [Outgoing(b"%d" % (1000 * (10 * number + thread) + one + n)) for n in range(3)], INF)
def take():
    session = connect("?durability=normal")
    while found := session.receive(["q"], 2, 60.0, time.monotonic() + 3):
        assert session.ack(found, INF) == [None] * len(found)
        seen.extend(int(one.body) for one in found)
threads = [threading.Thread(target=put, args=(n,)) for n in range(2)]
threads += [threading.Thread(target=take) for _ in range(2)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(json.dumps(seen))
"""
    processes = [start(script, str(number)) for number in range(4)]
    seen = Counter(one for process in processes for one in json.loads(process.communicate(timeout=50)[0]))
    expected = [1000 * (10 * number + thread) + one for number in range(4) for thread in range(2) for one in range(150)]
    assert seen == Counter(expected)
    assert session.queues(INF) == []


def test_many_processes_may_open_a_new_file_at_once(start: Start, path: str) -> None:
    """One makes the tables, the others find them."""
    script = """
print("ready", flush=True)
input()
session = open_session(driver, f"sqlite:///{path}", time.monotonic() + 20)
session.send("q", [Outgoing(b"x")], INF)
"""
    processes = [start(script) for _ in range(6)]
    for process in processes:
        assert told(process) == "ready"
    assert not Path(path).exists()
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    assert [process.wait(30) for process in processes] == [0] * 6
    connection = sqlite3.connect(path)
    assert connection.execute("SELECT count(*) FROM unimq_messages").fetchall() == [(6,)]
    connection.close()


def test_threads_of_one_process_put_at_the_same_time(connect: Open) -> None:
    """Each on a session of its own; ids are unique and every message is there."""
    ids: list[object] = []
    sessions = [connect("?durability=normal") for _ in range(6)]

    def put(session: SQLiteSession) -> None:
        for _ in range(50):
            ids.extend(session.send("q", [Outgoing(b"x")], INF))

    threads = [threading.Thread(target=put, args=(session,)) for session in sessions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = sessions[0].receive(["q"], 1000, 60.0, 0.0)
    assert sorted(str(one.id) for one in found) == sorted(map(str, ids))
    assert len(set(ids)) == 300


def test_ids_are_not_given_again(session: SQLiteSession, connect: Open) -> None:
    """Though SQLite gives the same place to each message of a queue that is always empty."""
    ids = set()
    for _ in range(200):
        for one in (session, connect() if len(ids) % 50 == 0 else session):
            ids.update(one.send("q", [Outgoing(b"x")], INF))
            assert one.purge("q", INF) == 1
    assert len(ids) == 400


_FEED = """
session = connect()
print("ready", flush=True)
input()
for number in range(int(sys.argv[2])):
    session.send("q", [Outgoing(b"%s %d" % (sys.argv[3].encode(), number))], INF)
"""
_EAT = """
import json
session, got = connect(), []
print("ready", flush=True)
input()
while True:
    found = session.receive(["q"], 1, 60.0, time.monotonic() + 6.0)
    if not found:
        break
    got.append(found[0].body.decode())
    assert session.ack(found, INF) == [None]
print(json.dumps(got), flush=True)
"""


def test_eight_pairs_of_processes_lose_nothing_and_hear_no_timeout(start: Start) -> None:
    """Eight put and eight take from one file: all that was put comes once, and no lock is waited for in vain."""
    feeders = [start(_FEED, "20", str(number)) for number in range(8)]
    eaters = [start(_EAT) for _ in range(8)]
    for process in (*feeders, *eaters):
        assert told(process) == "ready"
    for process in (*feeders, *eaters):
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    got = Counter(body for process in eaters for body in json.loads(told(process)))
    assert got == Counter(f"{pair} {number}" for pair in range(8) for number in range(20))
    assert [process.wait(20) for process in (*feeders, *eaters)] == [0] * 16
