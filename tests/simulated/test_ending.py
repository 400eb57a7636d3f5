"""What waits ends when it is told to: an interruption, the close of a queue, the close of a client."""

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from servers import Broker, DuplexSession

import unimq
from unimq.aio import AsyncQueue

PATIENCE = 20.0
SCHEMES = ["simsame", "simduplex", "simonce", "memory"]


class Ended:
    """Runs a call in a thread, and notes how and when it ended."""

    def __init__(self, call: Callable[[], object]) -> None:
        self.outcome: object = None
        self.at = 0.0
        self._thread = threading.Thread(target=self._run, args=(call,))
        self._thread.start()

    def _run(self, call: Callable[[], object]) -> None:
        try:
            self.outcome = call()
        except unimq.UnimqError as error:
            self.outcome = type(error)
        self.at = time.monotonic()

    def join(self) -> object:
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()
        return self.outcome


@pytest.mark.parametrize("scheme", SCHEMES)
def test_an_interruption_ends_what_waits_on_that_queue(scheme: str, broker: Broker) -> None:
    """Its gets, batches, iterations and the gets over several queues say `Empty`; those of another queue go on."""
    with unimq.connect(f"{scheme}://{broker.name}") as client:
        queue, other = client.queue("jobs"), client.queue("other")
        ended = [
            Ended(queue.get),
            Ended(queue.get_many),
            Ended(lambda: list(queue)),
            Ended(lambda: client.get([other, queue])),
        ]
        untouched = Ended(lambda: other.get().body)
        time.sleep(0.1)
        start = time.monotonic()
        queue.interrupt()
        assert [one.join() for one in ended] == [unimq.Empty, unimq.Empty, [], unimq.Empty]
        assert max(one.at for one in ended) - start < 1
        other.put(3)
        assert untouched.join() == 3
        queue.put(4)
        assert queue.get(timeout=1).body == 4


def test_no_interruption_comes_too_early(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    """A get that is about to wait, and finds nothing of the interruption when it does, is interrupted again."""
    about, receive = threading.Event(), DuplexSession.receive

    def late(self: DuplexSession, *arguments: Any, **named: Any) -> Any:
        about.set()
        time.sleep(0.05)
        return receive(self, *arguments, **named)

    monkeypatch.setattr(DuplexSession, "receive", late)
    for end in (unimq.Queue.interrupt, unimq.Queue.close):
        about.clear()
        with unimq.connect(f"simduplex://{broker.name}") as client:
            queue = client.queue("jobs")
            one = Ended(queue.get)
            assert about.wait(PATIENCE)
            start = time.monotonic()
            end(queue)
            assert one.join() in {unimq.Empty, unimq.Closed}
            assert one.at - start < 1


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_queue_of_a_shared_client_is_closed_alone(scheme: str, broker: Broker) -> None:
    """Its gets that wait end within a second, with `Closed`; the client and its other queues go on."""
    with unimq.connect(f"{scheme}://{broker.name}") as client:
        queue, other = client.queue("jobs"), client.queue("other")
        ended, untouched = Ended(queue.get), Ended(lambda: other.get().body)
        time.sleep(0.1)
        start = time.monotonic()
        queue.close()
        assert ended.join() is unimq.Closed
        assert ended.at - start < 1
        other.put(3)
        assert untouched.join() == 3


def test_a_close_takes_a_second_in_all(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many sessions are stuck in a call, stand in line for one, wait for a message or try to connect."""
    stuck, enter = threading.Event(), threading.Barrier(7)

    def send(self: DuplexSession, *_: object) -> list[str]:
        enter.wait(PATIENCE)
        stuck.wait(PATIENCE)
        return ["1"]

    monkeypatch.setattr(DuplexSession, "send", send)
    client = unimq.connect(f"simduplex://{broker.name}?max_sessions=6")
    ended = [Ended(lambda: client.queue("jobs").put(1)) for _ in range(6)]
    enter.wait(PATIENCE)
    ended += [Ended(lambda: client.queue("jobs").put(1)), Ended(client.queue("jobs").get)]
    time.sleep(0.1)
    start = time.monotonic()
    client.close()
    assert time.monotonic() - start < 1.2
    stuck.set()
    for one in ended:
        one.join()
    assert ended[6].outcome is unimq.Closed
    assert ended[7].outcome is unimq.Closed
    assert max(one.at for one in ended[6:]) - start < 1.2


@pytest.mark.parametrize("scheme", ["simsame", "memory"])
def test_an_interruption_ends_what_tasks_wait_for(scheme: str, broker: Broker) -> None:
    """The same for asyncio."""

    async def run() -> list[object]:
        async with AsyncQueue[int](f"{scheme}://{broker.name}/jobs") as queue:
            several = asyncio.create_task(queue.client.get([queue]))
            tasks = [asyncio.create_task(queue.get()) for _ in range(3)]
            await asyncio.sleep(0.1)
            await queue.interrupt()
            outcomes = await asyncio.wait_for(asyncio.gather(several, *tasks, return_exceptions=True), PATIENCE)
            await queue.put(5)
            async with await queue.get(timeout=1) as message:
                return [*(type(one) for one in outcomes), message.body]

    assert asyncio.run(run()) == [unimq.Empty] * 4 + [5]
