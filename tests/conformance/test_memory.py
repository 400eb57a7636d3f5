"""The memory backend conforms, and so do profiles of backends that nobody has."""

import pytest

from unimq.testing import QueueConformance


class TestMemory(QueueConformance):
    """`memory://` itself."""

    @pytest.fixture
    def url(self) -> str:
        return "memory://conformance"
