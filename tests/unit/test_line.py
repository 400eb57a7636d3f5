"""Who gets a session when all are in use."""

import threading
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from unimq import URL
from unimq.hosts import Host, Need, PooledSession

PATIENCE = 10.0


def session_of(host: Host, settling: str = "any-session") -> PooledSession:
    session: Any = SimpleNamespace(settling=settling)
    capabilities: Any = None
    pooled = PooledSession(host, session, capabilities)
    me = object()
    assert host.opened(pooled, me)
    return pooled


def until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.001)


class Caller:
    """A thread that stands in line."""

    def __init__(
        self, host: Host, need: Need = "call", only: PooledSession | None = None, timeout: float = PATIENCE
    ) -> None:
        self.pooled: PooledSession | None = None
        before = len(host.line) + len(host._to_wait)
        self._thread = threading.Thread(target=self._run, args=(host, need, only, timeout))
        self._thread.start()
        until(lambda: len(host.line) + len(host._to_wait) > before or not self._thread.is_alive())

    def _run(self, host: Host, need: Need, only: PooledSession | None, timeout: float) -> None:
        self.pooled = host.wait(self, need, time.monotonic() + timeout, only)

    @property
    def waits(self) -> bool:
        return self._thread.is_alive()

    def result(self) -> PooledSession | None:
        self._thread.join(PATIENCE)
        assert not self.waits
        return self.pooled


@pytest.fixture
def host() -> Host:
    return Host(URL.parse("some://host"), 1)


def test_who_came_first_is_served_first_and_alone(host: Host) -> None:
    """Each session that is given back wakes one, the first, who has it when he wakes."""
    pooled, me = session_of(host), object()
    assert host.free(me) is pooled
    callers = [Caller(host) for _ in range(5)]
    user: object = me
    for position, caller in enumerate(callers):
        host.give_back(pooled, user)
        assert caller.result() is pooled
        assert all(other.waits for other in callers[position + 1 :])
        user = caller
    host.give_back(pooled, user)
    assert not pooled.user


def test_nobody_passes_by_those_who_stand_in_line(host: Host) -> None:
    """Also not in the moment between a session's return and the wake-up."""
    pooled, me = session_of(host), object()
    assert host.free(me) is pooled
    caller = Caller(host)
    host.give_back(pooled, me)
    assert host.free(object()) is None
    assert caller.result() is pooled


def test_who_cannot_use_what_is_given_back_lets_others_pass(host: Host) -> None:
    """A settlement that needs another session, and a receive that would wait where something is held."""
    host.most = 3
    first, second = session_of(host, "same-session"), session_of(host, "same-session")
    first.held["token"] = SimpleNamespace(lease_until=None)
    users = object(), object()
    assert [host.free(me) for me in users] == [first, second]
    opener = Caller(host)  # there is room for a third
    assert opener.result() is None
    assert opener in host.opening
    settling, waiting, putting = Caller(host, only=second), Caller(host, "wait"), Caller(host)
    host.give_back(first, users[0])
    assert putting.result() is first
    assert settling.waits
    assert waiting.waits
    host.give_back(second, users[1])
    assert settling.result() is second
    host.give_back(second, settling)
    assert waiting.result() is second


def test_gets_that_wait_leave_a_session_to_others(host: Host) -> None:
    """However many sessions are free, one less than there may be is waited on."""
    host.most = 2
    sessions = [session_of(host), session_of(host)]
    me, other = object(), object()
    assert host.free_to_receive(me, "wait", ()) in sessions
    assert host.free_to_receive(other, "wait", ()) is None
    assert host.free_to_receive(other, "poll", ()) in sessions
    waiting = Caller(host, "wait")
    host.give_back(next(pooled for pooled in sessions if pooled.user.get(0) is other), other)
    assert waiting.waits
    host.give_back(next(pooled for pooled in sessions if pooled.user.get(0) is me), me)
    assert waiting.result() in sessions


def test_a_dead_session_is_not_waited_for(host: Host) -> None:
    """Who wanted that very one is told at once; who wanted any may open another."""
    pooled, me = session_of(host), object()
    assert host.free(me) is pooled
    settling, putting = Caller(host, only=pooled), Caller(host)
    assert host.remove(pooled)
    assert settling.result() is None
    assert putting.result() is None
    assert host.opening == {putting}


def test_whoever_waited_too_long_leaves_the_line(host: Host) -> None:
    """And gets nothing afterwards."""
    pooled, me = session_of(host), object()
    assert host.free(me) is pooled
    late = Caller(host, timeout=0.0)
    assert late.result() is None
    host.give_back(pooled, me)
    assert not pooled.user


def test_a_close_ends_the_line(host: Host) -> None:
    """Nobody is served any more, and nobody stands in line."""
    pooled, me = session_of(host), object()
    assert host.free(me) is pooled
    callers = [Caller(host), Caller(host, "wait")]
    host.close()
    assert [caller.result() for caller in callers] == [None, None]
    assert Caller(host).result() is None
