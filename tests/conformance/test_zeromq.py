"""Push-pull sockets conform, and a store that this process serves to itself. Faults are integration tests."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

import unimq
from unimq.testing import QueueConformance


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A short path, as sockets need it."""
    with TemporaryDirectory(prefix="unimq-") as folder:
        yield Path(folder)


class TestPushPull(QueueConformance):
    """A socket for each queue."""

    @pytest.fixture
    def url(self, folder: Path) -> str:
        return f"zeromq+ipc://{folder}?pattern=push-pull"


@pytest.fixture(scope="module")
def sockets(folder: Path) -> Path:
    """A folder of their own, beside their journal."""
    sockets = folder / "journaled"
    sockets.mkdir()
    return sockets


class TestPushPullWithAJournal(QueueConformance):
    """What was received is kept."""

    @pytest.fixture
    def url(self, sockets: Path) -> str:
        return f"zeromq+ipc://{sockets}?pattern=push-pull&journal=sqlite:///{sockets}.db%3Fdurability=normal"


@pytest.fixture(scope="module")
def held(folder: Path) -> Iterator[str]:
    """The address of a holder in a thread of this process."""
    at = f"zeromq+ipc://{folder}/holder"
    with unimq.serve("memory://held-here", at=at):
        yield at


class TestServed(QueueConformance):
    """One socket for all queues."""

    @pytest.fixture
    def url(self, held: str) -> str:
        return held
