"""MemcacheQ conforms: the stand-in by default, a real server where UNIMQ_TEST_MEMCACHEQ_URL or the image names one."""

from collections.abc import Callable

import pytest
from harness import Recipe, Running

from unimq.testing import QueueConformance
from unimq.testing.faults import Faults


class TestMemcacheQ(QueueConformance):
    """A server with its defaults, but for one thread."""

    @pytest.fixture
    def url(self, shared: Callable[[Recipe], str], memcacheq: Recipe) -> str:
        return shared(memcacheq)


@pytest.fixture(scope="class")
def server(private: Callable[[Recipe], Running], memcacheq: Recipe) -> Running:
    return private(memcacheq)


class TestMemcacheQFaults(Faults):
    """A server that is killed, paused and cut off."""

    @pytest.fixture
    def url(self, server: Running) -> str:
        return server.url
