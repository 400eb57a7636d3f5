"""The memory backend: brokers, clocks, leases, and the profiles that imitate other backends."""

import dataclasses
import itertools
import os
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

import unimq
import unimq_memory
from unimq import registry
from unimq.capabilities import Capabilities, Limits, absent, layered, native
from unimq.driver import Outgoing
from unimq.url import URL

_names = itertools.count()


@pytest.fixture
def name() -> Iterator[str]:
    one = f"m{next(_names)}"
    yield one
    unimq_memory.reset(one)


@pytest.fixture
def queue(name: str) -> "Iterator[unimq.Queue[Any]]":
    with unimq.Queue(f"memory://{name}/jobs") as one:
        yield one


class Clock:
    """Time that a test moves."""

    def __init__(self, broker: unimq_memory.Broker) -> None:
        self.now = 1000.0
        broker.clock = lambda: self.now
        broker.wall = lambda: self.now


@pytest.fixture
def clock(name: str) -> Clock:
    return Clock(unimq_memory.broker(name))


def session_of(name: str, profile: str | None = None, options: str = "") -> Any:
    """A session of the driver contract, without the face."""
    url = URL.parse(f"memory://{name}?{options}" + (f"&profile={profile}" if profile else ""))
    return unimq_memory.driver.open(url, time.monotonic() + 1)


def profile_of(**changes: Any) -> str:
    """A registered backend with these capabilities, for `?profile=`."""
    base = Capabilities(guarantee="at-least-once", stats=native(), lease=native(), nack=native(), nack_delay=native())
    driver = type("Driver", (), {
        "name": "imitated", "contract": 1, "library": None, "install": "", "path_is_queue": True, "options": (),
        "capabilities": lambda self, url: dataclasses.replace(base, **changes),
    })()  # fmt: skip
    registry.register("imitated", driver)
    return "imitated"


@pytest.fixture(autouse=True)
def _unregister() -> Iterator[None]:
    yield
    registry.unregister("imitated")


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


def test_a_lease_that_ends_gives_the_message_back(name: str, clock: Clock) -> None:
    """Counted, and before its equals; the old handle is stale."""
    session = session_of(name)
    session.send("jobs", [Outgoing(b"1"), Outgoing(b"2")], 0)
    (stale,) = session.receive(["jobs"], 1, 10.0, 0)
    clock.now += 9.9
    assert [d.body for d in session.receive(["jobs"], 5, 10.0, 0)] == [b"2"]
    clock.now += 0.2
    (again,) = session.receive(["jobs"], 5, 10.0, 0)
    assert (again.body, again.delivery_count) == (b"1", 2)
    assert isinstance(session.ack([stale], 0)[0], unimq.LeaseLost)
    assert session.ack([again], 0) == [None]


def test_extending_prolongs_and_shortens(name: str, clock: Clock) -> None:
    """From now on, whatever was left."""
    session = session_of(name)
    session.send("jobs", [Outgoing(b"1")], 0)
    (held,) = session.receive(["jobs"], 1, 10.0, 0)
    assert session.extend(held, 100.0, 0) == 100.0
    clock.now += 99
    assert not session.receive(["jobs"], 1, 10.0, 0)
    assert session.extend(held, 5.0, 0) == 5.0
    assert session.extend(held, 1.0, 0) == 1.0
    clock.now += 1.1
    assert session.receive(["jobs"], 1, 10.0, 0)[0].body == b"1"
    with pytest.raises(unimq.LeaseLost):
        session.extend(held, 5.0, 0)


def test_delays_and_expiry_follow_the_clock(name: str, clock: Clock) -> None:
    """Not before, and not after."""
    session = session_of(name)
    session.send("jobs", [Outgoing(b"late", delay=5.0), Outgoing(b"short", expires_at=1003.0)], 0)
    assert session.stats("jobs", 0).delayed == 1
    clock.now += 4
    assert session.stats("jobs", 0).ready == 0
    assert not session.receive(["jobs"], 5, 10.0, 0)
    clock.now += 1
    assert session.receive(["jobs"], 5, 10.0, 0)[0].body == b"late"


