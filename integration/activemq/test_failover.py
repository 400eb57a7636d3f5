"""Two brokers in one URL: one is killed, one is paused, and the work goes on."""

import threading
import time
from collections.abc import Callable, Iterator

import pytest
from harness import Recipe, Run, Running

import unimq
from unimq.errors import BatchError, ConnectError, ConnectionLost, LeaseLost, Timeout
from unimq.testing.lab import PATIENCE, fresh_name

_AWAY = (ConnectError, ConnectionLost, Timeout, LeaseLost)
_PATIENCE = 12 * PATIENCE
"""Seconds: a broker needs many to start on a busy machine."""


@pytest.fixture(scope="module")
def brokers(run: Run, broker: Recipe) -> Iterator[tuple[Running, Running]]:
    with run.private(broker) as first, run.private(broker) as second:
        yield first, second


@pytest.fixture
def url(brokers: tuple[Running, Running]) -> str:
    first, second = brokers
    address = f"127.0.0.1:{first.port},127.0.0.1:{second.port}"
    return f"activemq://unimq:secret@{address}/{fresh_name()}?timeout=5s&connect_timeout=2s"


class Work:
    """A producer and a consumer that note what was confirmed and what came."""

    def __init__(self, url: str) -> None:
        self.stored: set[str] = set()
        self.found: set[str] = set()
        self.doubtful: set[str] = set()
        """Put again after an error that says in doubt, or not known to be settled."""
        self.doubled: set[str] = set()
        """Came again, though not marked as delivered again."""
        self.puts_end = threading.Event()
        self.gets_end = threading.Event()
        self._url = url
        self._threads = [threading.Thread(target=part) for part in (self._produce, self._consume)]
        for thread in self._threads:
            thread.start()

    def _produce(self) -> None:
        with unimq.Queue(self._url) as queue:
            number = 0
            while not self.puts_end.is_set():
                number += 1
                name = f"m{number}"
                while not self.puts_end.is_set():
                    try:
                        queue.put(number, id=name)  # repeated with the same id, where it is in doubt
                    except _AWAY as error:
                        if error.in_doubt:
                            self.doubtful.add(name)
                        time.sleep(0.02)
                    else:
                        self.stored.add(name)
                        break

    def _consume(self) -> None:
        with unimq.Queue(self._url) as queue:
            while not self.gets_end.is_set():
                try:
                    message = queue.get(timeout=0.3)
                except (unimq.Empty, *_AWAY):
                    continue
                name = str(message.id)
                if name in self.found and not message.redelivered:
                    self.doubled.add(name)
                self.found.add(name)
                try:
                    message.ack()
                except _AWAY:
                    self.doubtful.add(name)

    def until(self, reached: Callable[[], object]) -> None:
        ends = time.monotonic() + _PATIENCE
        while not reached() and time.monotonic() < ends:
            time.sleep(0.05)
        assert reached()

    def close(self) -> None:
        self.puts_end.set()
        self.gets_end.set()
        for thread in self._threads:
            thread.join(_PATIENCE)


@pytest.mark.timeout(400)
@pytest.mark.parametrize("fault", ["kill", "pause"])
def test_work_goes_on_and_nothing_confirmed_is_lost(brokers: tuple[Running, Running], url: str, fault: str) -> None:
    """While one of two brokers is away, puts are confirmed and consumed; afterwards all that was confirmed has come."""
    first, _ = brokers
    work = Work(url)
    try:
        work.until(lambda: len(work.found) > 20)
        getattr(first, fault)()
        stored, found = len(work.stored), len(work.found)
        work.until(lambda: len(work.stored) > stored + 20 and len(work.found) > found + 20)
        first.resume()
        first.start()
        work.puts_end.set()
        work.until(lambda: work.stored <= work.found)
        assert work.doubled <= work.doubtful
    finally:
        first.resume()
        first.start()
        work.close()


@pytest.mark.timeout(400)
def test_both_away_is_told_in_time(brokers: tuple[Running, Running], url: str) -> None:
    """With a batch too; when one is back, the same queue works again."""
    first, second = brokers
    # A broker that has just begun is slow to say what it can do.
    with unimq.Queue(f"{url.partition('?')[0]}?timeout=60s&connect_timeout=60s") as queue:
        queue.ping()
        first.kill()
        second.kill()
        try:
            start = time.monotonic()
            with pytest.raises((ConnectError, ConnectionLost, Timeout)):
                queue.put("x")
            with pytest.raises((BatchError, ConnectError, ConnectionLost, Timeout)):
                queue.put_many(["x", "y"])
            assert time.monotonic() - start < 2 * PATIENCE + PATIENCE
            second.start()
            queue.put("back")
            with queue.get(timeout=PATIENCE) as message:
                assert message.body == "back"
        finally:
            second.start()
            first.start()
