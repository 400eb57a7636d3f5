"""What is gearmand's own: connections for each queue, several servers, dropped jobs, TLS before it, forks."""

import asyncio
import contextlib
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trustme
from harness import Recipe, Running

import unimq
from unimq.errors import ConnectError, Empty
from unimq.testing.lab import PATIENCE, fresh_name
from unimq.worker import Health


@pytest.fixture(scope="class")
def server(private: Callable[[Recipe], Running], plain: Recipe) -> Running:
    return private(plain)


def got(client: unimq.Client, names: list[str]) -> object:
    """The body of the next message of some queues, acked."""
    with client.get([client.queue(name) for name in names], timeout=PATIENCE) as message:
        return message.body


class TestQueues:
    """What one connection can do is changed only while it holds nothing."""

    def test_a_message_in_hand_survives_gets_from_other_queues(self, server: Running) -> None:
        """RESET_ABILITIES would give it back; it is not sent where something is held."""
        with unimq.connect(server.url) as client:
            held_name, names = fresh_name(), [fresh_name() for _ in range(3)]
            client.queue(held_name).put("held")
            held = client.queue(held_name).get(timeout=PATIENCE)
            for turn in range(5):
                for name in names:
                    client.queue(name).put(turn)
                    with client.queue(name).get(timeout=PATIENCE) as message:
                        assert message.body == turn
            assert client.queue(held_name).stats().leased == 1
            held.ack()
            assert client.queue(held_name).stats().leased == 0

    def test_every_wake_up_comes_at_once(self, server: Running) -> None:
        """Not only the first one of a get over several queues: far below the 5 s after which it would look itself."""
        names = [fresh_name() for _ in range(3)]
        with unimq.connect(server.url) as client, unimq.connect(server.url) as producer:
            waits: list[float] = []
            for turn in range(9):
                sent: list[float] = []

                def put(name: str, sent: list[float] = sent) -> None:
                    sent.append(time.monotonic())
                    producer.queue(name).put("x")

                timer = threading.Timer(0.05, put, [names[turn % 3]])
                timer.start()
                assert got(client, names) == "x"
                waits.append(time.monotonic() - sent[0])
                timer.join()
            assert max(waits) < 2.0

    def test_an_idle_get_does_not_spin(self, server: Running) -> None:
        """A second of waiting costs a fraction of that in CPU time."""
        with unimq.Queue(f"{server.url}{fresh_name()}") as queue:
            queue.ping()
            before = time.process_time()
            with pytest.raises(Empty):
                queue.get(timeout=1)
            assert time.process_time() - before < 0.3


class TestDropping:
    """`--job-retries`: the server drops what its consumers died with too often."""

    def test_a_job_is_dropped_without_a_word(self, private: Callable[[Recipe], Running], plain: Recipe) -> None:
        """After that many deliveries that ended with a connection, as the page says."""
        server = private(replace(plain, command=(*plain.command, "--job-retries", "2"), variant="retries"))
        name = fresh_name()
        with unimq.Queue(f"{server.url}{name}") as producer:
            producer.put("x")
        for _ in range(2):
            with unimq.Queue(f"{server.url}{name}") as consumer:
                assert consumer.get(timeout=PATIENCE).body == "x"
        with unimq.Queue(f"{server.url}{name}") as consumer, pytest.raises(Empty):
            consumer.get(timeout=0.5)


def answered(url: str, answers: int) -> threading.Thread:
    """A thread that replies so often."""

    def reply() -> None:
        with unimq.Queue(url) as worker:
            for _ in range(answers):
                with worker.get(timeout=2 * PATIENCE) as message:
                    message.reply("done")

    thread = threading.Thread(target=reply)
    thread.start()
    return thread


class TestCalls:
    """What becomes of calls when a server goes away."""

    def test_a_server_that_is_killed(self, private: Callable[[Recipe], Running], plain: Recipe) -> None:
        """Who waits is told at once, in doubt; when it is back the next call is answered, after a rest too."""
        server = private(plain)
        url = f"{server.url}{fresh_name()}"
        with unimq.Queue(url) as queue, ThreadPoolExecutor() as threads:
            calling = threads.submit(queue.call, "lost", timeout=6 * PATIENCE)
            with unimq.Queue(url) as consumer:
                consumer.get(timeout=PATIENCE)
                server.kill()
                with pytest.raises(unimq.ConnectionLost) as caught:
                    calling.result(PATIENCE)
            assert caught.value.in_doubt
            server.start()
            thread = answered(url, 1)
            assert queue.call("again", timeout=PATIENCE).body == "done"
            thread.join(PATIENCE)
            time.sleep(2.5)  # until the connection of the calls is closed
            server.kill()
            server.start()
            thread = answered(url, 1)
            assert queue.call("and again", timeout=PATIENCE).body == "done"
            thread.join(PATIENCE)

    def test_of_two_the_one_that_lives_answers(self, private: Callable[[Recipe], Running], plain: Recipe) -> None:
        """Whichever is asked first."""
        one, two = private(plain), private(plain)
        name = fresh_name()
        url = f"gearman://127.0.0.1:{one.port},127.0.0.1:{two.port}/{name}?connect_timeout=1s"
        one.kill()
        thread = answered(f"{two.url}{name}", 3)
        for _ in range(3):
            with unimq.Queue(url) as queue:
                assert queue.call("x", timeout=PATIENCE).body == "done"
        thread.join(PATIENCE)


