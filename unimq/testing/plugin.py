"""A pytest plugin for applications: `unimq_queue`, an empty queue for each test, `unimq_seen`, and `unimq_clock`.

The queue is on `memory://` unless the option `--unimq-url` or the ini setting `unimq_url` names another backend, or a
profile such as `memory://?profile=sqlite`. The plugin is loaded into every pytest run where unimq is installed, so it
imports nothing until a fixture is used.
"""

import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from unimq.queue import Queue
    from unimq.testing.seen import Seen

__all__ = ["Clock", "unimq_clock", "unimq_queue", "unimq_seen"]


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

    from unimq.queue import connect  # noqa: PLC0415

    url = request.config.getoption("--unimq-url") or request.config.getini("unimq_url")
    hooks = request.getfixturevalue("unimq_seen").hooks if "unimq_seen" in request.fixturenames else None
    with connect(url, hooks=hooks) as client:
        queue: Queue[Any] = client.queue(f"test-{uuid.uuid4().hex}")
        yield queue
    with connect(url) as client:  # the test may have closed the queue, or its client
        for left in (client.queue(queue.name), client.queue(queue.name).dead):
            if client.capabilities.delete:
                left.delete()
            elif client.capabilities.purge:
                left.purge()


@pytest.fixture
def unimq_seen() -> "Seen":
    """What was put and settled on `unimq_queue`, on other queues of its client, and by what else has its `hooks`.

    `unimq_seen.put == [(queue, body), ...]` and `unimq_seen.settled == [(queue, body, outcome), ...]`, in order.
    """
    from unimq.testing.seen import Seen  # noqa: PLC0415 - see above

    return Seen()


class Clock:
    """The clocks of this process, which can be put forward."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self._ahead = 0.0
        for name in ("time", "monotonic"):
            patch.setattr(time, name, self._shifted(getattr(time, name)))

    def advance(self, seconds: float | timedelta) -> None:
        """Let so many seconds have passed; a `timedelta` is possible too."""
        more = seconds.total_seconds() if isinstance(seconds, timedelta) else seconds
        if not more >= 0:
            msg = f"seconds={seconds!r}: must be 0 or more, because time does not go back"
            raise ValueError(msg)
        self._ahead += more

    def _shifted(self, real: Callable[[], float]) -> Callable[[], float]:
        return lambda: real() + self._ahead


@pytest.fixture
def unimq_clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """`unimq_clock.advance(60)`: a minute later. Delays, leases, expiry and the pauses of retries are over then.

    `time.time` and `time.monotonic` of this process are shifted, so it works on `memory://` and `sqlite:///`, whose
    clock that is; a server has one of its own. What waits already, in another thread, does not hear of it.
    """
    return Clock(monkeypatch)
