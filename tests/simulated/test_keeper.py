"""Leases that unimq itself ends or keeps, with a clock that the test moves."""

import gc
import threading
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from later import Later
from servers import Broker, DuplexSession, SameSessionSession

import unimq
from unimq.driver import Delivery, Outgoing
from unimq.keeper import Keeper
from unimq.seats import ENDED

Pairs = Sequence[tuple[Delivery, Outgoing]]
Moved = Sequence[str | unimq.UnimqError | None]


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Later:
    return Later(monkeypatch, "servers")


def open_queue(broker: Broker, options: str = "lease=10") -> "unimq.Queue[Any]":
    return unimq.Queue(f"simduplex://{broker.name}/jobs?{options}")


def keeper_of(queue: "unimq.Queue[Any]") -> Keeper:
    return queue.client.pool.hosts[0].keeper


def settle_all(queue: "unimq.Queue[Any]", way: str) -> None:
    """Get and settle what is there."""
    messages = queue.get_many(10, timeout=0)
    if way == "ack many":
        queue.ack(messages)
    elif way == "nack many":
        queue.nack(messages)
    else:
        for message in messages:
            getattr(message, way)()


@pytest.mark.parametrize("way", ["ack", "ack many", "nack", "nack many", "reject", "discard", "release"])
def test_nothing_of_a_settled_message_stays(broker: Broker, later: Later, way: str) -> None:
    """However it was settled, its lease is forgotten at once, and so is the message."""
    with open_queue(broker) as queue:
        queue.put_many(range(10))
        first = queue.get(timeout=0)
        gone = weakref.ref(first)
        getattr(first, "ack" if " many" in way else way)()
        del first
        settle_all(queue, way)
        gc.collect()
        assert gone() is None
        assert not keeper_of(queue)._ending
        assert len(later.due) == 1


def test_all_leases_of_a_host_have_one_timer(broker: Broker, later: Later) -> None:
    """However many are in hand, and wherever they end."""
    with open_queue(broker) as queue:
        queue.put_many(range(20))
        messages = []
        for _ in range(20):
            messages.append(queue.get(timeout=0))
            later.pass_by(0.1)
        messages[3].extend(30)
        assert len(later.due) == 1
        later.pass_by(10)
        assert sorted(message.body for message in queue.get_many(100, timeout=0)) == [*range(3), *range(4, 20)]


def test_timers_that_came_too_early_come_to_nothing(broker: Broker, later: Later) -> None:
    """A lease that was shortened and then prolonged leaves one timer behind."""
    with open_queue(broker) as queue:
        queue.put(1)
        message = queue.get(timeout=0)
        for seconds in (5, 3, 2, 20):
            message.extend(seconds)
        later.pass_by(11)
        assert not message.settled
        assert len(later.due) == 1
        later.pass_by(9)
        assert message.settled


