"""Receives that wait, threads that share, and processes that fork."""

import os
import statistics
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

import unimq_memory
from unimq.driver import Outgoing
from unimq.errors import ConnectionLost

Opener = Callable[..., Any]


def waiting(name: str, call: Callable[[], Any], waiters: int = 1) -> "tuple[threading.Thread, list[Any]]":
    """Run `call` in a thread until it waits; returns the thread and where its result will be."""
    results: list[Any] = []

    def run() -> None:
        try:
            results.append(call())
        except ConnectionLost as error:
            results.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    until = time.monotonic() + 5
    while unimq_memory.broker(name).waiters < waiters and time.monotonic() < until:
        time.sleep(0.001)
    return thread, results


def test_a_put_wakes_at_once(opened: Opener, name: str) -> None:
    """The median of 30 wake-ups is under 20 ms: nothing polls."""
    consumer, producer = opened(), opened()
    latencies: list[float] = []
    for _ in range(30):
        thread, _ = waiting(name, lambda: latencies.append(received_at(consumer)))
        sent = time.monotonic()
        producer.put(b"x")
        thread.join(5)
        latencies[-1] -= sent
    assert statistics.median(latencies) < 0.02


def received_at(session: Any) -> float:
    """When the next message came."""
    (found,) = session.receive(["jobs"], 1, 60.0, time.monotonic() + 5)
    now = time.monotonic()
    session.ack([found], 0)
    return now


@pytest.mark.parametrize("way", ["release", "close", "move", "shorten"])
def test_whatever_makes_a_message_ready_wakes(imitating: Opener, name: str, way: str) -> None:
    """Not only a put: what comes back, is moved here, or has its lease shortened."""
    from unimq.capabilities import native

    lease_by = "connection" if way == "close" else "get"
    holder, consumer = (imitating(lease_by=lease_by, extend=native(), settling="any-session") for _ in range(2))
    holder.put(b"x")
    (held,) = holder.take(lease=60.0)
    thread, found = waiting(name, lambda: consumer.receive(["jobs", "other"], 1, 60.0, time.monotonic() + 5))
    start = time.monotonic()
    {
        "release": lambda: holder.release([held], 0.0, 0),
        "close": holder.close,
        "move": lambda: holder.move("other", [(held, Outgoing(b"x"))], 0),
        "shorten": lambda: holder.extend([held], 0.01, 0),
    }[way]()
    thread.join(5)
    assert [one.body for one in found[0]] == [b"x"]
    assert time.monotonic() - start < 2


def test_a_wait_ends_with_its_deadline(opened: Opener) -> None:
    """Empty, not early, and not much late; a past deadline does not wait."""
    session = opened()
    start = time.monotonic()
    assert session.receive(["jobs"], 1, 60.0, start + 0.1) == []
    assert 0.1 <= time.monotonic() - start < 2
    assert session.receive(["jobs"], 1, 60.0, float("-inf")) == []


def test_an_endless_wait_is_one(opened: Opener, name: str) -> None:
    """No deadline at all, also beside a message that is due next year."""
    session = opened()
    session.put(b"late", delay=365 * 86400.0)
    thread, found = waiting(name, lambda: session.receive(["jobs"], 1, 60.0, float("inf")))
    opened().put(b"x")
    thread.join(5)
    assert [one.body for one in found[0]] == [b"x"]


@pytest.mark.slow
@pytest.mark.parametrize("way", ["put", "release"])
def test_a_wait_notices_that_the_clock_was_set(opened: Opener, name: str, way: str) -> None:
    """What is due by the new time comes within seconds, and not when the old one would have been."""
    session, broker, clock = opened(), unimq_memory.broker(name), time.time
    session.put(b"x", delay=60.0 if way == "put" else 0.0)
    if way == "release":
        session.release(session.take(), 60.0, 0)
    thread, found = waiting(name, lambda: session.receive(["jobs"], 1, 60.0, time.monotonic() + 20))
    start = time.monotonic()
    broker.wall = lambda: clock() + 3600
    thread.join(20)
    assert [one.body for one in found[0]] == [b"x"]
    assert time.monotonic() - start < 10


def test_a_clock_that_was_set_ends_no_lease(opened: Opener, name: str) -> None:
    """A consumer keeps what it has, and may settle it."""
    session, clock = opened(), time.time
    session.put(b"x")
    held = session.take(lease=60.0)
    unimq_memory.broker(name).wall = lambda: clock() + 3600
    assert session.take() == []
    assert session.ack(held, 0) == [None]


