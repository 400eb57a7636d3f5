"""The memory backend through the face: brokers, clocks and leases."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import unimq
import unimq_memory
from unimq.driver import Outgoing

Opener = Callable[..., Any]


@pytest.fixture
def queue(name: str) -> "Iterator[unimq.Queue[Any]]":
    with unimq.Queue(f"memory://{name}/jobs") as one:
        yield one


def test_brokers_share_by_name_and_nothing_else() -> None:
    """Two clients of one name meet; another name knows nothing."""
    with (
        unimq.Queue("memory://a/jobs") as one,
        unimq.Queue("memory://a/jobs") as same,
        unimq.Queue("memory://b/jobs") as b,
    ):
        one.put("x")
        assert b.size() == 0
        assert same.get(timeout=0).body == "x"
    unimq_memory.reset()


def test_messages_outlive_the_queue_object(name: str) -> None:
    """A broker lives as long as the process."""
    with unimq.Queue(f"memory://{name}/jobs") as queue:
        queue.put("x")
    with unimq.Queue(f"memory://{name}/jobs") as queue:
        assert queue.get(timeout=0).body == "x"


def test_a_lease_that_ends_gives_the_message_back(opened: Opener, clock: Any) -> None:
    """Counted, and before its equals; the old handle is stale."""
    session = opened()
    session.send("jobs", [Outgoing(b"1"), Outgoing(b"2")], 0)
    (stale,) = session.receive(["jobs"], 1, 10.0, 0)
    clock.now += 9.9
    assert [d.body for d in session.receive(["jobs"], 5, 10.0, 0)] == [b"2"]
    clock.now += 0.2
    (again,) = session.receive(["jobs"], 5, 10.0, 0)
    assert (again.body, again.delivery_count) == (b"1", 2)
    assert isinstance(session.ack([stale], 0)[0], unimq.LeaseLost)
    assert session.ack([again], 0) == [None]


def test_extending_prolongs_and_shortens(opened: Opener, clock: Any) -> None:
    """From now on, whatever was left."""
    session = opened()
    session.send("jobs", [Outgoing(b"1")], 0)
    (held,) = session.receive(["jobs"], 1, 10.0, 0)
    assert session.extend([held], 100.0, 0)[0] == 100.0
    clock.now += 99
    assert not session.receive(["jobs"], 1, 10.0, 0)
    assert session.extend([held], 5.0, 0)[0] == 5.0
    assert session.extend([held], 1.0, 0)[0] == 1.0
    clock.now += 1.1
    assert session.receive(["jobs"], 1, 10.0, 0)[0].body == b"1"
    assert isinstance(session.extend([held], 5.0, 0)[0], unimq.LeaseLost)


def test_delays_and_expiry_follow_the_clock(opened: Opener, clock: Any) -> None:
    """Not before, and not after."""
    session = opened()
    session.send("jobs", [Outgoing(b"late", delay=5.0), Outgoing(b"short", expires_at=1003.0)], 0)
    assert session.stats("jobs", 0).delayed == 1
    clock.now += 4
    assert session.stats("jobs", 0).ready == 0
    assert not session.receive(["jobs"], 5, 10.0, 0)
    clock.now += 1
    assert session.receive(["jobs"], 5, 10.0, 0)[0].body == b"late"


def test_a_waiting_receive_sees_what_becomes_due(opened: Opener) -> None:
    """A delay that ends, and a lease that ends, wake it without a put."""
    session = opened()
    session.send("jobs", [Outgoing(b"x", delay=0.05)], 0)
    start = time.monotonic()
    assert session.receive(["jobs"], 1, 0.05, start + 5)[0].body == b"x"
    assert session.receive(["jobs"], 1, 60.0, start + 5)[0].delivery_count == 2
    assert time.monotonic() - start < 2


def test_many_ended_leases_do_not_pile_up(queue: "unimq.Queue[Any]", name: str) -> None:
    """The heap of leases is made anew when most of it is over."""
    for _ in range(5000):
        queue.put(1)
        queue.get(timeout=0).ack()
    assert len(unimq_memory.broker(name).store("jobs").leases) <= 1100


def test_a_get_over_several_queues_starves_none(opened: Opener) -> None:
    """The queue that is asked first takes turns."""
    session = opened()
    for queue in ("a", "b", "c"):
        session.send(queue, [Outgoing(queue.encode())] * 10, 0)
    first = [session.receive(["a", "b", "c"], 1, 60.0, 0)[0].queue for _ in range(6)]
    assert sorted(first) == ["a", "a", "b", "b", "c", "c"]


def test_cancel_and_purge_leave_what_is_held(queue: "unimq.Queue[Any]") -> None:
    """And nothing that was cancelled or purged is delivered."""
    ids = [str(queue.put(n, delay=60 if n == 3 else 0).id) for n in range(5)]
    held = queue.get(timeout=0)
    assert not queue.cancel(ids[0])
    assert queue.cancel(ids[1])
    assert queue.cancel(ids[3])
    assert not queue.cancel(ids[3])
    assert [message.body for message in queue.peek(10)] == [2, 4]
    assert queue.purge() == 2
    with pytest.raises(unimq.Empty):
        queue.get(timeout=0)
    held.ack()


def test_max_size_refuses_what_is_too_much(name: str) -> None:
    """Waiting messages count; those in hand do not."""
    with unimq.Queue(f"memory://{name}/jobs?max_size=2") as queue:
        queue.put(1)
        queue.put(2)
        with pytest.raises(unimq.Full, match="max_size=2"):
            queue.put(3)
        message = queue.get(timeout=0)
        queue.put(4)
        message.nack()
        assert queue.size() == 3


def test_delete_takes_what_is_held_too(queue: "unimq.Queue[Any]") -> None:
    """Its holder is told."""
    queue.put(1)
    held = queue.get(timeout=0)
    queue.delete()
    assert queue.client.queues() == []
    with pytest.raises(unimq.LeaseLost):
        held.ack()
    with pytest.raises(unimq.LeaseLost):
        held.extend()


def test_a_closed_session_is_lost(opened: Opener) -> None:
    """Not silently usable."""
    session = opened()
    session.close()
    with pytest.raises(unimq.ConnectionLost):
        session.ping(0)


def test_an_interrupt_ends_a_wait_and_nothing_else(opened: Opener) -> None:
    """The session works afterwards, and one that comes too early is forgotten."""
    session = opened()
    session.interrupt()
    start = time.monotonic()
    threading.Timer(0.05, session.interrupt).start()
    assert session.receive(["jobs"], 1, 60.0, start + 5) == []
    assert 0.04 < time.monotonic() - start < 2
    session.send("jobs", [Outgoing(b"x")], 0)
    assert session.receive(["jobs"], 1, 60.0, time.monotonic() + 5)[0].body == b"x"


def test_a_forked_child_has_a_copy(queue: "unimq.Queue[Any]") -> None:
    """What it does is not seen by the parent."""
    queue.put("x")
    with unimq_memory.broker(queue.client.url.hosts[0].name).changed:  # held by another thread at the fork, say
        child = os.fork()
        if child == 0:
            try:
                os._exit(0 if queue.get(timeout=0).body == "x" else 1)
            except BaseException:  # noqa: BLE001
                os._exit(2)
    assert os.waitpid(child, 0)[1] == 0
    assert queue.get(timeout=0).body == "x"


def test_threads_share_the_work(queue: "unimq.Queue[Any]") -> None:
    """Everything once."""
    seen: list[int] = []

    def consume() -> None:
        for message in queue.consume(timeout=0.3):
            seen.append(message.body)
            message.ack()

    threads = [threading.Thread(target=consume) for _ in range(4)]
    for thread in threads:
        thread.start()
    for number in range(1000):
        queue.put(number)
    for thread in threads:
        thread.join()
    assert sorted(seen) == list(range(1000))