class TestRetries:
    """A call whose first try fails is tried again in hand, while its caller waits."""

    async def _answer(self, url: str, *, stays: bool) -> tuple[list[int | None], Health]:
        tried: list[int | None] = []
        failed, answered = asyncio.Event(), asyncio.Event()

        async def work(message: unimq.AsyncMessage[Any]) -> str:
            tried.append(message.delivery_count)
            message.body.append("spoilt")
            if len(tried) == 1:
                failed.set()
                raise LookupError
            answered.set()
            return repr(message.body)

        worker = unimq.AsyncWorker(url, work, retry=unimq.RetryPolicy(pause=0.5, jitter=0))
        running = asyncio.create_task(worker.run())
        async with unimq.AsyncQueue(url) as queue:
            if stays:
                assert (await queue.call(["x"], timeout=PATIENCE)).body == "['x', 'spoilt']"
            else:
                calling = asyncio.create_task(queue.call(["x"], timeout=PATIENCE))
                await failed.wait()
                calling.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await calling
            await asyncio.wait_for(answered.wait(), PATIENCE)
            worker.stop()
            await running
        return tried, worker.health()

    @pytest.mark.parametrize("stays", [True, False], ids=["who stays", "who leaves"])
    def test_tasks_try_again_in_hand(self, server: Running, *, stays: bool) -> None:
        """With the body as it came, after the pause, and counted; it is done although its caller left meanwhile."""
        tried, health = asyncio.run(self._answer(f"{server.url}{fresh_name()}", stays=stays))
        assert tried == [1, 2]
        assert (health.retried, health.done, health.rejected) == (1, 1, 0)

    def test_a_worker_that_dies_is_followed_by_another(self, server: Running) -> None:
        """The caller waits on, and gets the reply of the other one."""
        url = f"{server.url}{fresh_name()}"
        with unimq.Queue(url) as queue, ThreadPoolExecutor() as threads:
            calling = threads.submit(queue.call, "x", timeout=2 * PATIENCE)
            with unimq.Queue(url) as dying:
                dying.get(timeout=PATIENCE).reply("half")  # the connection ends with it in hand
            with unimq.Queue(url) as other, other.get(timeout=PATIENCE) as message:
                message.reply("whole")
            assert calling.result(2 * PATIENCE).body == "whole"

    def test_a_worker_that_stops_tells_the_caller(self, server: Running) -> None:
        """In the pause between two tries: the message is there for another worker, counted."""
        url = f"{server.url}{fresh_name()}"
        failed = threading.Event()

        def fail(_message: unimq.Message[Any]) -> None:
            failed.set()
            raise LookupError

        worker = unimq.Worker(url, fail, retry=unimq.RetryPolicy(pause=300.0))
        thread = threading.Thread(target=worker.run)
        thread.start()
        with unimq.Queue(url) as queue, ThreadPoolExecutor() as threads:
            calling = threads.submit(queue.call, "x", timeout=PATIENCE)
            assert failed.wait(PATIENCE)
            worker.stop()
            with pytest.raises(unimq.RemoteError):
                calling.result(PATIENCE)
            thread.join(PATIENCE)
            with queue.get(timeout=PATIENCE) as again:
                assert (again.body, again.delivery_count) == ("x", 2)


