"""A pytest plugin for applications: the fixture `unimq_queue`, a fresh and empty queue for each test.

It is on `memory://` unless the option `--unimq-url` or the ini setting `unimq_url` names another backend, or a
profile such as `memory://?profile=sqlite`. The plugin is loaded into every pytest run where unimq is installed, so it
imports nothing until the fixture is used.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from unimq.queue import Queue

__all__ = ["unimq_queue"]


def pytest_addoption(parser: pytest.Parser) -> None:
    """The backend to test on."""
    text = "the unimq URL that the fixture unimq_queue is made on (memory://)"
    parser.getgroup("unimq").addoption("--unimq-url", default=None, metavar="URL", help=text)
    parser.addini("unimq_url", text, default="memory://")


@pytest.fixture
def unimq_queue(request: pytest.FixtureRequest) -> "Iterator[Queue[Any]]":
    """An empty queue with a name of its own; deleted afterwards where the backend can."""
    import uuid  # noqa: PLC0415 - see above

    from unimq.client import connect  # noqa: PLC0415

    url = request.config.getoption("--unimq-url") or request.config.getini("unimq_url")
    with connect(url) as client:
        queue: Queue[Any] = client.queue(f"test-{uuid.uuid4().hex}")
        yield queue
        if queue.capabilities.delete:
            queue.delete()
            queue.dead.delete()
