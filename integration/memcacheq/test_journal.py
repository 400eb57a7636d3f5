"""MemcacheQ with a journal conforms to more: what was received is kept until it is settled."""

from collections.abc import Callable
from pathlib import Path

import pytest
from harness import Recipe, Running

from unimq import URL
from unimq.testing import QueueConformance
from unimq.testing.faults import Faults


@pytest.fixture(scope="module")
def journal(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder: Path = tmp_path_factory.mktemp("journal")
    # What `full` adds, the cases cannot see: a power loss.
    return f"sqlite:///{folder}/journal.db?durability=normal"


class TestJournal(QueueConformance):
    """One journal for all cases."""

    @pytest.fixture
    def url(self, shared: Callable[[Recipe], str], memcacheq: Recipe, journal: str) -> URL:
        return URL.parse(shared(memcacheq)).with_options(journal=journal)


@pytest.fixture(scope="class")
def server(private: Callable[[Recipe], Running], memcacheq: Recipe) -> Running:
    return private(memcacheq)


class TestJournalFaults(Faults):
    """A server that is killed, paused and cut off."""

    @pytest.fixture
    def url(self, server: Running, journal: str) -> URL:
        return URL.parse(server.url).with_options(journal=journal)
