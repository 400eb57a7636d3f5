"""The example driver of docs/writing-a-driver.md keeps the contract that every driver keeps."""

import importlib
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

import unimq
from unimq import registry
from unimq.testing import QueueConformance

EXAMPLE = Path(__file__).parent.parent.parent / "docs" / "examples" / "spool.py"


@pytest.fixture
def spool(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The driver is installed, as a third party's would be, and forgotten afterwards."""
    site = tmp_path_factory.mktemp("site")
    distribution = site / "spool-1.dist-info"
    distribution.mkdir()
    (distribution / "METADATA").write_text("Metadata-Version: 2.1\nName: spool\nVersion: 1\n")
    (distribution / "entry_points.txt").write_text("[unimq.drivers]\nspool = spool:driver\n")
    for folder in (site, EXAMPLE.parent):
        monkeypatch.syspath_prepend(str(folder))
    registry.register("spool", importlib.import_module("spool").driver)
    yield
    registry.unregister("spool")


@pytest.mark.usefixtures("spool")
class TestSpool(QueueConformance):
    """It passes the suite as a third party would run it: one class, one fixture."""

    @pytest.fixture
    def url(self, tmp_path: Path) -> str:
        """A directory of its own for each case."""
        return f"spool:///{tmp_path}/box"


@pytest.mark.usefixtures("spool")
class TestServedSpool(QueueConformance):
    """A holder serves it to others: its tokens, which are paths, stay with the holder."""

    @pytest.fixture
    def url(self, tmp_path: Path) -> Iterator[str]:
        """A holder for each case, at a short path, as sockets need it."""
        with TemporaryDirectory(prefix="unimq-") as folder:
            at = f"zeromq+ipc://{folder}/holder"
            with unimq.serve(f"spool:///{tmp_path}/box", at=at):
                yield f"{at}?store=spool"
