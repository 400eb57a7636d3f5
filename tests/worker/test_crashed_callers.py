"""What becomes of the reply queue of a process that dies while it waits for a reply."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import unimq
from unimq.testing.lab import PATIENCE
from unimq.testing.workers import running, until

CALLER = """
import sys
import unimq

with unimq.Queue(sys.argv[1]) as queue:
    queue.call("dies", timeout=2)
"""


@pytest.mark.slow
def test_the_next_client_removes_what_a_killed_one_left(tmp_path: Path) -> None:
    """It was killed while its request was worked on; the reply expired unread."""
    url = f"sqlite:///{tmp_path}/jobs.db?queue=jobs"

    def work(message: unimq.Message[Any]) -> object:
        if message.body == "dies":
            caller.kill()
            caller.wait()
        return message.body

    with unimq.Queue[Any](url) as queue:
        caller = subprocess.Popen([sys.executable, "-c", CALLER, url])  # noqa: S603 - of this test
        try:
            with running(unimq.Worker(url, work)) as worker:
                until(lambda: worker.health().done == 1)
                (left,) = queue.client.queues()
                assert left.startswith("replies.")

                def removed() -> bool:
                    with unimq.Queue[Any](url) as other:
                        assert other.call("lives", timeout=PATIENCE).body == "lives"
                    return left not in queue.client.queues()

                until(removed)
        finally:
            caller.kill()
            caller.wait()
        assert queue.client.queues() == []
