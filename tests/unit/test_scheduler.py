"""The thread of a client that calls things later."""

import threading
import time
from collections.abc import Iterator
from functools import partial

import pytest

import unimq
from unimq.scheduler import Scheduler


class Watched(threading.Condition):
    """Tells when somebody waits on it: whoever gets the lock after that gets it from the waiting."""

    def __init__(self) -> None:
        super().__init__()
        self.waited = threading.Event()

    def wait(self, timeout: float | None = None) -> bool:
        self.waited.set()
        return super().wait(timeout)


@pytest.fixture
def scheduler() -> Iterator[Scheduler]:
    one = Scheduler("of a test")
    yield one
    one.close(time.monotonic() + 5)


def test_an_earlier_call_is_not_kept_waiting_by_a_later_one(scheduler: Scheduler) -> None:
    """The thread waits for the first; what is due before that wakes it."""
    scheduler._condition = watched = Watched()
    called = threading.Event()
    scheduler.at(time.monotonic() + 3600, lambda: None)
    assert watched.waited.wait(10)
    scheduler.at(time.monotonic(), called.set)
    assert called.wait(10)


def test_calls_come_in_the_order_of_their_times(scheduler: Scheduler) -> None:
    """Whatever the order in which they were asked for; equal times in that order."""
    order: list[int] = []
    gate, done = threading.Event(), threading.Event()
    scheduler.at(0.0, lambda: order.append(-1) if gate.wait(10) else None)
    for number, when in enumerate((2.0, 1.0, 3.0, 1.0)):
        scheduler.at(when, partial(order.append, number))
    scheduler.at(4.0, done.set)
    gate.set()
    assert done.wait(10)
    assert order == [-1, 1, 3, 0, 2]


class Interruption(BaseException):
    """What no handler expects."""


@pytest.mark.parametrize("error", [unimq.Timeout("late"), ZeroDivisionError("a mistake"), Interruption(), SystemExit()])
def test_whatever_a_call_raises_the_others_are_made(
    scheduler: Scheduler, error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    """A refusal of a server is dropped; anything else is logged, because nobody else could tell of it."""

    def fail() -> None:
        raise error

    called = threading.Event()
    scheduler.at(0.0, fail)
    scheduler.at(1.0, called.set)
    assert called.wait(10)
    logged = [record.exc_info[1] for record in caplog.records if record.name == "unimq" and record.exc_info]
    assert logged == ([] if isinstance(error, unimq.UnimqError) else [error])


def test_a_thread_that_could_not_be_started_is_started_later(
    scheduler: Scheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the machine has none to spare, what is due waits for the next call that is scheduled."""

    def refuse(_: threading.Thread) -> None:
        msg = "can't start new thread"
        raise RuntimeError(msg)

    called = threading.Event()
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        scheduler.at(0.0, called.set)
    assert not called.is_set()
    scheduler.at(0.0, lambda: None)
    assert called.wait(10)
