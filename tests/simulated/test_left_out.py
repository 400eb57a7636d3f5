"""Hosts that do not answer: what is left out, and how it comes back."""

import statistics
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from servers import DUPLEX, SAME_SESSION, Broker, DuplexSession, SimSession

import unimq

PATIENCE = 20.0


class Hole:
    """A driver's `open` that swallows connects to one host until it is mended."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
        self.tries = 0
        self.mended = threading.Event()
        real = DUPLEX.open

        def opened(url: unimq.URL, deadline: float, **named: Any) -> SimSession:
            if url.hosts[0].name == name and not self.mended.is_set():
                self.tries += 1
                if not self.mended.wait(max(0.0, deadline - time.monotonic())):
                    msg = f"{url}: no answer"
                    raise unimq.ConnectError(msg)
            return real(url, deadline, **named)

        monkeypatch.setattr(DUPLEX, "open", opened)


@pytest.fixture
def hole(monkeypatch: pytest.MonkeyPatch, broker: Broker) -> Iterator[Hole]:
    one = Hole(monkeypatch, broker.name)
    yield one
    one.mended.set()  # so that no thread waits any longer


def until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.005)


@pytest.mark.slow
def test_a_black_hole_delays_neither_gets_nor_puts(hole: Hole, broker: Broker, other_broker: Broker) -> None:
    """Of two hosts one swallows connects: the messages of the other come at once, and no put waits for it."""
    url = f"simduplex://{broker.name},{other_broker.name}"
    with (
        unimq.Queue[float](f"{url}/jobs") as queue,
        unimq.Queue[float](f"simduplex://{other_broker.name}/jobs") as feeder,
    ):
        late: list[float] = []

        def consume() -> None:
            for _ in range(15):
                message = queue.get(timeout=PATIENCE)
                late.append(time.monotonic() - message.body)
                message.ack()

        consuming = threading.Thread(target=consume)
        consuming.start()
        until(lambda: bool(queue.client.pool.hosts[0].failures))
        for _ in range(15):
            time.sleep(0.1)
            feeder.put(time.monotonic())
        consuming.join(PATIENCE)
        took: list[float] = []
        for _ in range(20):
            start = time.monotonic()
            queue.put(0.0)
            took.append(time.monotonic() - start)
        assert statistics.median(late) < 0.02
        assert max(took) < 0.25
    with unimq.Queue[float](f"{url}/fresh") as queue:  # which does not know of the hole
        start = time.monotonic()
        for _ in range(4):
            queue.put(0.0)
        assert time.monotonic() - start < 2
    assert hole.tries < 8


def test_what_answers_again_is_taken_back(hole: Hole, broker: Broker, other_broker: Broker) -> None:
    """It is tried in the background, while a get waits; then it has its share, and its messages are found."""
    with (
        unimq.Queue[int](f"simduplex://{broker.name},{other_broker.name}/jobs?connect_timeout=1s") as queue,
        unimq.Queue[int](f"simduplex://{broker.name}/jobs") as feeder,
    ):
        queue.put(0)
        queue.get(timeout=PATIENCE).ack()
        got: list[int] = []
        waiting = threading.Thread(target=lambda: got.append(queue.get(timeout=PATIENCE).body))
        waiting.start()
        until(lambda: hole.tries > 1)
        hole.mended.set()
        feeder.put(7)
        waiting.join(PATIENCE)
        assert got == [7]
        until(lambda: not queue.client.pool.hosts[0].failures)
        before = len(broker.jobs)
        for number in range(10):
            queue.put(number)
        assert len(broker.jobs) - before == 5


def test_a_host_that_only_takes_connects_stays_left_out(
    broker: Broker, other_broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not taken back because it could be connected to, but when a call went well."""
    stalled = threading.Event()
    stalled.set()
    real = DuplexSession.ping

    def ping(self: DuplexSession, deadline: float) -> str:
        if self.broker is broker and stalled.is_set():
            msg = "no answer in time"
            raise unimq.Timeout(msg)
        return real(self, deadline)

    monkeypatch.setattr(DuplexSession, "ping", ping)
    with unimq.Queue[int](f"simduplex://{broker.name},{other_broker.name}/jobs") as queue:
        pool = queue.client.pool
        pool.hosts[0].failed()
        end = time.monotonic() + 0.5
        while time.monotonic() < end:
            queue.put(1)
            time.sleep(0.01)
        assert broker.opened > 1
        assert not broker.jobs
        stalled.clear()
        until(lambda: pool.order() is not None and not pool.hosts[0].failures)


@pytest.mark.parametrize("getters", [1, 30])
def test_gets_that_wait_for_a_server_do_not_wake_one_another(
    getters: int, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many wait, each connects once and then they are one connect at a time, with a back-off."""
    with unimq.Queue[int](f"simsame://{broker.name}/jobs") as queue:
        queue.put(1)
        queue.get(timeout=1).ack()
        broker.down = True
        broker.cut()
        tries, real = [0], SAME_SESSION.open

        def opened(*arguments: Any, **named: Any) -> SimSession:
            tries[0] += 1
            return real(*arguments, **named)

        monkeypatch.setattr(SAME_SESSION, "open", opened)
        errors: list[str] = []

        def get() -> None:
            with pytest.raises(unimq.UnimqError) as caught:
                queue.get(timeout=1.5)
            errors.append(type(caught.value).__name__)

        threads = [threading.Thread(target=get) for _ in range(getters)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
        assert errors == ["ConnectError"] * getters
        assert 2 <= tries[0] <= getters + 8
        broker.down = False
        queue.put(2)
        assert queue.get(timeout=5).body == 2
