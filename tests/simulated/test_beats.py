"""Signs of life: when a session gives one, with a clock that the test moves."""

from collections.abc import Callable

import pytest
from later import Later
from servers import Broker, SameSessionSession

import unimq
from unimq.pool import Pool

Beats = list[float]


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Later:
    return Later(monkeypatch, "servers")


@pytest.fixture
def beats(monkeypatch: pytest.MonkeyPatch, later: Later) -> Beats:
    """When sessions gave a sign; they want to give one every ten seconds."""
    told: Beats = []

    def beat(self: SameSessionSession, deadline: float) -> None:
        with self._exclusively("beat"):
            assert later.now < deadline <= later.now + 1
            told.append(round(later.now - later.start, 2))

    monkeypatch.setattr(SameSessionSession, "beat_every", 10.0)
    monkeypatch.setattr(SameSessionSession, "beat", beat, raising=False)
    return told


def opened(broker: Broker, options: str = "") -> "unimq.Queue[object]":
    queue: unimq.Queue[object] = unimq.Queue(f"simsame://{broker.name}/jobs?{options}")
    queue.ping()
    return queue


def the_pool(queue: "unimq.Queue[object]") -> Pool:
    return queue._endpoint.pool


def test_an_idle_session_gives_a_sign_now_and_then(broker: Broker, later: Later, beats: Beats) -> None:
    """As often as its driver asks for, until it is closed."""
    with opened(broker):
        later.pass_by(35)
        assert beats == [10, 20, 30]
    later.pass_by(100)
    assert beats == [10, 20, 30]


def test_a_sign_is_given_when_the_first_lease_has_ended(broker: Broker, later: Later, beats: Beats) -> None:
    """And when the next one has; the session then holds nothing more, and may wait again."""
    with opened(broker, "lease=3") as queue:
        queue.put_many([1, 2])
        queue.get(timeout=0)
        later.pass_by(1)
        queue.get(timeout=0)
        (pooled,) = the_pool(queue).sessions
        later.pass_by(2.5)
        assert (beats, len(pooled.held)) == ([3.02], 1)
        later.pass_by(1)
        assert (beats, pooled.may_wait) == ([3.02, 4.02], True)
        later.pass_by(16)
        assert beats == [3.02, 4.02, 14.02]


def test_a_sign_that_is_due_anyway_is_given_once(broker: Broker, later: Later, beats: Beats) -> None:
    """A lease that ends after the next sign brings one of its own then; none is given for an acked message."""
    with opened(broker, "lease=12") as queue:
        queue.put_many([1, 2])
        messages = queue.get_many(2, timeout=0)
        later.pass_by(11)
        assert beats == [10]
        messages[0].ack()
        later.pass_by(2)
        assert beats == [10, 12.02]
        later.pass_by(11)
        assert beats == [10, 12.02, 22.02]


def test_a_session_that_is_in_use_gives_no_sign_beside_that(broker: Broker, later: Later, beats: Beats) -> None:
    """The use is one; the next is given in its turn."""
    with opened(broker) as queue:
        pool = the_pool(queue)
        pool.lend(pool.hosts[0], later.now + 1, lambda _, seconds: later.pass_by(seconds), 15)
        assert beats == []
        later.pass_by(10)
        assert beats == [20]


@pytest.mark.parametrize("ends", [lambda broker: broker.cut(), lambda broker: broker.faults.append(("beat", "before"))])
def test_a_session_that_broke_is_found_by_its_sign(
    broker: Broker, later: Later, beats: Beats, ends: Callable[[Broker], None]
) -> None:
    """It is dropped, and no further one is asked for."""
    with opened(broker) as queue:
        ends(broker)
        later.pass_by(100)
        assert beats == []
        assert the_pool(queue).sessions == ()
        assert later.due == []
