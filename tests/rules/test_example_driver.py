"""The example driver of docs/writing-a-driver.md keeps the contract that every driver keeps."""

import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from unimq import registry
from unimq.testing import QueueConformance

EXAMPLE = Path(__file__).parent.parent.parent / "docs" / "examples" / "spool.py"


class TestSpool(QueueConformance):
    """It passes the suite as a third party would run it: one class, one fixture."""

    @pytest.fixture
    def url(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
        """A directory of its own for each case."""
        monkeypatch.syspath_prepend(str(EXAMPLE.parent))
        registry.register("spool", importlib.import_module("spool").driver)
        yield f"spool:///{tmp_path}/box"
        registry.unregister("spool")
