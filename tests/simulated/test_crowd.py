"""More threads than sessions."""

import itertools
import statistics
import threading
import time
from collections.abc import Callable

import pytest
from servers import Broker, SameSessionSession

import unimq

PATIENCE = 20.0


def at_once(*calls: Callable[[], object]) -> None:
    threads = [threading.Thread(target=call) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert not any(thread.is_alive() for thread in threads)


def test_each_of_many_threads_has_its_turn(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    """First come, first served: of twelve that put over two sessions, each lets the others pass before its next."""
    send = SameSessionSession.send

    def slow(self: SameSessionSession, *arguments: object) -> object:
        time.sleep(0.0005)
        return send(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(SameSessionSession, "send", slow)
    order: list[int] = []
    with unimq.Queue(f"simsame://{broker.name}/jobs?max_sessions=2") as queue:

        def put(number: int) -> None:
            for _ in range(40):
                queue.put(number)
                order.append(number)

        at_once(*[lambda number=number: put(number) for number in range(12)])
    assert broker.opened <= 2
    gaps: list[int] = []
    for number in range(12):
        places = [place for place, one in enumerate(order) if one == number]
        gaps += [later - earlier for earlier, later in itertools.pairwise(places)]
    assert 8 <= statistics.median(gaps) <= 12


def test_each_host_has_sessions_of_its_own(broker: Broker, other_broker: Broker) -> None:
    """`?max_sessions=` is per host: what one host has keeps nothing from another."""
    with unimq.Queue(f"simsame://{broker.name},{other_broker.name}/jobs?max_sessions=1&timeout=5s") as queue:
        for number in range(4):
            queue.put(number)
        assert len(broker.jobs) == len(other_broker.jobs) == 2
    assert broker.opened == other_broker.opened == 1


def test_a_hook_that_raises_costs_no_session(broker: Broker) -> None:
    """It reaches its caller, and the session that was opened or lost is free, or gone."""
    told: list[str] = []

    def raises(event: unimq.ConnectionEvent) -> None:
        told.append(event.state)
        if len(told) < 4:
            msg = "the hook's own"
            raise RuntimeError(msg)

    hooks = unimq.Hooks(connection=raises)
    with unimq.Queue(f"simsame://{broker.name}/jobs?max_sessions=1&timeout=1s", hooks=hooks) as queue:
        with pytest.raises(RuntimeError):
            queue.put(1)
        queue.put(2)
        broker.faults.append(("send", "after"))
        with pytest.raises(RuntimeError):
            queue.put(3)
        with pytest.raises(RuntimeError):
            queue.put(4)
        queue.put(5)
        assert told == ["connected", "lost", "connected"]
