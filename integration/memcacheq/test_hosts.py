"""Two servers in one URL: the work is spread over them, and goes on with the one that lives."""

import contextlib
import time
from collections.abc import Iterator

import pytest
from harness import Recipe, Run, Running

import unimq
from unimq.errors import UnimqError
from unimq.testing.lab import PATIENCE, fresh_name

_TIMEOUT = 2.0


@pytest.fixture(scope="module")
def servers(run: Run, memcacheq: Recipe) -> Iterator[tuple[Running, Running]]:
    with run.private(memcacheq) as first, run.private(memcacheq) as second:
        yield first, second


@pytest.fixture
def url(servers: tuple[Running, Running]) -> str:
    first, second = servers
    address = f"127.0.0.1:{first.port},127.0.0.1:{second.port}"
    return f"memcacheq://{address}/{fresh_name()}?timeout={_TIMEOUT:g}s&connect_timeout=1s"


def taken(queue: "unimq.Queue[int]", wanted: set[int]) -> set[int]:
    """The bodies that come until those wanted are there; a server that is away may cost a try."""
    found: set[int] = set()
    ends = time.monotonic() + PATIENCE
    while not wanted <= found and time.monotonic() < ends:
        with contextlib.suppress(UnimqError), queue.get(timeout=1) as message:
            found.add(message.body)
    return found


def test_puts_are_spread_and_all_is_found(url: str, servers: tuple[Running, Running]) -> None:
    """Each server has a part; one consumer gets the whole."""
    with unimq.Queue[int](url) as queue:
        for number in range(20):
            queue.put(number)
        parts = []
        for server in servers:
            with unimq.Queue[int](f"memcacheq://127.0.0.1:{server.port}/{queue.name}") as part:
                parts.append(part.size())
        assert sum(parts) == 20
        assert min(parts) > 0
        assert taken(queue, set(range(20))) == set(range(20))


@pytest.mark.parametrize("fault", ["kill", "pause"])
def test_work_goes_on_with_the_one_that_lives(url: str, servers: tuple[Running, Running], fault: str) -> None:
    """No put waits longer than its time-out, and when both are back nothing that was confirmed is missing."""
    first, _ = servers
    with unimq.Queue[int](url) as queue:
        queue.ping()
        stored: set[int] = set()
        try:
            getattr(first, fault)()
            for number in range(20):
                start = time.monotonic()
                with contextlib.suppress(UnimqError):
                    queue.put(number)
                    stored.add(number)
                assert time.monotonic() - start < _TIMEOUT + PATIENCE / 2
            assert len(stored) >= 18
        finally:
            first.resume()
            first.start()
        assert stored <= taken(queue, stored)
