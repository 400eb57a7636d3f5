"""The threads of one worker ask for messages together, and ack together, where they would wait for each other."""

import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

import unimq
from unimq import Message, Queue, Worker
from unimq.driver import Delivery
from unimq.errors import UnimqError
from unimq.outcomes import outcome_of
from unimq.testing.lab import PATIENCE
from unimq.testing.workers import running, until
from unimq.worker.acking import Acker
from unimq.worker.ledger import Ledger
from unimq_memory.driver import MemoryDriver
from unimq_memory.session import MemorySession


class Watched:
    """What the sessions of a store are asked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.limits: list[int] = []
        self.acks: list[int] = []
        self.asking = 0
        self.most = 0
        self.may_ack = threading.Event()
        self.may_ack.set()
        self.begun = threading.Semaphore(0)
        self.takes = 0.0
        self.fails: list[BaseException] = []
        receive, ack = MemorySession.receive, MemorySession.ack
        lock = threading.Lock()

        def asked(session: MemorySession, queues: Sequence[str], limit: int, *rest: Any, **more: Any) -> Any:
            with lock:
                self.asking += 1
                self.most = max(self.most, self.asking)
                self.limits.append(limit)
            time.sleep(self.takes)
            try:
                return receive(session, queues, limit, *rest, **more)
            finally:
                with lock:
                    self.asking -= 1

        def acked(session: MemorySession, deliveries: Sequence[Delivery], deadline: float) -> Any:
            if self.fails:
                raise self.fails.pop()
            self.acks.append(len(deliveries))
            self.begun.release()
            assert self.may_ack.wait(PATIENCE)
            return ack(session, deliveries, deadline)

        monkeypatch.setattr(MemorySession, "receive", asked)
        monkeypatch.setattr(MemorySession, "ack", acked)


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Watched:
    return Watched(monkeypatch)


@pytest.fixture
def held() -> Iterator[threading.Event]:
    """What handlers wait for; set at the end."""
    event = threading.Event()
    yield event
    event.set()


class TestTaking:
    def test_one_thread_asks_for_all_that_are_idle(self, url: str, watched: Watched) -> None:
        """What is there comes in few receives, and never two at a time."""
        all_at_work = threading.Barrier(16)
        worker = Worker(url, lambda message: all_at_work.wait(PATIENCE), concurrency=16)
        with Queue[Any](url) as queue, running(worker):
            until(lambda: worker._taker.idle == 15)
            queue.put_many(range(16))
            until(lambda: worker.health().done == 16)
        assert watched.most == 1
        assert watched.limits[:5] == [1, 2, 4, 8, 1]

    def test_a_server_that_is_far_is_asked_by_a_few(
        self, url: str, watched: Watched, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Or all would wait for the answer that one waits for; what is embedded is never far."""
        monkeypatch.setattr("unimq.worker.taking._FAR", 0.0)
        watched.takes = 0.002
        for port, most in ((None, {1}), (1, set(range(2, 9)))):
            monkeypatch.setattr(MemoryDriver, "port", port)
            watched.most = 0
            with Queue[Any](url) as queue:
                queue.put_many(range(200))
                with running(Worker(url, lambda message: None, concurrency=16)) as worker:
                    until(lambda worker=worker: worker.health().done == 200)
            assert watched.most in most

    def test_no_more_is_taken_than_threads_are_idle(self, url: str, watched: Watched, held: threading.Event) -> None:
        """Each message that was taken is at work."""
        with Queue[Any](url) as queue:
            queue.put_many(range(50))
            with running(Worker(url, lambda message: held.wait(PATIENCE), concurrency=8)) as worker:
                until(lambda: worker.health().running == 8)
                assert queue.stats().leased == 8
                held.set()
                until(lambda: worker.health().done == 50)

    def test_an_empty_queue_is_asked_for_one(self, url: str, watched: Watched) -> None:
        """However many wait: a server may be asked for each of many by itself."""
        with Queue[Any](url) as queue, running(Worker(url, lambda message: None, concurrency=16)) as worker:
            until(lambda: watched.asking)
            assert watched.limits == [1]
            queue.put(1)
            until(lambda: worker.health().done == 1)

    def test_one_that_was_slow_is_no_hindrance(self, url: str, held: threading.Event) -> None:
        """The others go on."""

        def work(message: Message[Any]) -> None:
            if message.body == 0:
                held.wait(PATIENCE)

        with Queue[Any](url) as queue, running(Worker(url, work, concurrency=2)) as worker:
            queue.put_many(range(20))
            until(lambda: worker.health().done == 19)
            assert worker.health().running == 1
            held.set()
            until(lambda: worker.health().done == 20)

    def test_a_stop_gives_back_what_nobody_has_begun(self, url: str, held: threading.Event) -> None:
        """What was brought for threads that are not there any more."""
        with Queue[Any](url) as queue:
            worker = Worker(url, lambda message: held.wait(PATIENCE), concurrency=2, grace=0)
            queue.put_many([1, 2, 3])
            with running(worker):
                until(lambda: worker.health().running == 2)
                worker._taker._brought.append(queue.client.queue(queue.name).get(timeout=0))
            assert queue.stats().ready == 3

    def test_a_stop_in_the_middle_loses_nothing_and_doubles_nothing(self, url: str) -> None:
        """Counted: what was not handled is there, as if it had never been delivered."""
        for concurrency in (2, 16):
            done: list[int] = []
            enough = threading.Event()

            def work(message: Message[Any], done: list[int] = done, enough: threading.Event = enough) -> None:
                done.append(message.body)
                if len(done) >= 100:
                    enough.set()
                    time.sleep(0.005)

            with unimq.connect(url) as client:
                queue = client.queue()
                queue.put_many(range(1000))
                with running(Worker(client, work, concurrency=concurrency)) as worker:
                    assert enough.wait(PATIENCE)
                left = queue.get_many(10_000, timeout=0) if worker.health().done < 1000 else []
                assert worker.health().done == len(done)
                assert sorted([*done, *[message.body for message in left]]) == list(range(1000))
                assert {message.delivery_count for message in left} <= {1}
                queue.ack(left)


