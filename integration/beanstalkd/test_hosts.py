"""Three servers in one URL, under load: one is killed, one is frozen, and both come back with what they had."""

from collections.abc import Callable

import pytest
from beanstalkd.recipes import LOGGED
from harness import Recipe, Running
from harness.load import WORKERS, working

TIMEOUT = 2.0
"""Seconds that a put may take."""
CONNECT = 0.5
"""Seconds that a connect may take."""
SLACK = 1.0
"""Seconds for a machine with other work to do."""


@pytest.fixture(scope="class")
def servers(private: Callable[[Recipe], Running]) -> list[Running]:
    """Three, each with its log."""
    return [private(LOGGED) for _ in range(3)]


class TestHosts:
    """A client of several servers works on while some are away, and loses nothing that was confirmed."""

    def test_nothing_confirmed_is_lost(self, servers: list[Running]) -> None:
        """One server killed and one frozen: puts go to the third, and what the two had arrives when they are back."""
        killed, frozen, _ = servers
        hosts = ",".join(f"127.0.0.1:{server.port}" for server in servers)
        with working(f"beanstalkd://{hosts}/jobs?timeout={TIMEOUT}&connect_timeout={CONNECT}&lease=5") as load:
            load.put_more(200)
            killed.kill()
            load.put_more(200)
            frozen.pause()
            load.put_more(500)
            killed.start()
            frozen.resume()
            load.put_more(300)
        assert not load.broken
        seen = set(load.seen)
        slow = [wait for wait in load.waits if wait > CONNECT + SLACK]
        print(
            f"{len(load.tried)} tried, {len(load.confirmed)} confirmed, {len(load.failed)} failed, "
            f"{len(load.seen) - len(seen)} duplicates; slow puts: {[round(wait, 2) for wait in slow]}"
        )
        assert load.confirmed <= seen
        assert seen <= load.tried
        assert all(error.in_doubt for error in load.failed), load.failed
        assert max(load.waits) < TIMEOUT + SLACK
        assert len(slow) <= WORKERS
