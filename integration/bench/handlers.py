"""A worker beside a loop that somebody would write by hand on the bare client: `python -m bench.handlers BACKEND`.

A job does nothing but count itself. Each thread of the loop has a connection of its own, takes a message, calls the
handler, and acks; it retries nothing, keeps no lease, and has no way to stop but the end. All messages are there
before, and each round runs both sides, beginning with the other one each time.
"""

import argparse
import os
import queue
import sqlite3
import tempfile
import threading
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Protocol

import greenstalk
from activemq.recipes import BROKER
from beanstalkd.recipes import PLAIN
from bench.activemq import Bare as Stomp
from bench.compare import machine, served_by, server
from bench.embedded import ByHand
from bench.workers import CONCURRENCIES, Done, Took, measured, ours, row

import unimq

Handler = Callable[[], object]


class Loop(Protocol):
    """The connection of one thread."""

    def step(self, handler: Handler) -> None:
        """Take a message, and handle and ack it; none may be there any more."""

    def close(self) -> None:
        """Leave."""


class SQLite:
    """The standard library, on an equal table."""

    def __init__(self, url: unimq.URL) -> None:
        path, durability = url.path or "", dict(url.options)["durability"]
        self.db = sqlite3.connect(path, isolation_level=None, timeout=60)
        self.db.execute(f"PRAGMA synchronous = {durability}")

    def step(self, handler: Handler) -> None:
        taken = f"{ByHand.LEASE} ({ByHand.NEXT.replace('hand', 'jobs')} 1) RETURNING seq, body"
        rows = self.db.execute(taken, (time.time() + 60,)).fetchall()
        for seq, _body in rows:
            handler()
            self.db.execute(ByHand.DELETE, (seq,))

    def close(self) -> None:
        self.db.close()


class Greenstalk:
    """beanstalkd's client."""

    def __init__(self, url: unimq.URL) -> None:
        where = url.hosts[0].name, url.hosts[0].port or 11300
        self.client = greenstalk.Client(where, encoding=None, watch=url.queue_name(path_is_queue=True) or "")

    def step(self, handler: Handler) -> None:
        try:
            job = self.client.reserve(0)
        except greenstalk.TimedOutError:
            return
        self.describe(job)
        handler()
        self.client.delete(job)

    def describe(self, job: Any) -> None:
        """It tells no more."""

    def close(self) -> None:
        self.client.close()


class GreenstalkToldAll(Greenstalk):
    """The same, asking for what unimq tells of a message: count, lease, priority."""

    def describe(self, job: Any) -> None:
        self.client.stats_job(job)


class StompPy:
    """stomp.py, with a receipt for each ack."""

    def __init__(self, url: unimq.URL) -> None:
        self.bare = Stomp(url, url.queue_name(path_is_queue=True) or "")
        self.bare.connection.subscribe(self.bare.where, "1", "client-individual", {"activemq.prefetchSize": "1"})

    def step(self, handler: Handler) -> None:
        try:
            frame = self.bare.messages.get(timeout=0.2)
        except queue.Empty:
            return
        handler()
        self.bare.connection.ack(frame.headers["ack"], receipt=next(self.bare.names))
        self.bare.receipts.get(timeout=30)

    def close(self) -> None:
        self.bare.close()


BACKENDS: Final[Mapping[str, Mapping[str, Callable[[unimq.URL], Loop]]]] = {
    "sqlite": {"sqlite3": SQLite},
    "beanstalkd": {"greenstalk": Greenstalk, "greenstalk with stats-job": GreenstalkToldAll},
    "activemq": {"stomp.py": StompPy},
}
RECIPES: Final = {"beanstalkd": PLAIN, "activemq": BROKER}


def by_hand(make: Callable[[unimq.URL], Loop], url: unimq.URL, jobs: int, concurrency: int) -> Took:
    """What the loop took."""
    done, over = Done(jobs), threading.Event()
    with unimq.Queue(url) as filled:
        filled.put_many(range(jobs))

    def work() -> None:
        loop = make(url)
        while not over.is_set():
            loop.step(done.one)
        loop.close()

    threads = [threading.Thread(target=work) for _ in range(concurrency)]
    start = Took.now()
    for thread in threads:
        thread.start()
    took = done.wait(start)
    over.set()
    for thread in threads:
        thread.join()
    return took


@contextmanager
def fresh(where: unimq.URL | None, durability: str | None) -> Generator[unimq.URL]:
    """A queue of its own: of the server, or in a new file."""
    if where is not None:
        yield where.with_queue(f"b{os.urandom(8).hex()}")
        return
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        yield unimq.URL.parse(f"sqlite:///{folder}/jobs.db?queue=jobs&durability={durability}")


def table(asked: argparse.Namespace, where: unimq.URL | None, durability: str | None = None) -> None:
    """The medians of one backend."""
    for concurrency in CONCURRENCIES:
        for name, make in BACKENDS[asked.backend].items():

            def us(concurrency: int = concurrency) -> Took:
                with fresh(where, durability) as url:
                    return ours(str(url.reveal()), asked.jobs, concurrency)

            def other(concurrency: int = concurrency, make: Callable[[unimq.URL], Loop] = make) -> Took:
                with fresh(where, durability) as url:
                    return by_hand(make, url, asked.jobs, concurrency)

            told = " ".join(filter(None, (asked.backend, durability)))
            print(row(f"{told}, {name}", concurrency, measured(us, other, asked.rounds), asked.jobs), flush=True)


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("backend", choices=BACKENDS)
    parser.add_argument("url", nargs="?", help="a server that runs; without, one is started")
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=7)
    asked = parser.parse_args()
    print(f"{machine()}; medians of {asked.rounds} rounds; load {os.getloadavg()[0]:.1f}")
    print("| store | threads | unimq, us | other, us | unimq, CPU us | other, CPU us | ratio | CPU ratio |")
    print("|---|--:|--:|--:|--:|--:|--:|--:|")
    if asked.backend == "sqlite":
        for durability in ("full", "normal"):
            table(asked, None, durability)
    else:
        with server(RECIPES[asked.backend], asked.url) as where:
            table(asked, where)
            print(served_by(where))
    print(f"load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
