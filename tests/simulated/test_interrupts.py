"""Exceptions that come out of a signal handler at any moment: Ctrl-C, a time limit."""

import math
import random
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from types import FrameType
from typing import Any

import pytest
from servers import Broker

import unimq

INTERRUPTIONS = 3000


class TimeLimit(BaseException):
    """What a handler raises."""


LENDING = ("unimq/pool.py", "unimq/hosts.py", "unimq/seats.py")
SETTLING = ("unimq/settler.py", "unimq/claims.py", "unimq/keeper.py", "unimq/outcomes.py", "unimq/seats.py")


@contextmanager
def raising_at(step: int, modules: tuple[str, ...] = LENDING) -> Iterator[list[int]]:
    """Raise `TimeLimit` before the `step`-th step of the interpreter in the modules that lend sessions."""
    seen = [0]

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        if not frame.f_code.co_filename.endswith(modules):
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            seen[0] += 1
            if seen[0] == step:
                sys.settrace(None)
                raise TimeLimit
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield seen
    finally:
        sys.settrace(before)


def contained(call: Callable[..., object], *arguments: object) -> Iterator[object]:
    """Do it in a generator: an exception that the interpreter handles for ever, left at a bad step, ends with that."""
    yield call(*arguments)


def put(queue: "unimq.Queue[int]", _: "unimq.Message[int]") -> None:
    queue.put(2)


def poll(queue: "unimq.Queue[int]", _: "unimq.Message[int]") -> None:
    queue.get(timeout=0)


def wait(queue: "unimq.Queue[int]", _: "unimq.Message[int]") -> None:
    queue.get(timeout=0.01)


def ack(_: "unimq.Queue[int]", message: "unimq.Message[int]") -> None:
    message.ack()


def fail(queue: "unimq.Queue[int]", _: "unimq.Message[int]") -> None:
    """A call that is refused by the server."""
    queue.client.pool.lend(queue.client.pool.hosts[0], time.monotonic() + 5, raises, "not found")


def raises(_: object, msg: str) -> None:
    raise unimq.LeaseLost(msg)


# The interpreter swallows, and reports, what is raised while it ends a generator.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("scheme", ["simsame", "simduplex", "simonce"])
@pytest.mark.parametrize("call", [put, poll, wait, ack, fail])
def test_an_exception_at_any_step_costs_no_session(
    call: "Callable[[unimq.Queue[int], unimq.Message[int]], None]", scheme: str, broker: Broker
) -> None:
    """Wherever it comes while a session is opened, taken, used and given back, the only one can be had again."""
    step, seen = -1, [0]
    while seen[0] >= step:
        step += 1  # none is interrupted at 0: Python 3.12 gives the first frames that ask for it no steps
        with unimq.Queue[int](f"{scheme}://{broker.name}/jobs?max_sessions=1&timeout=5s") as queue:
            queue.put(0)
            queue.put(1)
            message = queue.get(timeout=0)
            if step % 2:
                broker.cut()  # another one is opened
            with suppress(TimeLimit, unimq.UnimqError), raising_at(step) as seen:
                next(contained(call, queue, message))
            host = queue.client.pool.hosts[0]
            assert not host.opening
            assert not host.line
            assert not host._waits
            assert [pooled for pooled in host.sessions if pooled.user or pooled.receiver] == []
            queue.put(3, timeout=1)
        broker.jobs.clear()
    assert step > 50


WAYS: "dict[str, Callable[[unimq.Queue[int], list[unimq.Message[int]]], None]]" = {
    "ack": lambda _, messages: messages[0].ack(),
    "ack many": lambda queue, messages: queue.ack(messages),
    "nack": lambda _, messages: messages[0].nack(),
    "nack many": lambda queue, messages: queue.nack(messages),
    "reject": lambda _, messages: messages[0].reject(),
}


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("scheme", ["simsame", "simduplex"])
@pytest.mark.parametrize("way", WAYS)
def test_an_exception_at_any_step_costs_no_claim(way: str, scheme: str, broker: Broker) -> None:
    """Wherever it comes while messages are settled: what the server still holds for them can be settled again."""
    step, seen = -1, [0]
    while seen[0] >= step:
        step += 1
        with unimq.Queue[int](f"{scheme}://{broker.name}/jobs?timeout=5s") as queue:
            queue.put_many([0, 1])
            messages = queue.get_many(2, timeout=0)
            with suppress(TimeLimit), raising_at(step, SETTLING) as seen:
                WAYS[way](queue, messages)
            for message in messages:
                held = broker.jobs.get(message._raw.token)
                if held is not None and held.holder is not None:
                    assert not message.settled
                    message.ack()
                with suppress(unimq.AlreadySettled, unimq.LeaseLost):
                    message.ack()
            assert [job for job in broker.jobs.values() if job.holder is not None] == []
            (host,) = queue.client.pool.hosts
            assert [pooled.held for pooled in host.sessions if pooled.held] == []
            host.keeper._end_over(math.inf)  # what was interrupted before it said that it was settled
            assert not host.keeper._ending
        broker.jobs.clear()
    assert step > 50


