"""The order of a queue, whatever happens to its messages, and what it costs to keep."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import unimq_memory
from unimq.capabilities import native
from unimq.driver import Outgoing
from unimq.errors import Full
from unimq.testing.sessions import open_session

Opener = Callable[..., Any]
Step = tuple[str, int]
STEPS = st.lists(
    st.tuples(st.sampled_from(["put", "take", "ack", "release", "later", "cancel", "tick"]), st.integers(0, 9)),
    max_size=60,
)


class Model:
    """The same queue as a plain list: messages as [priority, number, due, expires at, lease end]."""

    def __init__(self) -> None:
        self.waiting: list[list[Any]] = []
        self.held: list[list[Any]] = []

    def settle(self, now: float) -> None:
        """What time alone changes."""
        ended = [one for one in self.held if one[4] <= now]
        self.held = [one for one in self.held if one[4] > now]
        self.waiting = [one for one in self.waiting + ended if one[3] > now]

    def ready(self, now: float) -> list[int]:
        """The numbers of what is due: highest priority, then put first."""
        due = sorted((one for one in self.waiting if one[2] <= now), key=lambda one: (-one[0], one[1]))
        return [one[1] for one in due]

    def take(self, now: float) -> list[Any] | None:
        """The first that is due, for five seconds."""
        if not self.ready(now):
            return None
        found = next(one for one in self.waiting if one[1] == self.ready(now)[0])
        self.waiting.remove(found)
        self.held.append([*found[:4], now + 5.0])
        return self.held[-1]


@given(steps=STEPS)
def test_a_queue_is_a_sorted_list(steps: list[Step]) -> None:
    """Priority, then the order of the puts, also for what was nacked, was delayed, or came back from a lost lease."""
    unimq_memory.reset("model")
    session: Any = open_session(unimq_memory.driver, "memory://model", 0)
    now = 1000.0
    broker = unimq_memory.broker("model")
    broker.clock = broker.wall = lambda: now
    model, deliveries = Model(), dict[int, Any]()
    for number, (step, value) in enumerate(steps):
        model.settle(now)
        if step == "put":
            delay, expires_at = float(value // 5), now + 3.0 + value
            message = Outgoing(b"", id=str(number), priority=value, delay=delay, expires_at=expires_at)
            assert session.send("jobs", [message], 0) == [str(number)]
            model.waiting.append([value, number, now + delay, expires_at, 0.0])
        elif step == "take":
            found, expected = session.receive(["jobs"], 1, 5.0, 0), model.take(now)
            assert [int(one.id) for one in found] == ([] if expected is None else [expected[1]])
            deliveries |= {int(one.id): one for one in found}
        elif step == "tick":
            now += value / 2
        elif step == "cancel":
            known = [one for one in model.waiting if one[1] == value]
            assert session.cancel("jobs", str(value), 0) == bool(known)
            model.waiting = [one for one in model.waiting if one not in known]
        elif model.held:
            one = model.held.pop(value % len(model.held))
            delay = 2.0 if step == "later" else 0.0
            held = [deliveries[one[1]]]
            assert (session.ack(held, 0) if step == "ack" else session.release(held, delay, 0)) == [None]
            model.waiting += [] if step == "ack" else [[*one[:2], now + delay, one[3], 0.0]]
        model.settle(now)
        stats = session.stats("jobs", 0)
        assert (stats.leased, stats.ready + stats.delayed) == (len(model.held), len(model.waiting))
    assert [int(one.id) for one in session.peek("jobs", 100, 0)] == model.ready(now)


def test_what_ended_is_not_remembered(opened: Opener, name: str, clock: Any) -> None:
    """Settled leases and cancelled messages leave nothing behind, however far their ends are away."""
    session = opened()
    for number in range(3000):
        session.put(b"x", b"y", id=str(number), delay=0.0)
        assert session.cancel("jobs", str(number), 0)
        session.ack(session.take(), 0)
    store = unimq_memory.broker(name).store("jobs")
    assert (store.size(), len(store.held)) == (0, 0)
    assert len(store.leases) <= 1001
    session.put(b"later", id="later", delay=86400.0)
    assert session.cancel("jobs", "later", 0)
    assert store.delayed == []


def test_a_lease_survives_the_forgetting_of_others(opened: Opener, clock: Any) -> None:
    """One that is held while thousands end still ends in time."""
    session = opened()
    session.put(b"held")
    session.take(lease=10.0)
    for _ in range(3000):
        session.put(b"x")
        session.ack(session.take(), 0)
    clock.now += 10.1
    assert [one.body for one in session.take(5)] == [b"held"]


def test_the_expired_do_not_fill_a_queue(opened: Opener, clock: Any) -> None:
    """They do not count for `max_size`, ready or delayed, nor for stats and purge."""
    session = opened("max_size=3")
    session.put(b"1", b"2", expires_at=1005.0)
    session.put(b"3", expires_at=1005.0, delay=2.0)
    assert isinstance(session.send("jobs", [Outgoing(b"4")], 0)[0], Full)
    clock.now += 5
    session.put(b"4", b"5")
    stats = session.stats("jobs", 0)
    assert (stats.ready, stats.delayed) == (2, 0)
    assert session.purge("jobs", 0) == 2


def test_a_batch_is_stored_up_to_max_size(opened: Opener) -> None:
    """Each member has its own outcome."""
    outcomes = opened("max_size=2").send("jobs", [Outgoing(b"x")] * 3, 0)
    assert [isinstance(one, Full) for one in outcomes] == [False, False, True]


def test_the_oldest_is_the_oldest_ready(opened: Opener, clock: Any) -> None:
    """By when it was first put, which a move keeps; what is delayed or held has no say."""
    session = opened()
    assert session.stats("jobs", 0).oldest is None
    session.put(b"held")
    session.take()
    clock.now += 10
    session.put(b"moved", enqueued_at=1003.0)
    session.put(b"new")
    session.put(b"later", delay=5.0, enqueued_at=1.0)
    assert session.stats("jobs", 0).oldest == pytest.approx(7.0)


def test_looking_does_not_make_a_queue(opened: Opener) -> None:
    """Only a put does; and a queue whose messages are all held is not taken for an unknown one."""
    session = opened()
    session.take()
    session.peek("jobs", 1, 0)
    session.purge("jobs", 0)
    assert not session.cancel("jobs", "1", 0)
    assert session.stats("jobs", 0).leased == 0
    assert session.queues(0) == []
    session.put(b"x")
    session.take()
    assert session.stats("jobs", 0).leased == 1
    assert session.queues(0) == ["jobs"]


def test_an_interrupted_delivery_is_repeated_and_not_lost(
    opened: Opener, clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C between handing out and removing: held and still ready; the lost holder does not bring a third."""
    session = opened()
    session.put(b"x")

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("unimq_memory.store.Store.remove_ready", interrupted)
        with pytest.raises(KeyboardInterrupt):
            session.take()
    (again,) = session.take(5, lease=100.0)
    clock.now += 61
    assert session.take() == []
    assert session.ack([again], 0) == [None]
    assert session.stats("jobs", 0).leased == 0


def test_an_entry_that_is_not_the_head_stays(opened: Opener, name: str) -> None:
    """Removing one whose turn has passed to another, by a finalizer's own get say, removes no neighbour."""
    session = opened()
    session.put(b"1", b"2")
    store = unimq_memory.broker(name).store("jobs")
    first = store.next_ready(0.0)
    assert first is not None
    session.take()
    store.remove_ready(first)
    assert [one.body for one in session.take()] == [b"2"]


def test_priorities_of_several_profiles_meet(opened: Opener, imitating: Opener) -> None:
    """Three levels and ten on one broker: each message keeps the rank that it was put with."""
    ten, three = opened(), imitating(priority=native(), priority_levels=3)
    ten.put(b"low", priority=1)
    three.put(b"high", priority=9)
    assert [one.body for one in ten.take(2)] == [b"high", b"low"]
