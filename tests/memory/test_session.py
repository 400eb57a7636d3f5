"""Every method of a session, and which handle may settle what."""

import threading
from collections.abc import Callable
from typing import Any

import pytest

import unimq_memory
from unimq.driver import Outgoing, Stats
from unimq.errors import ConnectionLost, LeaseLost

Opener = Callable[..., Any]


def test_a_message_comes_back_as_it_was_sent(opened: Opener, clock: Any) -> None:
    """Body, headers, id, priority, age and expiry; counted once, leased from now."""
    session = opened()
    message = Outgoing(b"\x00\xff", {"a": "b"}, "own", 7, 0.0, 1010.0, enqueued_at=900.0, delivery_count=2)
    assert session.send("jobs", [message], 0) == ["own"]
    (found,) = session.take(lease=5.0)
    assert (found.queue, found.body, found.headers, found.id) == ("jobs", b"\x00\xff", {"a": "b"}, "own")
    assert (found.priority, found.enqueued_at, found.expires_at) == (7, 900.0, 1010.0)
    assert (found.delivery_count, found.lease_until) == (3, 1005.0)


def test_a_message_without_an_id_gets_one(opened: Opener) -> None:
    """It is told to the sender, and differs from message to message."""
    session = opened()
    ids = session.send("jobs", [Outgoing(b"")] * 3, 0)
    assert [one.id for one in session.take(3)] == ids
    assert len(set(ids)) == 3


def test_a_receive_takes_up_to_its_limit(opened: Opener) -> None:
    """And does not wait for more."""
    session = opened()
    session.put(b"1", b"2", b"3")
    assert session.bodies(2) == [b"1", b"2"]
    assert session.bodies(2) == [b"3"]


def test_every_session_of_a_broker_settles(opened: Opener) -> None:
    """The token is enough."""
    first, second = opened(), opened()
    first.put(b"x")
    assert second.ack(first.take(), 0) == [None]
    assert first.stats("jobs", 0) == Stats(ready=0, delayed=0, leased=0)


def test_a_stale_handle_settles_nothing(opened: Opener, clock: Any) -> None:
    """After the lease, after a redelivery and after a settlement: by no method, and the new holder keeps it."""
    session = opened()
    session.put(b"x")
    (stale,) = session.take(lease=1.0)
    clock.now += 1
    (held,) = session.take()
    assert isinstance(session.ack([stale], 0)[0], LeaseLost)
    assert isinstance(session.release([stale], 0.0, 0)[0], LeaseLost)
    assert isinstance(session.extend([stale], 5.0, 0)[0], LeaseLost)
    assert isinstance(session.move("other", [(stale, Outgoing(b"x"))], 0)[0], LeaseLost)
    assert session.queues(0) == ["jobs"]
    assert session.ack([held], 0) == [None]
    assert isinstance(session.ack([held], 0)[0], LeaseLost)


def test_a_batch_is_settled_one_by_one(opened: Opener) -> None:
    """A stale member disturbs nobody, and outcomes stand in the order of the input."""
    session = opened()
    session.put(b"1", b"2", b"3")
    one, two, three = session.take(3)
    session.ack([two], 0)
    assert [isinstance(outcome, LeaseLost) for outcome in session.ack([one, two, three], 0)] == [False, True, False]


def test_what_was_only_peeked_at_cannot_be_settled(opened: Opener) -> None:
    """It has no token."""
    session = opened()
    session.put(b"x", b"y")
    seen = session.peek("jobs", 1, 0)
    assert [(one.body, one.token) for one in seen] == [(b"x", None)]
    assert isinstance(session.ack(seen, 0)[0], LeaseLost)
    assert session.bodies() == [b"x", b"y"]


def test_released_messages_keep_their_places(opened: Opener, clock: Any) -> None:
    """Before their equals, in the order of the puts whatever the order of the releases; or after the delay."""
    session = opened()
    session.put(b"1", b"2", b"3", b"4")
    one, two, three = session.take(3)
    session.release([three], 5.0, 0)
    session.release([two, one], 0.0, 0)
    assert session.bodies() == [b"1", b"2", b"4"]
    clock.now += 5
    assert session.bodies() == [b"3"]


def test_a_move_is_one_step(opened: Opener) -> None:
    """The other queue has the new message, this one has nothing, and the age goes along."""
    session = opened("max_size=1")
    session.put(b"full", queue="other")
    session.put(b"x", enqueued_at=5.0)
    (held,) = session.take()
    moved = Outgoing(b"y", id="own", enqueued_at=held.enqueued_at, delivery_count=3)
    assert session.move("other", [(held, moved)], 0)[0] == "own"
    assert session.stats("jobs", 0).leased == 0
    found = session.take(2, queue="other")[1]
    assert (found.body, found.enqueued_at, found.delivery_count) == (b"y", 5.0, 4)


def test_purge_and_delete(opened: Opener) -> None:
    """A purge leaves what is held; a delete does not, and tells its holder; both leave other queues alone."""
    session = opened()
    session.put(b"other", queue="other")
    session.put(b"held", b"ready")
    session.put(b"late", delay=60.0)
    (held,) = session.take()
    assert session.purge("jobs", 0) == 2
    assert session.extend([held], 60.0, 0)[0] == 60.0
    session.delete("jobs", 0)
    session.delete("jobs", 0)
    assert isinstance(session.extend([held], 60.0, 0)[0], LeaseLost)
    assert session.queues(0) == ["other"]


def test_a_reset_broker_is_empty(opened: Opener, name: str) -> None:
    """Its sessions work on; a name that nobody used is nothing to reset."""
    session = opened()
    session.put(b"x", b"y")
    session.take()
    unimq_memory.reset(name)
    unimq_memory.reset("nobody used this name")
    assert session.queues(0) == []
    session.put(b"z")
    assert session.bodies() == [b"z"]


def test_a_closed_session_does_nothing(opened: Opener) -> None:
    """Every method but close and interrupt raises `ConnectionLost`."""
    session = opened()
    session.put(b"x")
    held = session.take()
    session.close()
    session.close()
    session.interrupt()
    calls: list[Callable[[], object]] = [
        lambda: session.send("jobs", [], 0),
        lambda: session.receive(["jobs"], 1, 1.0, 0),
        lambda: session.ack(held, 0),
        lambda: session.release(held, 0.0, 0),
        lambda: session.move("jobs", [(held[0], Outgoing(b""))], 0),
        lambda: session.extend([held[0]], 1.0, 0),
        lambda: session.peek("jobs", 1, 0),
        lambda: session.cancel("jobs", "1", 0),
        lambda: session.stats("jobs", 0),
        lambda: session.purge("jobs", 0),
        lambda: session.delete("jobs", 0),
        lambda: session.queues(0),
        lambda: session.ping(0),
    ]
    for call in calls:
        with pytest.raises(ConnectionLost, match="closed"):
            call()
    assert opened().ack(held, 0) == [None]


def test_a_session_answers(opened: Opener) -> None:
    """With its name."""
    assert opened().ping(0) == "memory"


def test_a_finalizer_may_use_the_broker(opened: Opener, name: str) -> None:
    """One that the collector runs in the middle of a call would wait for ever for a lock that is not reentrant."""
    session = opened()

    def in_the_middle_of_a_call() -> None:
        with unimq_memory.broker(name).lock:
            session.put(b"x")

    thread = threading.Thread(target=in_the_middle_of_a_call, daemon=True)
    thread.start()
    thread.join(5)
    assert not thread.is_alive()
    assert session.bodies() == [b"x"]