def test_leases_that_end_together_go_back_together(
    broker: Broker, later: Later, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one exchange, in their order."""
    moved = record(monkeypatch, "move")
    with open_queue(broker) as queue:
        queue.put_many([1, 2, 3])
        messages = queue.get_many(3, timeout=0)
        later.pass_by(10)
        assert [len(pairs) for _, pairs, _ in moved] == [3]
        assert [message.body for message in queue.get_many(3, timeout=0)] == [1, 2, 3]
        assert all(message.settled for message in messages)


def test_a_message_that_could_not_be_given_back_is_given_back_later(
    broker: Broker, later: Later, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And meanwhile it is in hand: an ack that comes late is one."""
    refusals = [unimq.ServerError("no room")] * 2

    def refused(self: DuplexSession, queue: str, pairs: Pairs, deadline: float) -> Moved:
        return [refusals.pop() for _ in pairs] if refusals else real(self, queue, pairs, deadline)

    real = DuplexSession.move
    monkeypatch.setattr(DuplexSession, "move", refused)
    with open_queue(broker) as queue:
        queue.put_many([1, 2])
        first, second = queue.get_many(2, timeout=0)
        later.pass_by(10)
        assert (refusals, first.settled, second.settled) == ([], False, False)
        second.ack()
        later.pass_by(1.1)
        with pytest.raises(unimq.LeaseLost, match="its lease ended"):
            first.ack()
        assert [message.body for message in queue.get_many(3, timeout=0)] == [1]


def test_what_broke_with_its_connection_is_given_up(broker: Broker, later: Later) -> None:
    """The server has it back; nothing is asked for again."""
    with open_queue(broker) as queue:
        queue.put(1)
        queue.get(timeout=0)
        broker.cut()
        later.pass_by(30)
        assert not keeper_of(queue)._ending
        assert later.due == []


def test_what_is_being_taken_back_is_not_granted(broker: Broker, later: Later, monkeypatch: pytest.MonkeyPatch) -> None:
    """An extend that comes while the message goes back is refused."""
    told: list[unimq.UnimqError] = []

    def meanwhile(self: DuplexSession, queue: str, pairs: Pairs, deadline: float) -> Moved:
        with pytest.raises(unimq.LeaseLost, match="its lease ended") as refused:
            message.extend(60)
        told.append(refused.value)
        return real(self, queue, pairs, deadline)

    real = DuplexSession.move
    monkeypatch.setattr(DuplexSession, "move", meanwhile)
    with open_queue(broker) as queue:
        queue.put(1)
        message = queue.get(timeout=0)
        later.pass_by(10)
        assert len(told) == 1
        assert queue.get(timeout=0).body == 1


def test_what_is_about_to_be_taken_back_is_not_granted(broker: Broker, later: Later) -> None:
    """Its end, which was moved before looking who has the claim, is the old one again."""
    with open_queue(broker) as queue:
        queue.put(1)
        message = queue.get(timeout=0)
        message._claim.take(ENDED)
        assert not keeper_of(queue).prolong(message, 60)
        assert message.lease_remaining == pytest.approx(10)


def test_what_was_extended_in_between_is_not_taken_back(
    broker: Broker, later: Later, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever ends a lease has the claim first, and then looks again whether it is over."""
    with open_queue(broker) as queue:
        queue.put(1)
        message = queue.get(timeout=0)
        settler = message._endpoint.settler
        real = settler.end_leases

        def extended(letters: Sequence[Any]) -> list[unimq.UnimqError | None]:
            message.lease_until = later.now + 5
            return real(letters)

        with monkeypatch.context() as patch:
            patch.setattr(settler, "end_leases", extended)
            later.pass_by(10)
        assert not message.settled
        later.pass_by(4.9)
        assert not message.settled
        later.pass_by(0.2)
        assert queue.get(timeout=0).body == 1


def test_an_extended_lease_ends_although_somebody_waited_meanwhile(broker: Broker, later: Later) -> None:
    """A receive that waits forgets what the server has taken back; what unimq ends is not the server's to take."""
    with open_queue(broker) as queue:
        queue.put(1)
        message = queue.get(timeout=0)
        message.extend(20)
        later.now += 21
        (pooled,) = queue.client.pool.sessions
        pooled.drop_ended()
        later.pass_by(0)
        assert queue.get(timeout=0).body == 1


def test_a_lease_begins_when_the_message_is_handed_over(broker: Broker, later: Later) -> None:
    """What ran while it waited in a buffer of unimq is not the consumer's; a lease that ended there is nobody's."""
    with open_queue(broker) as queue:
        queue.put_many([1, 2, 3])
        messages = queue.consume(prefetch=3, timeout=0)
        next(messages).ack()
        later.pass_by(6)
        second = next(messages)
        assert (second.body, second.lease_remaining) == (2, pytest.approx(10))
        second.ack()
        later.pass_by(4)
        third = next(messages)
        assert (third.body, third.delivery_count, third.lease_remaining) == (3, 2, pytest.approx(10))
        third.ack()
    assert not broker.jobs


def test_what_is_kept_is_extended_together(broker: Broker, later: Later, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker with many jobs extends them in one exchange; those that were settled or forgotten are left out."""
    asked = record(monkeypatch, "extend", SameSessionSession)
    with unimq.Queue[Any](f"simsame://{broker.name}/jobs?lease=9") as queue:
        queue.put_many(range(6))
        messages = [message.keep() for message in queue.get_many(5, timeout=0)]
        messages.pop().ack()
        messages.pop()
        gc.collect()
        queue.get(timeout=0)
        later.pass_by(3.1)
        assert [len(deliveries) for deliveries, _, _ in asked] == [3]
        later.pass_by(20)
        assert [len(deliveries) for deliveries, _, _ in asked] == [3] * 7
        queue.ack(messages)
        later.pass_by(20)
        assert len(asked) == 7
        assert not keeper_of(queue)._kept


def test_a_lease_that_could_not_be_kept_is_tried_again_in_time(
    broker: Broker, later: Later, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After an error that may pass; a lost lease is kept no more."""
    outcomes: list[unimq.UnimqError] = [unimq.LeaseLost("NOT_FOUND"), unimq.ServerError("OUT_OF_MEMORY")]

    def extend(
        self: SameSessionSession, deliveries: Sequence[Delivery], seconds: float, deadline: float
    ) -> Sequence[float | unimq.UnimqError]:
        asked.append(round(later.now - later.start, 1))
        return [outcomes.pop() for _ in deliveries]

    asked: list[float] = []
    monkeypatch.setattr(SameSessionSession, "extend", extend)
    with unimq.Queue[Any](f"simsame://{broker.name}/jobs?lease=9") as queue:
        queue.put(1)
        message = queue.get(timeout=0).keep()
        later.pass_by(8)
        assert asked == [3, 5]
        assert not message.settled
        assert not keeper_of(queue)._kept


def record(monkeypatch: pytest.MonkeyPatch, method: str, session: type[Any] = DuplexSession) -> list[tuple[Any, ...]]:
    """The arguments of each call."""
    calls: list[tuple[Any, ...]] = []
    real: Callable[..., Any] = getattr(session, method)

    def recorded(self: object, *arguments: Any) -> Any:
        calls.append(arguments)
        return real(self, *arguments)

    monkeypatch.setattr(session, method, recorded)
    return calls


def test_a_host_that_stalls_delays_nobody_else_s_leases(
    broker: Broker, other_broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each host has a thread of its own for what may block."""
    stalls, goes_on = threading.Event(), threading.Event()

    def stalling(self: DuplexSession, queue: str, pairs: Pairs, deadline: float) -> Moved:
        if self.broker is broker:
            stalls.set()
            assert goes_on.wait(30)
        return real(self, queue, pairs, deadline)

    real = DuplexSession.move
    monkeypatch.setattr(DuplexSession, "move", stalling)
    url = f"simduplex://{broker.name},{other_broker.name}/jobs?lease=200ms"
    with unimq.Queue[Any](url) as queue, unimq.Queue[Any](f"simduplex://{other_broker.name}/jobs") as healthy:
        for one in (broker, other_broker):
            one.store("jobs", Outgoing(b'"x"'))
        in_hand = [queue.get(timeout=10), queue.get(timeout=10)]
        assert stalls.wait(10)
        try:
            with healthy.get(timeout=20) as message:
                assert message.body == "x"
        finally:
            goes_on.set()
        assert in_hand
