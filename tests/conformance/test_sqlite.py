"""The SQLite backend conforms."""

from pathlib import Path

import pytest

from unimq.testing import QueueConformance


class TestSQLite(QueueConformance):
    """A file of its own for each case."""

    @pytest.fixture
    def url(self, tmp_path: Path) -> str:
        # What `full` adds, the cases cannot see: a power loss. It would cost them a sync of the disk for every put.
        return f"sqlite:///{tmp_path}/jobs.db?durability=normal"
