"""Other programs on the same functions: the command line tool `gearman`, as client and as worker."""

import base64
import io
import shlex
import tarfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

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
        told = f"echo {base64.b64encode(data).decode()} | base64 -d | timeout 20 gearman {shlex.join(words)}"
        name = f"/root/{fresh_name()}"  # what a short command prints is lost now and then on its way out of a container
        code, _ = self._container.exec_run(["bash", "-c", f"set -o pipefail; {told} > {name}"])
        packed, _ = self._container.get_archive(name)
        with tarfile.open(fileobj=io.BytesIO(b"".join(packed))) as archive:
            output = archive.extractfile(Path(name).name)
            assert output is not None
            return code, output.read()

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

    def test_what_is_unique_is_so_for_all(self, tool: Tool, queue: "unimq.Queue[bytes]") -> None:
        """A job of the same unique id is the same job, whoever submitted it first."""
        queue.put(b"ours", unique="order-8")
        assert tool.run("-b", "-f", queue.name, "-u", "order-8", data=b"x")[0] == 0
        assert tool.run("-b", "-f", queue.name, "-u", "order-9", data=b"theirs")[0] == 0
        assert queue.put(b"x", unique="order-9").id == "order-9"
        bodies = []
        for _ in range(2):
            with queue.get(timeout=PATIENCE) as message:
                bodies.append((message.body, message.id))
        assert bodies == [(b"ours", "order-8"), (b"theirs", "order-9")]
        assert queue.stats().ready == 0

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

    @pytest.mark.parametrize("body", [ODD, b""], ids=["all bytes", "nothing"])
    def test_a_reply_reaches_a_client_that_waits(self, tool: Tool, queue: "unimq.Queue[bytes]", body: bytes) -> None:
        """Byte for byte, with the ack."""
        waiting = tool.start("-f", queue.name, data=b"x")
        with queue.get(timeout=PATIENCE) as message:
            assert message.reply_to is None
            message.reply(body)
        assert waiting.result(PATIENCE) == (0, body)

    def test_a_worker_answers_a_client_that_waits(self, tool: Tool, server: InContainer) -> None:
        """With what its handler returns; what it rejects is no success."""

        def shout(message: unimq.Message[bytes]) -> bytes:
            if message.body == b"bad":
                raise unimq.Reject
            return message.body.upper()

        name = fresh_name()
        worker = unimq.Worker(f"{server.url}{name}?codec=raw", shout)
        thread = threading.Thread(target=worker.run)
        thread.start()
        try:
            assert tool.run("-f", name, data=b"tea") == (0, b"TEA")
            assert tool.run("-f", name, data=b"bad")[0] != 0
        finally:
            worker.stop()
            thread.join(PATIENCE)

    @pytest.mark.parametrize("body", [ODD, b""], ids=["all bytes", "nothing"])
    def test_it_answers_a_call(self, tool: Tool, queue: "unimq.Queue[bytes]", body: bytes) -> None:
        """What it works on is nothing but the body, and what it prints is the reply."""
        working = tool.start("-w", "-c", "1", "-f", queue.name, "--", "cat")
        reply = queue.call(body, timeout=PATIENCE)
        assert (reply.body, reply.settled) == (body, True)
        assert working.result(PATIENCE)[0] == 0

    def test_a_call_that_it_fails(self, tool: Tool, queue: "unimq.Queue[bytes]") -> None:
        """Is a failure for its caller, and no empty reply."""
        tool.start("-w", "-c", "1", "-f", queue.name, "--", "false")
        with pytest.raises(unimq.RemoteError, match="failed"):
            queue.call(b"x", timeout=PATIENCE)

    @pytest.mark.parametrize("how", ["nack", "lease", "release"])
    def test_what_comes_back_is_no_success_for_its_caller(self, server: InContainer, how: str) -> None:
        """Given back or kept beyond its lease: the caller is told that it failed, and the message is there again."""
        url = f"{server.url}{fresh_name()}?codec=raw"
        lease = 0.3 if how == "lease" else 60.0
        with unimq.Queue[bytes](url) as caller, unimq.Queue[bytes](url, lease=lease) as consumer:
            with ThreadPoolExecutor() as threads:
                calling = threads.submit(caller.call, b"x", timeout=PATIENCE)
                message = consumer.get(timeout=PATIENCE)
                if how != "lease":
                    getattr(message, how)()
                with pytest.raises(unimq.RemoteError):
                    calling.result(PATIENCE)
            with consumer.get(timeout=PATIENCE) as again:
                assert again.raw == b"x"

    def test_what_a_caller_gave_up_is_not_worked_on(self, server: InContainer) -> None:
        """Its connection is closed, and the server forgets the job at the next look."""
        url = f"{server.url}{fresh_name()}?codec=raw"
        with unimq.Queue[bytes](url) as caller, unimq.Queue[bytes](url) as consumer:
            with pytest.raises(unimq.Timeout, match="no reply in time"):
                caller.call(b"x", timeout=1.0)
            with pytest.raises(unimq.Empty):
                consumer.get(timeout=0.5)
