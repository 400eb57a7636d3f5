"""Three servers in one URL, under load: one is killed, one is frozen, and both come back with what they had."""

import contextlib
import itertools
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest
from beanstalkd.recipes import LOGGED
from harness import Recipe, Running

import unimq
from unimq.errors import UnimqError
from unimq.testing.lab import PATIENCE

TIMEOUT = 2.0
"""Seconds that a put may take."""
CONNECT = 0.5
"""Seconds that a connect may take."""
SLACK = 1.0
"""Seconds for a machine with other work to do."""
WORKERS = 4
"""Producers, and as many consumers."""


@dataclass
class Load:
    """What producers tried and consumers saw. Each name is a message's body."""

    stop: threading.Event = field(default_factory=threading.Event)
    tried: set[str] = field(default_factory=set)
    confirmed: set[str] = field(default_factory=set)
    failed: list[UnimqError] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)
    seen: list[str] = field(default_factory=list)
    broken: list[BaseException] = field(default_factory=list)

    def produce(self, queue: unimq.Queue[str], worker: int) -> None:
        """Put one after the other until told to stop."""
        for number in itertools.count():
            if self.stop.wait(0.002):
                return
            name = f"{worker}-{number}"
            self.tried.add(name)
            start = time.monotonic()
            try:
                queue.put(name)
                self.confirmed.add(name)
            except UnimqError as error:
                self.failed.append(error)
            self.waits.append(time.monotonic() - start)

    def consume(self, queue: unimq.Queue[str], _worker: int) -> None:
        """Get and ack until nothing confirmed is missing."""
        while not (self.stop.is_set() and self.confirmed.issubset(self.seen)):
            with contextlib.suppress(unimq.Empty, unimq.ConnectError, unimq.ConnectionLost, unimq.Timeout):
                message = queue.get(timeout=0.2)
                self.seen.append(message.body)
                with contextlib.suppress(unimq.LeaseLost):  # its server went away: it comes again
                    message.ack()

    def put_more(self, messages: int) -> None:
        """Wait until so many more are confirmed."""
        wanted, until = len(self.confirmed) + messages, time.monotonic() + PATIENCE
        while len(self.confirmed) < wanted:
            assert not self.broken
            assert time.monotonic() < until, f"{wanted - len(self.confirmed)} of {messages} puts did not come through"
            time.sleep(0.01)


@contextlib.contextmanager
def working(url: str) -> Iterator[Load]:
    """Producers with one client and consumers with another; they end when all that was confirmed has arrived."""
    load = Load()

    def run(work: Callable[[unimq.Queue[str], int], None], queue: unimq.Queue[str], worker: int) -> None:
        try:
            work(queue, worker)
        except BaseException as error:  # noqa: BLE001 - a thread has nobody else to tell
            load.broken.append(error)

    with unimq.Queue(url, type=str) as puts, unimq.Queue(url, type=str) as gets:
        threads = [
            threading.Thread(target=run, args=(work, queue, worker), daemon=True)
            for work, queue in ((load.produce, puts), (load.consume, gets))
            for worker in range(WORKERS)
        ]
        for thread in threads:
            thread.start()
        try:
            yield load
        finally:
            load.stop.set()
            for thread in threads:
                thread.join(PATIENCE)


@pytest.fixture(scope="class")
def servers(private: Callable[[Recipe], Running]) -> list[Running]:
    """Three, each with its log."""
    return [private(LOGGED) for _ in range(3)]


class TestHosts:
    """A client of several servers works on while some are away, and loses nothing that was confirmed."""

    def test_nothing_confirmed_is_lost(self, servers: list[Running]) -> None:
        """One server killed and one frozen: puts go to the third, and what the two had arrives when they are back."""
        killed, frozen, _ = servers
        hosts = ",".join(f"127.0.0.1:{server.port}" for server in servers)
        with working(f"beanstalkd://{hosts}/jobs?timeout={TIMEOUT}&connect_timeout={CONNECT}&lease=5") as load:
            load.put_more(200)
            killed.kill()
            load.put_more(200)
            frozen.pause()
            load.put_more(500)
            killed.start()
            frozen.resume()
            load.put_more(300)
        assert not load.broken
        seen = set(load.seen)
        slow = [wait for wait in load.waits if wait > CONNECT + SLACK]
        print(
            f"{len(load.tried)} tried, {len(load.confirmed)} confirmed, {len(load.failed)} failed, "
            f"{len(load.seen) - len(seen)} duplicates; slow puts: {[round(wait, 2) for wait in slow]}"
        )
        assert load.confirmed <= seen
        assert seen <= load.tried
        assert all(error.in_doubt for error in load.failed), load.failed
        assert max(load.waits) < TIMEOUT + SLACK
        assert len(slow) <= WORKERS