def test_closing_ends_a_wait(opened: Opener, name: str) -> None:
    """With `ConnectionLost`."""
    session = opened()
    thread, found = waiting(name, lambda: session.receive(["jobs"], 1, 60.0, time.monotonic() + 5))
    session.close()
    thread.join(5)
    assert isinstance(found[0], ConnectionLost)


def test_an_interrupt_is_for_one_session(opened: Opener, name: str) -> None:
    """Others that wait beside it go on."""
    one, other = opened(), opened()
    thread, found = waiting(name, lambda: one.receive(["jobs"], 1, 60.0, time.monotonic() + 5))
    beside, later = waiting(name, lambda: other.receive(["jobs"], 1, 60.0, time.monotonic() + 5), 2)
    one.interrupt()
    thread.join(5)
    assert found == [[]]
    assert beside.is_alive()
    one.put(b"x")
    beside.join(5)
    assert [delivery.body for delivery in later[0]] == [b"x"]


def test_an_idle_wait_costs_nothing(opened: Opener) -> None:
    """Less than 20 ms of processor time in a wait of 300 ms."""
    session = opened()
    spent = time.thread_time()
    session.receive(["jobs"], 1, 60.0, time.monotonic() + 0.3)
    assert time.thread_time() - spent < 0.02


def test_nothing_is_lost_between_threads(opened: Opener) -> None:
    """Four producers, four consumers, two queues, some given back: everything is acked once."""
    acked: Counter[bytes] = Counter()
    total, done = 2000, threading.Event()
    lock = threading.Lock()

    def produce(part: int) -> None:
        session = opened()
        for number in range(part, total, 4):
            session.put(b"%d" % number, queue=f"q{number % 2}", priority=number % 10)

    def consume() -> None:
        session = opened()
        while not done.is_set():
            found = session.receive(["q0", "q1"], 7, 60.0, time.monotonic() + 0.2)
            back = [one for one in found if one.delivery_count == 1 and int(one.body) % 5 == 0]
            kept = [one for one in found if one not in back]
            assert not any([*session.release(back, 0.0, 0), *session.ack(kept, 0)])
            with lock:
                acked.update(one.body for one in kept)
                if acked.total() >= total:
                    done.set()

    threads = [threading.Thread(target=produce, args=(part,)) for part in range(4)]
    threads += [threading.Thread(target=consume) for _ in range(4)]
    for thread in threads:
        thread.start()
    finished = done.wait(30)
    done.set()
    for thread in threads:
        thread.join()
    assert finished
    assert acked == Counter(b"%d" % number for number in range(total))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing forks here")
@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
def test_a_fork_waits_until_the_queues_are_whole(opened: Opener, name: str) -> None:
    """While a thread changes them: the child's copy never shows half a step, and its locks are free."""
    busy, stop = opened(), threading.Event()

    def change() -> None:
        while not stop.is_set():
            busy.put(*[b"x"] * 50)
            busy.ack(busy.take(50), 0)

    thread = threading.Thread(target=change)
    thread.start()
    try:
        answers = [in_a_child(lambda: busy.stats("jobs", 0).ready + busy.stats("jobs", 0).leased) for _ in range(20)]
    finally:
        stop.set()
        thread.join()
    assert set(answers) <= {0, 50}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing forks here")
@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
def test_a_child_may_wait_where_its_parent_did(opened: Opener, name: str) -> None:
    """The parent's waiting threads are not in the child; the parent's go on undisturbed."""
    session = opened()
    thread, found = waiting(name, lambda: session.receive(["jobs"], 1, 60.0, time.monotonic() + 5))
    assert in_a_child(lambda: unimq_memory.broker(name).waiters) == 0
    other = opened()
    assert in_a_child(lambda: len(other.receive(["jobs"], 1, 60.0, time.monotonic() + 0.05))) == 0
    other.put(b"x")
    thread.join(5)
    assert [one.body for one in found[0]] == [b"x"]


def in_a_child(call: Callable[[], int]) -> int:
    """What `call` returns in a forked child, 255 when it raises, -14 when it hangs."""
    child = os.fork()
    if child == 0:
        import signal

        signal.alarm(10)
        try:
            os._exit(call())
        except BaseException:  # noqa: BLE001 - nothing of the parent's may run here
            os._exit(255)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