def test_a_waiting_receive_sees_what_becomes_due(name: str) -> None:
    """A delay that ends, and a lease that ends, wake it without a put."""
    session = session_of(name)
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


def test_a_get_over_several_queues_starves_none(name: str) -> None:
    """The queue that is asked first takes turns."""
    session = session_of(name)
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


def test_a_closed_session_is_lost(name: str) -> None:
    """Not silently usable."""
    session = session_of(name)
    session.close()
    with pytest.raises(unimq.ConnectionLost):
        session.ping(0)


def test_an_interrupt_ends_a_wait_and_nothing_else(name: str) -> None:
    """The session works afterwards, and one that comes too early is forgotten."""
    session = session_of(name)
    session.interrupt()
    threading.Timer(0.05, session.interrupt).start()
    start = time.monotonic()
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


class TestProfiles:
    """`?profile=` imitates what another backend declares."""

    def test_it_has_exactly_the_declared_capabilities(self) -> None:
        """The same object of data, limits included."""
        with unimq.connect("memory://?profile=sqlite") as client:
            assert client.capabilities == registry.driver("sqlite").capabilities(URL("sqlite"))

    def test_its_own_name_and_unknown_ones_are_refused(self) -> None:
        """With the list of those that are known."""
        with pytest.raises(unimq.InvalidURL, match="known: .*sqlite"):
            unimq.connect("memory://?profile=memory")
        with pytest.raises(unimq.InvalidURL, match="did you mean 'sqlite'"):
            unimq.connect("memory://?profile=sqlit")

    def test_what_is_absent_is_refused(self, name: str) -> None:
        """By the face, and by the session itself."""
        profile = profile_of(nack=absent(), extend=absent(), limits=Limits(body=5, name=20))
        with unimq.Queue(f"memory://{name}/jobs?profile={profile}") as queue:
            queue.put("x")
            message = queue.get(timeout=0)
            for call in (message.nack, message.extend, queue.peek, queue.purge, queue.delete, queue.client.queues):
                with pytest.raises(unimq.Unsupported):
                    call()
            for put in ({"delay": 1}, {"priority": 5}):
                with pytest.raises(unimq.Unsupported):
                    queue.put("x", **put)  # type: ignore[arg-type]
            with pytest.raises(unimq.TooLarge):
                queue.put("four")
        session = session_of(name, profile)
        for refused in (session.release, session.extend, session.purge):
            with pytest.raises(unimq.Unsupported):
                refused(*[[]] * (refused.__code__.co_argcount - 1))

    def test_a_nacked_message_goes_where_it_is_declared_to(self, name: str) -> None:
        """To the tail, or to the front."""
        for place, expected in (("tail", [2, 1]), ("front", [1, 2])):
            profile = profile_of(nack_place=place, purge=native())
            with unimq.Queue(f"memory://{name}/jobs?profile={profile}") as queue:
                queue.put_many([1, 2])
                queue.get(timeout=0).nack()
                assert [m.body for m in queue.get_many(2, timeout=0)] == expected
            unimq_memory.reset(name)

    def test_an_at_most_once_get_removes(self, name: str) -> None:
        """A closed queue takes along what was in hand; an ack changes nothing."""
        profile = profile_of(guarantee="at-most-once", lease=absent(), nack=absent(), nack_delay=absent())
        with unimq.Queue(f"memory://{name}/jobs?profile={profile}") as queue:
            queue.put_many([1, 2])
            queue.get(timeout=0).ack()
            queue.get(timeout=0)
        with unimq.Queue(f"memory://{name}/jobs?profile={profile}") as queue, pytest.raises(unimq.Empty):
            queue.get(timeout=0)

    def test_a_lease_by_connection_ends_with_it(self, name: str) -> None:
        """Closing gives everything back at once, and only the session that received may settle."""
        profile = profile_of(lease_by="connection", lease=layered())
        with unimq.Queue(f"memory://{name}/jobs?profile={profile}") as queue:
            queue.put("x")
            queue.get(timeout=0)
        first, second = session_of(name, profile), session_of(name, profile)
        (held,) = first.receive(["jobs"], 1, 60.0, 0)
        assert first.settling == "duplex"
        assert isinstance(second.ack([held], 0)[0], unimq.LeaseLost)
        assert first.ack([held], 0) == [None]

    def test_a_lease_by_put_is_fixed_there(self, name: str, clock: Clock) -> None:
        """Whatever the get says; extending starts it again."""
        session = session_of(name, profile_of(lease_by="put", extend=native()))
        session.send("jobs", [Outgoing(b"x", lease=5.0)], 0)
        (held,) = session.receive(["jobs"], 1, 999.0, 0)
        assert session.settling == "same-session"
        assert session.extend(held, 999.0, 0) == 5.0
        clock.now += 5.1
        assert session.receive(["jobs"], 1, 999.0, 0)

    def test_what_is_counted_is_what_is_declared(self, name: str) -> None:
        """Fetches, nacks, or nothing."""
        for counts, expected in (("fetches", [1, 2]), ("nacks", [1, 2]), (None, [None, None])):
            level = absent() if counts is None else native()
            session = session_of(name, profile_of(counts=counts, delivery_count=level))
            session.send("jobs", [Outgoing(b"x")], 0)
            (first,) = session.receive(["jobs"], 1, 60.0, 0)
            session.release([first], 0.0, 0)
            (second,) = session.receive(["jobs"], 1, 60.0, 0)
            assert [first.delivery_count, second.delivery_count] == expected
            unimq_memory.reset(name)

    def test_fetches_count_ended_leases_and_nacks_do_not(self, name: str, clock: Clock) -> None:
        """As with real servers."""
        for counts, expected in (("fetches", 2), ("nacks", 1)):
            session = session_of(name, profile_of(counts=counts, delivery_count=native(), lease_by="get"))
            session.send("jobs", [Outgoing(b"x")], 0)
            session.receive(["jobs"], 1, 1.0, 0)
            clock.now += 2
            assert session.receive(["jobs"], 1, 1.0, 0)[0].delivery_count == expected
            unimq_memory.reset(name)

    def test_priorities_and_delays_have_their_grain(self, name: str, clock: Clock) -> None:
        """Three levels, and whole seconds rounded up."""
        profile = profile_of(priority=native(), priority_levels=3, delay=native(), delay_step=1.0)
        session = session_of(name, profile)
        session.send("jobs", [Outgoing(bytes([48 + p]), priority=p) for p in range(10)], 0)
        taken = [d.body for d in session.receive(["jobs"], 10, 60.0, 0)]
        levels = [sorted(taken[:4]), sorted(taken[4:7]), sorted(taken[7:])]
        assert levels == [[b"6", b"7", b"8", b"9"], [b"3", b"4", b"5"], [b"0", b"1", b"2"]]
        session.send("jobs", [Outgoing(b"x", delay=0.2)], 0)
        clock.now += 0.9
        assert not session.receive(["jobs"], 1, 60.0, 0)
        clock.now += 0.2
        assert session.receive(["jobs"], 1, 60.0, 0)

    def test_what_the_protocol_does_not_keep_is_not_given_back(self, name: str) -> None:
        """No id, no time, no priority, no headers: the face carries them itself."""
        session = session_of(name, profile_of())
        assert session.send("jobs", [Outgoing(b"x", id="own", headers={"a": "b"})], 0) == [None]
        (delivery,) = session.receive(["jobs"], 1, 60.0, 0)
        assert (delivery.id, delivery.headers, delivery.priority, delivery.enqueued_at) == (None,) * 4
        with unimq.Queue(f"memory://{name}/other?profile=imitated") as queue:
            receipt = queue.put("x", headers={"a": "b"})
            message = queue.get(timeout=0)
            assert (message.id, message.headers["a"]) == (receipt.id, "b")