def test_an_exception_while_standing_in_line_leaves_the_line(broker: Broker) -> None:
    """What would have been given to the one who left goes to the next."""
    for step in range(1, 200, 7):
        with unimq.Queue[int](f"simsame://{broker.name}/jobs?max_sessions=1&timeout=5s") as queue:
            pool, host = queue.client.pool, queue.client.pool.hosts[0]
            entered, leave = threading.Event(), threading.Event()

            def use(_: object, events: tuple[threading.Event, threading.Event]) -> None:
                events[0].set()
                assert events[1].wait(5)

            user = threading.Thread(target=lambda: pool.lend(host, time.monotonic() + 5, use, (entered, leave)))  # noqa: B023
            user.start()
            assert entered.wait(5)
            with pytest.raises((TimeLimit, unimq.Timeout)), raising_at(step):
                next(contained(partial(queue.put, 1, timeout=0.01)))
            assert not host.line
            leave.set()
            user.join(5)
            queue.put(2, timeout=1)


@contextmanager
def alarms() -> Iterator[list[bool]]:
    """An alarm raises `TimeLimit` if the one flag is set, and takes it down."""
    armed = [False]

    def handler(*_: object) -> None:
        if armed[0]:
            armed[0] = False
            raise TimeLimit

    before = signal.signal(signal.SIGALRM, handler)
    try:
        yield armed
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


# The interpreter swallows, and reports, what is raised while it collects garbage.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs signals that come after a time")
def test_a_time_limit_by_signal_costs_no_session() -> None:
    """Thousands of interruptions at random moments of put, get and ack; all sessions are free afterwards."""
    chance, hits = random.Random(7), 0  # noqa: S311 - no secret
    end = time.monotonic() + 60
    with alarms() as armed, unimq.Queue[int]("memory://interrupted/jobs?max_sessions=4&timeout=5s") as queue:
        while hits < INTERRUPTIONS and time.monotonic() < end:
            try:
                armed[0] = True
                signal.setitimer(signal.ITIMER_REAL, chance.uniform(1e-5, 2e-4))
                for _ in range(20):
                    queue.put(1)
                    queue.get(timeout=0).ack()
                armed[0] = False
            except TimeLimit:
                hits += 1
            except unimq.Empty:  # a message that was interrupted is in nobody's hands until its lease ends
                armed[0] = False
        signal.setitimer(signal.ITIMER_REAL, 0)
        host = queue.client.pool.hosts[0]
        assert hits > INTERRUPTIONS / 10
        assert [pooled for pooled in host.sessions if pooled.user] == []
        assert not host.opening
        assert not host.line
        queue.put(2, timeout=1)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs signals that come after a time")
def test_a_time_limit_by_signal_costs_no_claim() -> None:
    """20,000 interruptions of acks and nacks: each message can be settled afterwards, and no session is lost."""
    chance, hits, turns = random.Random(7), 0, 0  # noqa: S311 - no secret
    end = time.monotonic() + 100
    with alarms() as armed, unimq.Queue[int]("memory://claims/jobs?max_sessions=2&timeout=5s") as queue:
        queue.put_many(range(10))
        while hits < 20_000 and time.monotonic() < end:
            turns += 1
            messages = queue.get_many(2, timeout=0)
            ways = [messages[0].ack, messages[0].nack, lambda: queue.ack(messages), lambda: queue.nack(messages)]  # noqa: B023
            try:
                armed[0] = True
                signal.setitimer(signal.ITIMER_REAL, chance.uniform(1e-6, 3e-5))
                ways[turns % 4]()
                armed[0] = False
            except TimeLimit:
                hits += 1
            for message in messages:
                with suppress(unimq.AlreadySettled, unimq.LeaseLost):
                    message.ack()
            queue.put_many([1, 2])
        signal.setitimer(signal.ITIMER_REAL, 0)
        assert hits > 2_000
        assert queue.stats().leased == 0
        host = queue.client.pool.hosts[0]
        assert [pooled for pooled in host.sessions if pooled.user] == []
        assert not host.opening
        assert not host.line
