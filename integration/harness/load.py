"""Producers and consumers at work at once, while a test breaks the servers that they work on."""

import contextlib
import itertools
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

import unimq
from unimq.errors import UnimqError
from unimq.testing.lab import PATIENCE

__all__ = ["WORKERS", "Load", "working"]

WORKERS: Final = 4
"""Producers, and as many consumers."""
_AWAY: Final = (unimq.Empty, unimq.ConnectError, unimq.ConnectionLost, unimq.Timeout)


@dataclass
class Load:
    """What producers tried and consumers saw. Each name is a message's body."""

    stop: threading.Event = field(default_factory=threading.Event)
    tried: set[str] = field(default_factory=set)
    confirmed: set[str] = field(default_factory=set)
    failed: list[UnimqError] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)
    """Seconds that each put took."""
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
            with contextlib.suppress(*_AWAY):
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
                thread.join(3 * PATIENCE)
