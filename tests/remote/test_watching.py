"""`Session.watch`, by which a holder learns of what its clients wait for, on the stores that can tell."""

import queue
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

import unimq_memory
from unimq.driver import BaseSession, Outgoing, Session
from unimq.registry import driver
from unimq.remote.watching import Watcher
from unimq.testing.sessions import open_session

LONG = 20.0


def opened(url: str) -> Session:
    return open_session(driver(url.partition(":")[0]), url, time.monotonic() + LONG)


@pytest.fixture(params=["memory", "sqlite"])
def sessions(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Session, Session]]:
    """One that watches, and one that puts."""
    unimq_memory.reset("watched")
    url = {"memory": "memory://watched", "sqlite": f"sqlite:///{tmp_path}/watched.db"}[request.param]
    pair = opened(url), opened(url)
    yield pair
    for session in pair:
        session.close()
    unimq_memory.reset("watched")


class Watching(threading.Thread):
    """Watches the queue `q`, and has what came of it."""

    def __init__(self, session: Session) -> None:
        super().__init__(daemon=True)
        self.session = session
        self.found: bool | None = None
        self.start()

    def run(self) -> None:
        self.found = self.session.watch(["other", "q"], time.monotonic() + LONG)

    def result(self) -> bool | None:
        self.join(LONG + 10)
        assert not self.is_alive()
        return self.found


@pytest.mark.parametrize("delay", [0.0, 0.2])
def test_it_tells_when_something_is_ready(sessions: tuple[Session, Session], delay: float) -> None:
    """After a put, or the delay of one; at once where something waits already. It takes nothing."""
    watching, putting = sessions
    thread = Watching(watching)
    start = time.monotonic()
    putting.send("q", [Outgoing(b"x", delay=delay)], start + LONG)
    assert thread.result() is True
    assert delay <= time.monotonic() - start < LONG
    assert watching.watch(["q"], time.monotonic() + LONG) is True
    assert [one.body for one in putting.receive(["q"], 2, 60.0, time.monotonic())] == [b"x"]


def test_it_tells_that_nothing_is(sessions: tuple[Session, Session]) -> None:
    """At its deadline, also one that is over; what another queue has is none of it."""
    watching, putting = sessions
    putting.send("elsewhere", [Outgoing(b"x")], time.monotonic() + LONG)
    for seconds in (0.05, -1.0):
        assert watching.watch(["q"], time.monotonic() + seconds) is False
    assert watching.watch([], time.monotonic() + 0.05) is False


def test_it_can_be_interrupted(sessions: tuple[Session, Session]) -> None:
    """And goes on to watch when it is asked again."""
    watching, putting = sessions
    thread = Watching(watching)
    until = time.monotonic() + LONG / 2
    while thread.is_alive() and time.monotonic() < until:
        watching.interrupt()
        thread.join(0.01)
    assert thread.result() is False
    assert time.monotonic() < until
    putting.send("q", [Outgoing(b"x")], time.monotonic() + LONG)
    assert Watching(watching).result() is True


def test_most_stores_cannot_tell() -> None:
    """What a driver leaves out is said to be unknown, and nobody waits for it."""
    assert BaseSession().watch(["q"], time.monotonic() + LONG) is None


class Slices(BaseSession):
    """Its watching lasts until the test ends it, and finds nothing."""

    def __init__(self) -> None:
        self.asked: queue.SimpleQueue[list[str]] = queue.SimpleQueue()
        self.ends = threading.Semaphore(0)

    def watch(self, queues: Sequence[str], deadline: float) -> bool:
        self.asked.put(list(queues))
        assert self.ends.acquire(timeout=LONG)
        return False

    def interrupt(self) -> None:
        """Ended by the test."""

    def close(self) -> None:
        """Nothing is open."""


def test_a_holder_watches_what_somebody_waits_for() -> None:
    """More when more is waited for, and no more what nobody waits for any longer: each put would wake it."""
    session = Slices()
    watcher = Watcher(session, lambda: None)
    watcher.watch(["a"])
    assert session.asked.get(timeout=LONG) == ["a"]
    watcher.watch(["b"])
    session.ends.release()
    assert session.asked.get(timeout=LONG) == ["a", "b"]
    watcher.rest()
    session.ends.release()
    watcher.watch(["c"])
    assert session.asked.get(timeout=LONG) == ["c"]
    watcher.rest()
    session.ends.release()
    watcher.close()
    assert session.asked.empty()
