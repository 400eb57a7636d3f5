"""Extending and losing a lease, with a clock that the test moves."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from later import Later
from servers import Broker, SameSessionSession

import unimq
from unimq.driver import Delivery


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Later:
    return Later(monkeypatch, "servers")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, later: Later) -> list[float]:
    """The seconds that the server was asked for, which it grants, in time."""
    told: list[float] = []

    def extend(
        self: SameSessionSession, deliveries: Sequence[Delivery], seconds: float, deadline: float
    ) -> Sequence[float | unimq.UnimqError]:
        assert later.now < deadline
        told.append(seconds)
        jobs = [self._mine(delivery) for delivery in deliveries]
        for job in jobs:
            if job is not None:
                job.held_until = later.now + seconds
        return [seconds if job is not None else unimq.LeaseLost("NOT_FOUND") for job in jobs]

    monkeypatch.setattr(SameSessionSession, "extend", extend)
    return told


def open_queue(broker: Broker, scheme: str = "simsame") -> "unimq.Queue[Any]":
    return unimq.Queue(f"{scheme}://{broker.name}/jobs?lease=10")


def test_the_server_is_asked_for_what_is_wanted(broker: Broker, later: Later, asked: list[float]) -> None:
    """By default for the lease of the queue; the message tells from then on what was granted."""
    with open_queue(broker) as queue:
        queue.put("x")
        message = queue.get(timeout=0)
        later.pass_by(5)
        assert message.lease_remaining == pytest.approx(5)
        for wanted, seconds in ((None, 10), (7, 7), (timedelta(minutes=1), 60)):
            assert message.extend(wanted) == seconds
            assert message.lease_remaining == pytest.approx(seconds)
        assert asked == [10, 7, 60]


def test_an_extended_message_is_held_for_as_long(broker: Broker, later: Later, asked: list[float]) -> None:
    """A receive on its session, which forgets what has ended, does not forget it."""
    with open_queue(broker) as queue:
        queue.put("x")
        message = queue.get(timeout=0)
        message.extend(100)
        later.pass_by(50)
        with pytest.raises(unimq.Empty):
            queue.get(timeout=0)
        (pooled,) = queue._endpoint.pool.sessions
        pooled.drop_ended()
        assert not pooled.may_wait
        message.ack()
        assert not broker.jobs


def test_what_is_settled_cannot_be_extended(broker: Broker, later: Later, asked: list[float]) -> None:
    """It says so, and asks no server; a wrong duration is named."""
    with open_queue(broker) as queue:
        queue.put("x")
        message = queue.get(timeout=0)
        with pytest.raises(unimq.InvalidArgument, match="seconds=-1"):
            message.extend(-1)
        message.ack()
        with pytest.raises(unimq.AlreadySettled, match="was settled before"):
            message.extend()
        assert asked == []
    assert later.due == []


def test_a_lease_that_unimq_keeps_is_moved_by_extending(broker: Broker, later: Later) -> None:
    """It ends at its new end and no sooner; the message goes back at once, counted, and its holder is told why."""
    with open_queue(broker, "simduplex") as queue:
        queue.put("x")
        message = queue.get(timeout=0)
        later.pass_by(6)
        assert message.extend(8) == 8
        later.pass_by(7.9)
        with pytest.raises(unimq.Empty):
            queue.get(timeout=0)
        assert not message.settled
        later.pass_by(0.1)
        again = queue.get(timeout=0)
        assert (again.body, again.delivery_count) == ("x", 2)
        with pytest.raises(unimq.LeaseLost, match="its lease ended"):
            message.ack()
        with pytest.raises(unimq.LeaseLost, match="its lease ended"):
            message.extend()
        again.ack()
        later.pass_by(100)
    assert not broker.jobs


def test_a_message_settled_in_time_does_not_come_back(broker: Broker, later: Later) -> None:
    """The end of its lease is nothing to it."""
    with open_queue(broker, "simduplex") as queue:
        queue.put("x")
        queue.get(timeout=0).ack()
        later.pass_by(100)
        with pytest.raises(unimq.Empty):
            queue.get(timeout=0)
    assert not broker.jobs


def test_what_waited_long_in_a_buffer_has_its_whole_lease_again(
    broker: Broker, later: Later, asked: list[float]
) -> None:
    """After more than a quarter of it; what was lost meanwhile is passed over."""
    with open_queue(broker) as queue:
        queue.put_many([1, 2, 3])
        messages = queue.consume(prefetch=3, timeout=0)
        next(messages).ack()
        later.pass_by(2.4)
        second = next(messages)
        assert (second.body, asked) == (2, [])
        second.ack()
        later.pass_by(0.2)
        third = next(messages)
        assert (third.body, asked, third.lease_remaining) == (3, [10], pytest.approx(10))
        third.ack()
    assert not broker.jobs


def test_what_cannot_be_extended_goes_back_from_a_buffer(broker: Broker, later: Later, asked: list[float]) -> None:
    """A message whose lease was lost while it waited is delivered again and not handed over twice."""
    with open_queue(broker) as queue:
        queue.put_many([1, 2])
        messages = queue.consume(prefetch=2, timeout=0)
        next(messages).ack()
        later.pass_by(11)
        again = next(messages)
        assert (again.body, again.delivery_count, asked) == (2, 2, [10])
        again.ack()
    assert not broker.jobs
