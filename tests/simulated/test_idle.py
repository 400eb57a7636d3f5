"""Sessions that nobody uses are closed after `?max_idle=`, but for one."""

import gc
import threading
import time
import weakref
from collections.abc import Callable

import pytest
from servers import Broker, DuplexSession, SameSessionSession

import unimq

PATIENCE = 20.0


def until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.005)


def burst(queue: "unimq.Queue[int]", session: type, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four puts at the same moment, each on a session of its own."""
    together, send = threading.Barrier(4), session.send

    def slow(self: object, *arguments: object) -> object:
        together.wait(PATIENCE)
        return send(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(session, "send", slow)
        threads = [threading.Thread(target=queue.put, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)


@pytest.mark.parametrize(("scheme", "session"), [("simsame", SameSessionSession), ("simduplex", DuplexSession)])
def test_what_a_burst_left_is_closed(
    scheme: str, session: type, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not before the time is over, not what holds a message or is waited on, and without a word of a loss."""
    told: list[str] = []
    hooks = unimq.Hooks(connection=lambda event: told.append(event.state))
    with unimq.Queue[int](f"{scheme}://{broker.name}/jobs?max_idle=400ms", hooks=hooks) as queue:
        start = time.monotonic()
        burst(queue, session, monkeypatch)
        assert len(broker.sessions) == 4
        message = queue.get(timeout=1)
        other = queue.client.queue("other")
        got: list[object] = []
        waiting = threading.Thread(target=lambda: got.append(other.get().body))
        waiting.start()
        until(lambda: len(broker.sessions) <= 2)
        assert time.monotonic() - start > 0.4
        time.sleep(0.7)
        assert len(broker.sessions) <= 2
        message.ack()
        other.put(5)
        waiting.join(PATIENCE)
        assert got == [5]
        until(lambda: len(broker.sessions) == 1)
        assert len(queue.get_many(timeout=1)) == 3
    assert set(told) == {"connected"}


def test_what_is_used_stays(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    """However old it is; of two hosts each keeps one."""
    with unimq.Queue[int](f"simsame://{broker.name}/jobs?max_idle=300ms") as queue:
        burst(queue, SameSessionSession, monkeypatch)
        sessions = queue.client.pool.sessions
        end = time.monotonic() + 1
        while time.monotonic() < end:
            for pooled in sessions:
                queue.client.pool.on(pooled, time.monotonic() + 1, lambda _: None)
            time.sleep(0.01)
        assert len(broker.sessions) == 4
        until(lambda: len(broker.sessions) == 1)


def test_a_client_that_nobody_closed_is_not_kept(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the look that is due in five minutes."""
    queue = unimq.Queue[int](f"simsame://{broker.name}/jobs")
    burst(queue, SameSessionSession, monkeypatch)
    found = weakref.ref(queue.client)
    del queue
    gc.collect()
    assert found() is None
