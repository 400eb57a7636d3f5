"""`?emulate=delay`: what SUBMIT_JOB_EPOCH costs on the real server, as the capability's note says."""

import math
import select
import socket
import struct
import time
from collections.abc import Callable, Iterator

import pytest
from harness import Recipe

import unimq
from unimq.testing.lab import PATIENCE, fresh_name
from unimq.url import URL

CAN_DO, PRE_SLEEP, GRAB_JOB, NO_JOB, JOB_ASSIGN = 1, 4, 9, 10, 11
HEADER = struct.Struct(">4sII")


@pytest.fixture
def url(shared: Callable[[Recipe], str], plain: Recipe) -> URL:
    return URL.parse(shared(plain)).with_options(emulate="delay")


@pytest.fixture
def queue(url: URL) -> Iterator[unimq.Queue[str]]:
    with unimq.Queue(url, name=fresh_name(), type=str) as queue:
        yield queue


class Worker:
    """A worker of another program, which is told of nothing but by the server."""

    def __init__(self, url: URL, function: str) -> None:
        host = url.hosts[0]
        self.socket = socket.create_connection((host.name, host.port or 4730), PATIENCE)
        self._file = self.socket.makefile("rb")
        self.say(CAN_DO, function.encode())

    def say(self, command: int, data: bytes = b"") -> None:
        """Send a packet."""
        self.socket.sendall(HEADER.pack(b"\0REQ", command, len(data)) + data)

    def grab(self) -> tuple[int, bytes]:
        """Ask for a job: the command of the answer, and what it says."""
        self.say(GRAB_JOB)
        _, command, size = HEADER.unpack(self._file.read(HEADER.size))
        return command, self._file.read(size)


def test_a_time_is_a_whole_second(queue: unimq.Queue[str]) -> None:
    """A fraction is rounded up: never early, and up to a second late."""
    before = time.time()
    queue.put("x", delay=0.1)
    with queue.get(timeout=PATIENCE):
        assert time.time() >= math.ceil(before + 0.1)


def test_nobody_is_woken_when_it_is_due(url: URL, queue: unimq.Queue[str]) -> None:
    """A worker that sleeps sleeps on beside a job that is due; a get of unimq looks for itself."""
    other = fresh_name()
    with unimq.Queue(url, name=other, type=str) as theirs:
        worker = Worker(url, other)
        with worker.socket:
            theirs.put("unheard", delay=1)
            queue.put("looked for", delay=1)
            assert worker.grab()[0] == NO_JOB
            worker.say(PRE_SLEEP)
            with queue.get(timeout=PATIENCE) as message:
                assert message.body == "looked for"
            assert select.select([worker.socket], [], [], 0.5)[0] == []
            command, job = worker.grab()
            assert command == JOB_ASSIGN
            assert job.endswith(b'"unheard"')


def test_what_is_not_due_hides_low_ones(queue: unimq.Queue[str]) -> None:
    """Those of priority 0 to 2 wait for it too, and come after it; those above pass by."""
    due = time.time() + 5
    queue.put("not due", delay=5)
    queue.put("low", priority=2)
    queue.put("high", priority=9)
    queue.put("middle", priority=3)
    for body in ("high", "middle"):
        with queue.get(timeout=PATIENCE) as message:
            assert message.body == body
    with pytest.raises(unimq.Empty):
        queue.get(timeout=0.5)
    assert time.time() < due
    for body in ("not due", "low"):
        with queue.get(timeout=PATIENCE) as message:
            assert message.body == body
            assert time.time() >= due
