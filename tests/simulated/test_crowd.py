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


SCHEMES = ["simsame", "simduplex", "simonce", "memory"]


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("timeout", [0, 0.001, 0.1])
def test_more_getters_than_sessions_find_the_queue_empty(scheme: str, timeout: float, broker: Broker) -> None:
    """Each of them says `Empty` where nothing comes, however short it waits."""
    seen: list[str] = []
    with unimq.Queue(f"{scheme}://{broker.name}/none?max_sessions=3") as queue:

        def get() -> None:
            for _ in range(3 if timeout == 0.1 else 20):
                with pytest.raises(unimq.UnimqError) as caught:
                    queue.get(timeout=timeout)
                seen.append(type(caught.value).__name__)

        at_once(*[get] * 20)
    assert set(seen) == {"Empty"}


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("sessions", [1, 2, 3])
def test_gets_that_wait_keep_nothing_from_others(scheme: str, sessions: int, broker: Broker) -> None:
    """While more gets wait than there are sessions, a put is made and a ready message had at once, and settled."""
    with unimq.connect(f"{scheme}://{broker.name}?max_sessions={sessions}&timeout=5s") as client:
        idle, busy = client.queue("idle"), client.queue("busy")
        waiting = [threading.Thread(target=until_closed, args=(idle,)) for _ in range(4)]
        for thread in waiting:
            thread.start()
        time.sleep(0.1)
        start = time.monotonic()
        for timeout in (0, 1, None):
            busy.put(1)
            busy.get(timeout).ack()
        threading.Timer(0.1, busy.put, [2]).start()  # comes while the get stands in line
        busy.get(timeout=5).ack()
        assert time.monotonic() - start < 3
        assert busy.size() == 0
    for thread in waiting:
        thread.join(PATIENCE)


def until_closed(queue: "unimq.Queue[object]") -> None:
    with pytest.raises(unimq.Closed):
        queue.get()
