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
    """An empty `unimq.Queue` with a name of its own, closed and removed after the test.

    It is on the URL of `--unimq-url`, else on that of the ini setting `unimq_url`, else on `memory://`. Its `client`
    makes more queues on the same connections. What is left on it, and on its dead-letter queue, is deleted or purged
    where the backend can do that.
    """
    import uuid  # noqa: PLC0415 - see above

    from unimq.client import connect  # noqa: PLC0415

    url = request.config.getoption("--unimq-url") or request.config.getini("unimq_url")
    with connect(url) as client:
        queue: Queue[Any] = client.queue(f"test-{uuid.uuid4().hex}")
        yield queue
    with connect(url) as client:  # the test may have closed the queue, or its client
        for left in (client.queue(queue.name), client.queue(queue.name).dead):
            if client.capabilities.delete:
                left.delete()
            elif client.capabilities.purge:
                left.purge()
