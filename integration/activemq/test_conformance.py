"""ActiveMQ conforms."""

from collections.abc import Callable

import pytest
from harness import Recipe, Running

from unimq.testing import QueueConformance
from unimq.testing.faults import Faults


class TestActiveMQ(QueueConformance):
    """A broker as Debian has it, with a scheduler and the statistics plugin."""

    @pytest.fixture
    def url(self, shared: Callable[[Recipe], str], broker: Recipe) -> str:
        return f"{shared(broker)}/?prioritized=true"


@pytest.fixture(scope="class")
def server(private: Callable[[Recipe], Running], broker: Recipe) -> Running:
    return private(broker)


class TestActiveMQFaults(Faults):
    """A broker that is killed, paused and cut off."""

    @pytest.fixture
    def url(self, server: Running) -> str:
        return f"{server.url}/?prioritized=true"
