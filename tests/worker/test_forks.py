"""Workers and forks: a message belongs to the process that got it."""

import os
import sys
from pathlib import Path
from typing import Any

import pytest

import unimq
from unimq import LeaseLost, Message, Queue, Worker
from unimq.testing.lab import PATIENCE
from unimq.testing.workers import running, until

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="nothing forks there"),
    pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning"),
]


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/jobs.db?queue=jobs"


def ended(child: int) -> int:
    """The exit status of that process."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_the_child_of_a_handler_settles_nothing(url: str) -> None:
    """It is refused that; the handler's own end settles the message, once."""
    statuses: list[int] = []

    def work(message: Message[Any]) -> None:
        child = os.fork()
        if not child:
            status = 1
            try:
                message.ack()
            except LeaseLost:
                status = 0
            finally:
                os._exit(status)
        statuses.append(ended(child))

    with Queue[Any](url) as queue, running(Worker(url, work, concurrency=2)) as worker:
        queue.put_many(range(6))
        until(lambda: worker.health().done == 6)
        assert (worker.health().lost, queue.size()) == (0, 0)
    assert statuses == [0] * 6


def test_a_child_may_be_a_worker(url: str) -> None:
    """On a client that its parent has used; what the parent has in hand stays there."""
    with unimq.connect(url) as client:
        queue = client.queue()
        queue.put_many(["parent's", "child's", "child's"])
        mine = queue.get(timeout=PATIENCE)
        child = os.fork()
        if not child:
            status = 255
            try:
                status = Worker(client, lambda message: None, concurrency=2).drain().done
            finally:
                os._exit(status)
        assert ended(child) == 2
        stats = queue.stats()
        assert (stats.ready, stats.leased) == (0, 1)
        mine.ack()
        assert queue.stats().leased == 0
