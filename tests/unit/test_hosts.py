"""How long a host is left out."""

from types import SimpleNamespace

import pytest

from unimq import URL
from unimq.hosts import Host


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Host:
    """One for which it is always a thousand seconds past."""
    monkeypatch.setattr("unimq.hosts.time", SimpleNamespace(monotonic=lambda: 1000.0))
    return Host(URL.parse("some://host"), 32)


def pause(host: Host) -> float:
    host.failed()
    return host.retry_at - 1000.0


def test_each_failure_doubles_the_pause_up_to_five_seconds(host: Host) -> None:
    """From 50 ms on, give or take 10 %, however often it fails."""
    for expected in (0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0, 5.0):
        assert pause(host) == pytest.approx(expected, rel=0.1 + 1e-9)
    for _ in range(2000):
        host.failed()
    assert pause(host) == pytest.approx(5.0, rel=0.1 + 1e-9)


def test_many_clients_do_not_come_back_at_the_same_moment(host: Host) -> None:
    """The pause has a jitter."""
    pauses: set[float] = set()
    for _ in range(20):
        host.works()
        pauses.add(pause(host))
    assert len(pauses) > 10


def test_a_success_forgets_the_failures(host: Host) -> None:
    """It is asked at once, and the next failure is a first one again."""
    for _ in range(5):
        host.failed()
    host.works()
    assert host.retry_at <= 1000.0
    assert pause(host) == pytest.approx(0.05, rel=0.1 + 1e-9)