@contextlib.contextmanager
def terminator(target: int, context: ssl.SSLContext) -> Iterator[int]:
    """A proxy that ends TLS before the port `target` of this host; its own port."""

    def relay(source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def serve(listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                plain, _ = listener.accept()
                threading.Thread(target=meet, args=[plain], daemon=True).start()

    def meet(plain: socket.socket) -> None:
        with (
            contextlib.suppress(OSError),
            context.wrap_socket(plain, server_side=True) as secure,
            socket.create_connection(("127.0.0.1", target)) as onward,
        ):
            back = threading.Thread(target=relay, args=[onward, secure], daemon=True)
            back.start()
            relay(secure, onward)
            back.join()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, args=[listener], daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


class TestTLS:
    """gearmand as Debian builds it speaks plain text, whatever it is told."""

    def test_a_plain_server_is_told_clearly(self, server: Running) -> None:
        """A `ConnectError` within the connect's deadline."""
        url = server.url.replace("gearman://", "gearman+ssl://")
        with unimq.Queue(f"{url}{fresh_name()}?connect_timeout=2s") as queue:
            start = time.monotonic()
            with pytest.raises(ConnectError, match="TLS"):
                queue.put("x")
            assert time.monotonic() - start < PATIENCE

    def test_a_proxy_before_it_gives_tls(self, server: Running, tmp_path: Path) -> None:
        """With a certificate that is verified; large and many messages, and an ack beside a get that waits."""
        authority = trustme.CA()
        authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1").configure_cert(context)
        with terminator(server.port, context) as port:
            url = f"gearman+ssl://127.0.0.1:{port}/{fresh_name()}?codec=raw"
            with pytest.raises(ConnectError, match="not trusted"), unimq.Queue(url) as untrusting:
                untrusting.put(b"x")
            with unimq.Queue(f"{url}&tls_ca={tmp_path / 'ca.pem'}") as queue:
                bodies = [b"x" * 3_000_000, *[b"%d" % number for number in range(200)]]
                queue.put_many(bodies)
                messages: list[unimq.Message[bytes]] = []
                while len(messages) < len(bodies):
                    messages += queue.get_many(100, timeout=PATIENCE)
                assert [message.body for message in messages] == bodies
                waiting = threading.Thread(target=lambda: queue.get(timeout=PATIENCE).ack())
                waiting.start()
                queue.ack(messages)
                queue.put(b"last")
                waiting.join(PATIENCE)
                assert not waiting.is_alive()
                assert queue.stats().leased == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing forks here")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
class TestForks:
    """A child process neither uses nor closes its parent's connections."""

    def test_the_parent_goes_on(self, server: Running) -> None:
        """What it holds is still its own after a child has used the queue and ended."""
        with unimq.Queue(f"{server.url}{fresh_name()}") as queue:
            queue.put("x")
            message = queue.get(timeout=PATIENCE)
            child = os.fork()
            if not child:
                with contextlib.suppress(BaseException):
                    queue.put("y")
                    os._exit(0)
                os.kill(os.getpid(), signal.SIGKILL)
            assert os.waitpid(child, 0)[1] == 0
            message.ack()
            with queue.get(timeout=PATIENCE) as following:
                assert following.body == "y"

    def test_what_a_dead_parent_held_comes_back(self, server: Running) -> None:
        """At once, although its child lives on: the child has no copy of its connections."""
        url = f"{server.url}{fresh_name()}"
        with (
            unimq.Queue(url) as queue,
            subprocess.Popen(
                [sys.executable, "-c", PARENT, url], stdin=subprocess.PIPE, stdout=subprocess.PIPE
            ) as parent,
        ):
            queue.put("x")
            assert parent.stdout is not None
            child = int(parent.stdout.readline())
            parent.kill()
            parent.wait(PATIENCE)
            with queue.get(timeout=PATIENCE) as message:
                assert message.body == "x"
            os.kill(child, 0)  # it lives: leaving the block ends its input, and with it the child


PARENT = """
import os, sys, time, unimq
queue = unimq.Queue(sys.argv[1])
message = queue.get(timeout=60)
if not os.fork():
    print(os.getpid(), flush=True)
    sys.stdin.read()
    os._exit(0)
time.sleep(600)
"""
"""Takes a message, and dies with it in hand; its child waits for the end of its input."""


class TestReplies:
    """The replies of an `AsyncQueue`."""

    async def _replied(self, url: str, messages: int) -> int:
        """How often a thread was asked to send something, for so many replies of tasks."""
        asked: list[object] = []
        async with unimq.AsyncQueue(url) as queue:
            await queue.put_many(range(messages))
            taken: list[unimq.AsyncMessage[Any]] = []
            while len(taken) < messages:
                taken += await queue.get_many(messages, timeout=PATIENCE)
            threads = queue.client.batches()
            submit = threads.submit

            def counted(call: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
                asked.append(call)
                return submit(call, *arguments, **options)

            threads.submit = counted  # type: ignore[method-assign]
            await asyncio.gather(*(message.reply("done") for message in taken))
            replies = len(asked)
            await queue.ack(taken)
        return replies

    def test_those_of_many_tasks_go_together(self, server: Running) -> None:
        """In one hop to a thread, or in two: not in one for each."""
        assert asyncio.run(self._replied(f"{server.url}{fresh_name()}", 50)) <= 2
