"""The SQLite backend conforms."""

from pathlib import Path

import pytest

from unimq.testing import QueueConformance


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sqlite")


class TestSQLite(QueueConformance):
    """One file for all cases, as a server would be."""

    @pytest.fixture
    def url(self, folder: Path) -> str:
        # What `full` adds, the cases cannot see: a power loss. It would cost them a sync of the disk for every put.
        return f"sqlite:///{folder}/jobs.db?durability=normal"
