"""The embedded backends beside the same work done by hand, in one process run: `python integration/bench/embedded.py`.

Every round runs all candidates one after the other, so that a slow moment of the machine meets them all; the figures
are medians over the rounds, the ratios are medians of each round's own ratio. By hand means: the same `sqlite3` module,
an equal table with equal indexes, the same journal and `synchronous` setting, the same bytes.
"""

import argparse
import gc
import itertools
import json
import os
import platform
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import kombu
import persistqueue

import unimq

BODY = os.urandom(100)
Candidate = Callable[[int], float]
"""Runs that many messages; returns microseconds per message."""


def timed(work: Callable[[], object], messages: int) -> float:
    """Microseconds per message, without the garbage collector."""
    gc.collect()
    gc.disable()
    try:
        start = time.perf_counter()
        work()
        return (time.perf_counter() - start) / messages * 1e6
    finally:
        gc.enable()


class ByHand:
    """Statements that somebody would write for one queue in SQLite."""

    def __init__(self, path: str, durability: str) -> None:
        with unimq.Queue(f"sqlite:///{path}?queue=make&durability={durability}") as queue:
            queue.ping()  # makes the equal table
        self.db = sqlite3.connect(path, isolation_level=None)
        self.db.execute("PRAGMA journal_mode = WAL").fetchall()
        self.db.execute(f"PRAGMA synchronous = {durability}")

    INSERT = (
        "INSERT INTO unimq_messages (queue, rank, due, state, nonce, count, enqueued, body)"
        " VALUES ('hand', 5, 1e300, 0, 0, 0, ?, ?)"
    )
    NEXT = "SELECT seq FROM unimq_messages WHERE queue = 'hand' AND state = 0 ORDER BY rank, seq LIMIT"
    LEASE = "UPDATE unimq_messages SET due = ?, state = 1, count = count + 1 WHERE seq IN"
    DELETE = "DELETE FROM unimq_messages WHERE seq = ?"

    def put(self, n: int) -> None:
        """One by one."""
        for _ in range(n):
            self.db.execute(self.INSERT, (time.time(), BODY))

    def get_ack(self, n: int) -> None:
        """One by one."""
        for _ in range(n):
            lease = f"{self.LEASE} ({self.NEXT} 1) RETURNING seq, body"
            ((seq, _body),) = self.db.execute(lease, (time.time() + 60,)).fetchall()
            self.db.execute(self.DELETE, (seq,))

    def put_batches(self, n: int) -> None:
        """A hundred in a transaction."""
        for _ in range(n // 100):
            self.db.execute("BEGIN IMMEDIATE")
            self.db.executemany(self.INSERT, [(time.time(), BODY)] * 100)
            self.db.execute("COMMIT")

    def get_ack_batches(self, n: int) -> None:
        """A hundred in a transaction."""
        for _ in range(n // 100):
            lease = f"{self.LEASE} ({self.NEXT} 100) RETURNING seq, body"
            rows = self.db.execute(lease, (time.time() + 60,)).fetchall()
            self.db.execute("BEGIN IMMEDIATE")
            self.db.executemany(self.DELETE, [(seq,) for seq, _ in rows])
            self.db.execute("COMMIT")


class Ours:
    """The same by unimq."""

    def __init__(self, url: str) -> None:
        self.queue: unimq.Queue[Any] = unimq.Queue(url, codec="raw")
        self.queue.ping()

    def put(self, n: int) -> None:
        """One by one."""
        for _ in range(n):
            self.queue.put(BODY)

    def get_ack(self, n: int) -> None:
        """One by one."""
        for _ in range(n):
            message = self.queue.get(timeout=0)
            assert message.body == BODY
            message.ack()

    def put_get_ack(self, n: int) -> None:
        """Each message all the way."""
        for _ in range(n):
            self.queue.put(BODY)
            self.queue.get(timeout=0).ack()

    def put_batches(self, n: int) -> None:
        """A hundred in a call."""
        for _ in range(n // 100):
            self.queue.put_many([BODY] * 100)

    def get_ack_batches(self, n: int) -> None:
        """A hundred in a call."""
        for _ in range(n // 100):
            messages = self.queue.get_many(100, timeout=0)
            assert len(messages) == 100
            self.queue.ack(messages)


def sqlite_rows(folder: str, rounds: int, n: int) -> list[tuple[str, float, float, float]]:
    """(what, ours, by hand, ratio of the speeds) for both durabilities."""
    rows: list[tuple[str, float, float, float]] = []
    for durability in ("full", "normal"):
        hand = ByHand(f"{folder}/hand-{durability}.db", durability)
        ours = Ours(f"sqlite:///{folder}/ours-{durability}.db?queue=hand&durability={durability}")
        count = n // 10 if durability == "full" else n
        for what in ("put", "get_ack", "put_batches", "get_ack_batches"):
            pairs = []
            for turn in range(rounds):
                candidates = [getattr(ours, what), getattr(hand, what)]
                order = candidates if turn % 2 else candidates[::-1]
                figures = {id(c): timed(partial(c, count), count) for c in order}
                pairs.append((figures[id(candidates[0])], figures[id(candidates[1])]))
                prepare = {"get_ack": "put_batches", "get_ack_batches": "put_batches"}.get(what)
                if what.startswith("put"):
                    drain(ours, hand, count)
                if prepare:
                    getattr(ours, prepare)(count)
                    getattr(hand, prepare)(count)
            rows.append(row(f"sqlite {durability}: {what}", pairs))
            drain(ours, hand, 0)
            if what in {"put", "put_batches"}:
                ours.put_batches(count)
                hand.put_batches(count)
        ours.queue.close()
        hand.db.close()
    return rows


def drain(ours: Ours, hand: ByHand, _count: int) -> None:
    """Empty both."""
    ours.queue.delete()
    hand.db.execute("DELETE FROM unimq_messages")


def row(what: str, pairs: list[tuple[float, float]]) -> tuple[str, float, float, float]:
    """The medians of a comparison."""
    return (
        what,
        statistics.median(ours for ours, _ in pairs),
        statistics.median(other for _, other in pairs),
        statistics.median(other / ours for ours, other in pairs),
    )


def persist_queue_row(folder: str, rounds: int, n: int) -> tuple[str, float, float, float]:
    """Batches of 100 beside `SQLiteAckQueue` one by one (it has no batches); both with its `synchronous`."""
    other = persistqueue.SQLiteAckQueue(f"{folder}/persist", auto_commit=True)
    level = other._putter.execute("PRAGMA synchronous").fetchall()[0][0]
    durability = {1: "normal", 2: "full"}[level]
    ours = Ours(f"sqlite:///{folder}/persist-ours.db?queue=q&durability={durability}")
    count = max(500, n // 10)

    def by_other() -> None:
        for _ in range(count):
            other.put(BODY)
        for _ in range(count):
            other.ack(other.get(block=False))

    def by_ours() -> None:
        ours.put_batches(count)
        ours.get_ack_batches(count)

    pairs = [(timed(by_ours, count), timed(by_other, count)) for _ in range(rounds)]
    ours.queue.close()
    return row(f"sqlite {durability}: batches of 100, persist-queue one by one", pairs)


def kombu_rows(rounds: int, n: int) -> list[tuple[str, float, float, float]]:
    """put, get and ack on memory beside kombu's memory transport, which has no batches."""
    simple = kombu.Connection("memory://").SimpleQueue("bytes", serializer="raw", compression=None)
    simple_json = kombu.Connection("memory://").SimpleQueue("json")
    ours, ours_json = Ours("memory:///bytes"), unimq.Queue("memory:///json")
    job = {"to": "ada@example.org", "subject": "hello", "attempt": 1, "tags": ["a", "b"]}
    count = n // 4

    def kombu_bytes() -> None:
        for _ in range(count):
            simple.put(BODY, content_type="application/data", content_encoding="binary")
            simple.get(block=False).ack()

    def kombu_json() -> None:
        for _ in range(count):
            simple_json.put(job)
            message = simple_json.get(block=False)
            assert message.payload == job
            message.ack()

    def unimq_json() -> None:
        for _ in range(count):
            ours_json.put(job)
            message = ours_json.get(timeout=0)
            assert message.body == job
            message.ack()

    def unimq_batches() -> None:
        ours.put_batches(count)
        ours.get_ack_batches(count)

    count -= count % 100
    compared = (
        ("bytes", lambda: ours.put_get_ack(count), kombu_bytes),
        ("JSON", unimq_json, kombu_json),
        ("bytes, in batches of 100, kombu one by one", unimq_batches, kombu_bytes),
    )
    return [
        row(f"memory: put, get, ack of {what}", [(timed(by_us, count), timed(by_them, count)) for _ in range(rounds)])
        for what, by_us, by_them in compared
    ]


def depth_row(folder: str, rounds: int, n: int) -> tuple[str, float, float, float]:
    """Get and ack at 1,000,000 waiting messages, beside the same at 1,000."""
    deep = Ours(f"sqlite:///{folder}/deep.db?queue=q&durability=normal")
    shallow = Ours(f"sqlite:///{folder}/shallow.db?queue=q&durability=normal")
    deep.put_batches(1_000_000)
    count = min(n // 10, 500)
    pairs = []
    for _ in range(rounds):
        shallow.put_batches(1000)
        deep.put_batches(count)
        pairs.append((timed(lambda: deep.get_ack(count), count), timed(lambda: shallow.get_ack(count), count)))
        shallow.queue.purge()
    assert deep.queue.size() == 1_000_000
    deep.queue.close()
    shallow.queue.close()
    return row("sqlite normal: get_ack at 1,000,000 waiting beside 1,000", pairs)


def import_ms(folder: str, rounds: int) -> float:
    """Milliseconds that `import unimq` and its `Queue` take: compiled before, without the interpreter's start."""
    code = "import time; s = time.perf_counter(); import unimq; unimq.Queue; print((time.perf_counter() - s) * 1e3)"
    environ = {**os.environ, "PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": folder}
    runs = [float(subprocess.check_output([sys.executable, "-c", code], env=environ)) for _ in range(rounds + 1)]
    return statistics.median(runs[1:])


def machine() -> str:
    """What it ran on."""
    model = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        platform.processor(),
    )
    return f"{model}, {os.cpu_count()} cores, Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}"


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=5000, help="messages a round (5000)")
    parser.add_argument("--rounds", type=int, default=7, help="rounds (7)")
    parser.add_argument("--folder", default=None, help="where the files are made (a temporary directory)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    folder = tempfile.mkdtemp(dir=arguments.folder)
    try:
        rows = list(
            itertools.chain(
                sqlite_rows(folder, arguments.rounds, arguments.messages),
                [persist_queue_row(folder, arguments.rounds, arguments.messages)],
                [depth_row(folder, arguments.rounds, arguments.messages)],
                kombu_rows(arguments.rounds, arguments.messages),
            )
        )
        imported = import_ms(folder, arguments.rounds)
    finally:
        shutil.rmtree(folder)
    if arguments.json:
        print(json.dumps({"machine": machine(), "rows": rows, "import_ms": imported}))
        return
    print(f"{machine()}; medians of {arguments.rounds} rounds\n")
    print("| operation | unimq, us | other, us | unimq's speed / other's |\n|---|--:|--:|--:|")
    for what, ours, other, ratio in rows:
        print(f"| {what} | {ours:.1f} | {other:.1f} | {ratio:.2f} |")
    print(f"\n`import unimq` and its `Queue`: {imported:.0f} ms")


if __name__ == "__main__":
    main()
