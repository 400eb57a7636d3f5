"""Other programs on the same functions: the command line tool `gearman`, as client and as worker."""

import base64
import shlex
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest
from harness import Recipe, Running
from harness.servers import InContainer

import unimq
from unimq.testing.lab import PATIENCE, fresh_name

ODD = bytes(range(256)) + b"\r\n\0"


class Tool:
    """`gearman` in the container of the server."""

    def __init__(self, server: InContainer, threads: ThreadPoolExecutor) -> None:
        self._container = server._docker
        self._threads = threads

    def run(self, *words: str, data: bytes = b"") -> tuple[int, bytes]:
        """Its exit code and output, with `data` for its input."""
        told = f"echo {base64.b64encode(data).decode()} | base64 -d | timeout 20 gearman {shlex.join(words)} | base64"
        code, output = self._container.exec_run(["bash", "-c", f"set -o pipefail; {told}"], demux=True)
        return code, base64.b64decode(output[0] or b"")

    def start(self, *words: str, data: bytes = b"") -> "Future[tuple[int, bytes]]":
        """The same, beside the test."""
        return self._threads.submit(self.run, *words, data=data)


@pytest.fixture(scope="class")
def server(private: Callable[[Recipe], Running], plain: Recipe) -> InContainer:
    """A server whose container has the tool."""
    server = private(plain)
    if not isinstance(server, InContainer):
        pytest.skip("NOT TESTED: the tool is run in the server's container, and there is none")
    return server


@pytest.fixture
def tool(server: InContainer) -> Iterator[Tool]:
    with ThreadPoolExecutor() as threads:
        yield Tool(server, threads)


@pytest.fixture
def queue(server: InContainer) -> Iterator["unimq.Queue[bytes]"]:
    with unimq.Queue(f"{server.url}{fresh_name()}?codec=raw") as queue:
        yield queue


class TestCommandLine:
    """Bytes arrive as they are, both ways, with and without somebody who waits for the answer."""

    @pytest.mark.parametrize("body", [ODD, b""], ids=["all bytes", "nothing"])
    def test_it_puts_what_unimq_gets(self, tool: Tool, queue: "unimq.Queue[bytes]", body: bytes) -> None:
        """Byte for byte; the job's unique id is the message's id."""
        assert tool.run("-b", "-f", queue.name, "-u", "order-7", data=body)[0] == 0
        with queue.get(timeout=PATIENCE) as message:
            assert message.raw == body
            assert message.id == "order-7"
            assert message.redelivered is None

    def test_its_priorities_are_kept(self, tool: Tool, queue: "unimq.Queue[bytes]") -> None:
        """High, normal, low; ours are ordered among them."""
        for option, body in (("-L", b"low"), ("-b", b"normal"), ("-I", b"high")):
            assert tool.run("-b", option, "-f", queue.name, data=body)[0] == 0
        queue.put(b"our low", priority=0)
        queue.put(b"our normal", priority=4)
        queue.put(b"our high", priority=9)
        bodies = []
        for _ in range(6):
            with queue.get(timeout=PATIENCE) as message:
                bodies.append(message.body)
        assert bodies == [b"high", b"our high", b"normal", b"our normal", b"low", b"our low"]

    @pytest.mark.parametrize("body", [ODD, b""], ids=["all bytes", "nothing"])
    def test_it_takes_what_unimq_puts(self, tool: Tool, queue: "unimq.Queue[bytes]", body: bytes) -> None:
        """Nothing but the body, and it is gone then."""
        queue.put(body)
        assert tool.run("-w", "-c", "1", "-f", queue.name) == (0, body)
        assert queue.stats().ready == 0

    def test_an_ack_answers_a_client_that_waits(self, tool: Tool, queue: "unimq.Queue[bytes]") -> None:
        """With success, and nothing in it."""
        waiting = tool.start("-f", queue.name, data=ODD)
        with queue.get(timeout=PATIENCE) as message:
            assert message.raw == ODD
        assert waiting.result(PATIENCE) == (0, b"")

    def test_a_nack_is_no_success_for_a_client_that_waits(self, tool: Tool, queue: "unimq.Queue[bytes]") -> None:
        """It is told that the job failed; the message is on the queue again."""
        waiting = tool.start("-f", queue.name, data=b"x")
        queue.get(timeout=PATIENCE).nack()
        assert waiting.result(PATIENCE)[0] != 0
        with queue.get(timeout=PATIENCE) as message:
            assert message.raw == b"x"
            assert message.delivery_count == 2

    def test_a_client_that_gave_up_hurts_nobody(self, tool: Tool, queue: "unimq.Queue[bytes]") -> None:
        """The ack of its job is accepted, and the next message comes."""
        waiting = tool.start("-t", "300", "-f", queue.name, data=b"x")
        message = queue.get(timeout=PATIENCE)
        assert waiting.result(PATIENCE)[1] == b""  # it ends by its own clock, before the ack, whatever its exit code
        message.ack()
        queue.put(b"next")
        with queue.get(timeout=PATIENCE) as following:
            assert following.body == b"next"
