"""A server that listens on a socket file only."""

import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from harness import Recipe, Running

import unimq
from unimq.testing.lab import PATIENCE, fresh_name


@pytest.fixture(scope="class")
def file() -> Iterator[Path]:
    """Where the socket is to be: a short path, as the system takes about a hundred bytes."""
    with tempfile.TemporaryDirectory(prefix="unimq-") as folder:
        yield Path(folder) / "socket"


@pytest.fixture(scope="class")
def server(private: Callable[[Recipe], Running], file: Path) -> Running:
    """A beanstalkd on that file, which its container sees under the same path."""

    def ready(_host: str, _port: int) -> None:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(2)
            connection.connect(str(file))
            connection.sendall(b"list-tubes\r\n")
            if not connection.recv(100).startswith(b"OK "):
                raise OSError(str(file))

    command = ("beanstalkd", "-l", f"unix:{file}")
    folder = str(file.parent)
    url = f"beanstalkd+unix://{file}?queue="
    return private(
        Recipe("beanstalkd", 11300, url, ready, command=command, variant="file", files={folder: file.parent})
    )


class TestSocketFile:
    """`beanstalkd+unix:///path?queue=name` is a beanstalkd like any other."""

    @pytest.fixture
    def queue(self, server: Running) -> Iterator[unimq.Queue[str]]:
        with unimq.Queue(server.url + fresh_name(), type=str) as queue:
            yield queue

    def test_messages_come_and_go(self, queue: unimq.Queue[str]) -> None:
        """One by one, with what the server keeps of them."""
        receipt = queue.put("x", priority=7, headers={"a": "b"})
        message = queue.get(timeout=PATIENCE)
        assert (message.body, message.priority, message.headers["a"], message.id) == ("x", 7, "b", receipt.id)
        message.nack()
        again = queue.get(timeout=PATIENCE)
        assert again.delivery_count == 2
        again.ack()
        assert queue.size() == 0
        assert queue.ping().server.startswith("beanstalkd")

    def test_batches_are_pipelined_there_too(self, queue: unimq.Queue[str]) -> None:
        """More than the buffers of a socket file hold at once."""
        bodies = [f"{number:06}" * 500 for number in range(1000)]
        queue.put_many(bodies)
        seen: list[str] = []
        while len(seen) < len(bodies):
            messages = queue.get_many(1000, timeout=PATIENCE)
            seen += [message.body for message in messages]
            queue.ack(messages)
        assert seen == bodies

    def test_a_get_that_waits_is_woken_by_a_put(self, queue: unimq.Queue[str]) -> None:
        """And one that waits for nothing ends with the queue."""
        putter = threading.Timer(0.2, queue.put, ["x"])
        putter.start()
        with queue.get(timeout=PATIENCE) as message:
            assert message.body == "x"
        putter.join()
        closer = threading.Timer(0.2, queue.close)
        closer.start()
        with pytest.raises(unimq.Closed):
            queue.get(timeout=PATIENCE)
        closer.join()

    def test_a_server_that_is_away_is_told_with_its_file(self, server: Running, file: Path) -> None:
        """And found again when it is back, at the same place."""
        with unimq.Queue(server.url + fresh_name(), type=str) as queue:
            queue.put("before")
            server.kill()
            with pytest.raises(unimq.ConnectError, match=str(file)):
                queue.put("meanwhile", timeout=0.5)
            server.start()
            queue.put("after")
            assert queue.get(timeout=PATIENCE).body == "after"
