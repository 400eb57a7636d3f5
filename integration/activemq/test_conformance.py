"""ActiveMQ conforms."""

from collections.abc import Callable

import pytest
from harness import Recipe

from unimq.testing import QueueConformance


class TestActiveMQ(QueueConformance):
    """A broker as Debian has it, with a scheduler and the statistics plugin."""

    @pytest.fixture
    def url(self, shared: Callable[[Recipe], str], broker: Recipe) -> str:
        return shared(broker)
