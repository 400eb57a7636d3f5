"""`Session.watch`, by which a holder learns of what its clients wait for, on the stores that can tell."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import unimq_memory
from unimq.driver import BaseSession, Outgoing, Session
from unimq.registry import driver
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