class TestAcking:
    @contextmanager
    def gathered(self, queue: Queue[Any], watched: Watched, count: int) -> Iterator[list[BaseException | None]]:
        """So many threads ack, the first of them is under way, and the others have gathered; ended afterwards."""
        acker, outcomes = Acker([queue]), list[BaseException | None]()

        def ack(message: Message[Any]) -> None:
            try:
                outcomes.append(outcome_of(acker.ack, message))
            except KeyboardInterrupt as interruption:
                outcomes.append(interruption)

        queue.put_many(range(count))
        threads = [threading.Thread(target=ack, args=(one,)) for one in queue.get_many(count, timeout=0)]
        watched.may_ack.clear()
        try:
            threads[0].start()
            assert watched.begun.acquire(timeout=PATIENCE)
            for thread in threads[1:]:
                thread.start()
            (place,) = acker._places.values()
            until(lambda: len(place.wanted) == count - 1)
            self.waiting = [one.message for one in place.wanted]
            yield outcomes
        finally:
            watched.may_ack.set()
            for thread in threads:
                thread.join(PATIENCE)
        assert not acker._places

    def test_acks_gather_while_one_is_under_way(self, url: str, watched: Watched) -> None:
        """And go together; each counts."""
        with Queue[Any](url) as queue:
            with self.gathered(queue, watched, 8) as outcomes:
                pass
            assert outcomes == [None] * 8
            assert watched.acks == [1, 7]
            stats = queue.stats()
            assert (stats.ready, stats.leased) == (0, 0)

    def test_one_that_fails_leaves_the_others_alone(self, url: str, watched: Watched) -> None:
        """It alone has an error."""
        with Queue[Any](url) as queue:
            with self.gathered(queue, watched, 5) as outcomes:
                self.waiting[2]._claim.take(object())  # somebody settles it in this moment
            assert Counter(map(type, outcomes)) == {type(None): 4, unimq.AlreadySettled: 1}
            assert queue.stats().leased == 1

    def test_those_whose_ack_was_interrupted_ack_themselves(self, url: str, watched: Watched) -> None:
        """The one that acks for all may end by an exception that belongs to its thread alone."""
        with Queue[Any](url) as queue:
            with self.gathered(queue, watched, 6) as outcomes:
                watched.fails.append(KeyboardInterrupt())
            assert Counter(map(type, outcomes)) == {type(None): 5, KeyboardInterrupt: 1}
            assert queue.stats().leased == 1


class TestBusy:
    @pytest.mark.slow
    def test_a_store_that_is_busy_is_not_away(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Somebody else writes for longer than a get lasts: nothing is logged, and the work goes on afterwards."""
        path = tmp_path / "jobs.db"
        url = f"sqlite:///{path}?queue=jobs"
        told = threading.Event()
        missed = Ledger.missed

        def noted(ledger: Ledger[Any], error: UnimqError) -> float:
            told.set()
            return missed(ledger, error)

        monkeypatch.setattr(Ledger, "missed", noted)
        with Queue[Any](url) as queue, closing(sqlite3.connect(path, isolation_level=None)) as other:
            queue.put(1)
            other.execute("BEGIN IMMEDIATE")
            with running(Worker(url, lambda message: None)) as worker:
                assert told.wait(PATIENCE)
                assert worker.health().connected
                other.execute("COMMIT")
                until(lambda: worker.health().done == 1)
        assert not [record for record in caplog.records if record.name == "unimq.worker"]

    def test_one_that_is_busy_for_long_is_told(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Once, as one that is away."""
        busy = unimq.Timeout("locked")
        busy.ends_session = False
        ledger: Ledger[Any] = Ledger("somewhere")
        ledger.reached()
        assert ledger.missed(busy) == 0.0
        assert ledger.health().connected
        monkeypatch.setattr("unimq.worker.ledger._BUSY_MOST", 0.0)
        assert ledger.missed(busy) > 0.0
        assert ledger.health().error == "locked"
        monkeypatch.undo()
        ledger.reached()
        assert ledger.health().error is None
        assert ledger.missed(busy) == 0.0
