"""The SQLite backend conforms."""

from pathlib import Path

import pytest

from unimq.testing import QueueConformance


class TestSQLite(QueueConformance):
    """A file of its own for each case."""

    @pytest.fixture
    def url(self, tmp_path: Path) -> str:
        return f"sqlite:///{tmp_path}/jobs.db"
