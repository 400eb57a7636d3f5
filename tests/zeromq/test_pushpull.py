"""Push-pull queues: foreign programs at either side, full pipes, who binds, and the end of a process."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Any
from urllib.parse import quote

import pytest
import zmq

import unimq
from unimq.errors import Full, InvalidName, InvalidURL, Unsupported


@pytest.fixture
def folder() -> Iterator[str]:
    """A short path, as sockets need it."""
    with TemporaryDirectory(prefix="unimq-") as folder:
        yield folder


@pytest.fixture
def plain() -> "Iterator[zmq.Context[Any]]":
    """ZeroMQ without unimq."""
    context: zmq.Context[Any] = zmq.Context()
    yield context
    context.destroy(0)


def at(folder: str, **options: str) -> str:
    query = "".join(f"&{name}={value}" for name, value in options.items())
    return f"zeromq+ipc://{folder}?queue=jobs&pattern=push-pull{query}"


@pytest.mark.parametrize("binds", ["get", "put"])
def test_a_foreign_program_is_at_home(folder: str, plain: "zmq.Context[Any]", binds: str) -> None:
    """Its plain frames are bodies, and plain bodies are its frames; it binds or connects."""
    push, pull = plain.socket(zmq.PUSH), plain.socket(zmq.PULL)
    path = f"ipc://{folder}/jobs"
    with unimq.Queue(at(folder, bind=binds, codec="raw")) as queue:
        (push.connect if binds == "get" else push.bind)(path)
        # A PUSH that binds blocks until somebody connects.
        sending = threading.Thread(
            target=lambda: (push.send(b"from afar"), push.send_multipart([b"in ", b"", b"parts"]))
        )
        sending.start()
        assert queue.get(timeout=10).body == b"from afar"
        message = queue.get(timeout=10)
        assert (message.body, message.native) == (b"in parts", [b"in ", b"", b"parts"])
        sending.join()
    push.close(0)
    other = at(f"{folder}", bind=binds, codec="raw").replace("jobs", "back")
    with unimq.Queue(other) as queue:
        (pull.bind if binds == "get" else pull.connect)(f"ipc://{folder}/back")
        queue.put(b"hello")
        assert pull.poll(10_000)
        assert pull.recv_multipart() == [b"hello"]
    pull.close(0)


def test_a_device_stands_between(plain: "zmq.Context[Any]") -> None:
    """With bind=none both sides connect, each to its end of a streamer."""
    front, back = plain.socket(zmq.PULL), plain.socket(zmq.PUSH)
    ports = [front.bind_to_random_port("tcp://127.0.0.1"), back.bind_to_random_port("tcp://127.0.0.1")]

    def stream() -> None:
        try:
            zmq.proxy(front, back)
        except zmq.ZMQError:
            front.close(0)
            back.close(0)

    thread = threading.Thread(target=stream)
    thread.start()
    try:
        urls = [f"zeromq://127.0.0.1:{port}/jobs?pattern=push-pull&bind=none" for port in ports]
        with unimq.Queue(urls[0]) as puts, unimq.Queue(urls[1]) as gets:
            puts.put_many(range(100))
            found: list[int] = []
            while len(found) < 100:
                found += [message.body for message in gets.get_many(100, timeout=10)]
            assert found == list(range(100))
    finally:
        plain.term()
        thread.join()


def test_a_full_pipe_is_told(folder: str) -> None:
    """`Full` at the deadline, with what was accepted before it; nobody takes it."""
    with unimq.Queue(at(folder)) as queue:
        queue.put_many(["x"] * 1000)
        with pytest.raises(Full, match="no consumer"):
            queue.put("y", timeout=0.05)


def test_the_prefetch_is_the_pipe(folder: str) -> None:
    """With `?prefetch=5` five are accepted while nobody takes them."""
    with unimq.Queue(at(folder, prefetch="5")) as queue:
        queue.put_many(range(5))
        with pytest.raises(Full):
            queue.put(5, timeout=0.05)


def test_one_endpoint_is_one_queue() -> None:
    """Over tcp another name is refused, not mixed with the first."""
    url = "zeromq://127.0.0.1:1/jobs?pattern=push-pull"
    with unimq.connect(url) as client, pytest.raises(InvalidName, match="one endpoint"):
        client.queue("other").put("x")


def test_what_means_nothing_is_refused(folder: str) -> None:
    """An option of the other pattern, what sockets cannot do, and a folder that is too deep for a socket."""
    with pytest.raises(InvalidURL, match="store="):
        unimq.Queue(at(folder, store="memory"))
    with pytest.raises(InvalidURL, match="bind="):
        unimq.Queue("zeromq://h/q?bind=put")
    with unimq.Queue(at(folder)) as queue, pytest.raises(Unsupported, match="stats"):
        queue.stats()
    with unimq.Queue(at(f"/tmp/{'x' * 93}")) as queue, pytest.raises(InvalidURL, match="too long"):
        queue.put("x")


def test_a_second_consumer_stands_by(folder: str) -> None:
    """It gets what comes when the first process, which owns the address, has ended."""
    program = f"""
import unimq
with unimq.Queue({at(folder)!r}) as queue:
    print(queue.get(timeout=20).body, flush=True)
    input()
"""
    command = [sys.executable, "-c", program]
    first = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)  # noqa: S603 - ours
    assert first.stdout is not None
    assert first.stdin is not None
    with unimq.Queue(at(folder)) as puts, unimq.Queue(at(folder)) as second:
        puts.put("for the first")
        assert first.stdout.readline() == "for the first\n"
        with pytest.raises((unimq.Empty, unimq.ConnectError)):
            second.get(timeout=0.1)
        first.communicate("end\n")
        puts.put("for the second")
        assert second.get(timeout=10).body == "for the second"


@pytest.mark.slow
def test_what_was_put_is_sent_at_the_end_of_the_process(folder: str) -> None:
    """All 900 of a process that puts and ends at once, its queue closed or not, while the consumer starts late."""
    for close in ("queue.close()", "pass"):
        program = f"import unimq\nqueue = unimq.Queue({at(folder)!r})\nqueue.put_many(range(900))\n{close}"
        done = subprocess.Popen([sys.executable, "-c", program])  # noqa: S603 - this interpreter
        with unimq.Queue(at(folder)) as queue:
            found: set[int] = set()
            while len(found) < 900:
                found |= {message.body for message in queue.get_many(100, timeout=10)}
        assert done.wait(20) == 0


@pytest.mark.parametrize("security", ["plain", "CURVE"])
def test_a_slow_consumer_has_all_of_a_process_that_ended(folder: str, plain: "zmq.Context[Any]", security: str) -> None:
    """Also what it has no room for yet: libzmq would drop that if the producer closed its socket before it is read."""
    pull = plain.socket(zmq.PULL)
    pull.rcvhwm = 1
    url = at(folder, codec="raw")
    if security == "CURVE":
        public, secret = zmq.curve_keypair()
        pull.curve_server, pull.curve_publickey, pull.curve_secretkey = True, public, secret
        url += f"&server_key={quote(public.decode(), safe='')}"
    pull.bind(f"ipc://{folder}/jobs")
    put = "queue.put_many(b'%01000d' % number for number in range(300))"
    program = f"import unimq\nqueue = unimq.Queue({url!r})\n{put}\nqueue.close()"
    with subprocess.Popen([sys.executable, "-c", program]) as producer:  # noqa: S603 - this interpreter
        found: list[bytes] = []
        while len(found) < 300 and pull.poll(20_000):
            found.append(pull.recv())
            time.sleep(0.001)  # slower than what the producer writes, and done before it gives up
        assert found == [b"%01000d" % number for number in range(300)]
        assert producer.wait(20) == 0
    pull.close(0)


@pytest.mark.slow
@pytest.mark.parametrize("binds", ["get", "put"])
def test_a_closed_queue_is_sent_while_the_process_lives(folder: str, plain: "zmq.Context[Any]", binds: str) -> None:
    """However slowly it is read: the socket stays until all of it is."""
    pull = plain.socket(zmq.PULL)
    pull.rcvhwm = 1
    (pull.bind if binds == "get" else pull.connect)(f"ipc://{folder}/jobs")
    bodies = [b"%0500d" % number for number in range(900)]  # more than the system has room for
    with unimq.Queue(at(folder, bind=binds, codec="raw")) as queue:
        queue.put_many(bodies)
    found: list[bytes] = []
    while len(found) < 900 and pull.poll(20_000):
        found.append(pull.recv())
        time.sleep(0.003)  # the socket is closed one second after its last user, if nothing is unread
    assert found == bodies
    pull.close(0)


_EATS = """
import sys, unimq
for message in unimq.Queue(sys.argv[1]).consume(timeout=60):
    print(message.body, flush=True)
"""


@contextmanager
def eating(url: str) -> Iterator[tuple["subprocess.Popen[str]", IO[str]]]:
    """A consumer process, and what it prints."""
    command = [sys.executable, "-c", _EATS, url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603 - this interpreter
        assert process.stdout is not None
        try:
            yield process, process.stdout
        finally:
            process.kill()


@pytest.mark.slow
def test_a_consumer_may_stand_still_or_be_another_one() -> None:
    """Nothing is lost while it is stopped; when it was killed and another one is there, that one has all, in order."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    url = f"zeromq+tcp://127.0.0.1:{port}/jobs?pattern=push-pull"
    with unimq.Queue(url) as queue:
        with eating(url) as (first, lines):
            queue.put(-1)
            assert lines.readline() == "-1\n"
            first.send_signal(signal.SIGSTOP)
            queue.put_many(range(500))
            first.send_signal(signal.SIGCONT)
            assert [int(lines.readline()) for _ in range(500)] == list(range(500))
        with eating(url) as (_, lines):
            come = threading.Thread(target=lines.readline)
            come.start()
            while come.is_alive():  # what was given to the first one's connection is gone with it
                queue.put(-1)
                come.join(0.05)
            queue.put_many(range(500))
            found = [int(line) for line in islice((line for line in lines if line != "-1\n"), 500)]
            assert found == list(range(500))


def test_a_journal_keeps_what_a_killed_consumer_held(folder: str) -> None:
    """It comes again when its lease has ended, to another process with the same journal."""
    url = at(folder, journal=f"{folder}/journal.db", lease="1s")
    program = f"import unimq\nmessage = unimq.Queue({url!r}).get()\nprint(message.body, flush=True)\ninput()"
    with (
        unimq.Queue(at(folder)) as producer,
        subprocess.Popen(  # noqa: S603 - this interpreter
            [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as consumer,
    ):
        producer.put("kept")
        assert consumer.stdout is not None
        assert consumer.stdout.readline() == b"kept\n"
        consumer.kill()
        consumer.wait(20)
        with unimq.Queue(url) as queue, queue.get(timeout=20) as message:
            assert (message.body, message.delivery_count) == ("kept", 2)


def test_a_fork_has_sockets_of_its_own(folder: str) -> None:
    """What the child puts arrives once, and the parent's sockets still work."""
    with unimq.Queue(at(folder)) as queue:
        queue.put("parent")
        assert queue.get(timeout=10).body == "parent"
        child = os.fork()
        if child == 0:
            queue.put("child")
            os._exit(0 if _flushed() else 1)
        assert os.waitpid(child, 0)[1] == 0
        assert queue.get(timeout=10).body == "child"
        queue.put("parent again")
        assert queue.get(timeout=10).body == "parent again"


def _flushed() -> bool:
    """A forked child that ends by `os._exit` runs no exit handlers: run the adapter's."""
    from unimq_zeromq import pipes

    pipes._at_exit()
    return True


def test_the_name_of_a_socket_is_that_of_its_queue(folder: str) -> None:
    """Where it is plain and short; other names are a hash."""
    with unimq.connect(f"zeromq+ipc://{folder}?pattern=push-pull") as client:
        for name in ("mail", "a/b", "x" * 100, "q.lock"):
            queue = client.queue(name)
            queue.put(name)
            assert queue.get(timeout=10).body == name
        names = {path.name for path in Path(folder).iterdir() if not path.name.endswith(".lock")}
    assert len(names) == 4
    assert "mail" in names
    assert all(len(name) == 32 for name in names - {"mail"})


class Relay:
    """A way to a port on this host that can be cut."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        self._ends: list[socket.socket] = []
        self.made = 0
        """Connections that went through it."""
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                near = self._server.accept()[0]
                with suppress(OSError):
                    far = socket.create_connection(("127.0.0.1", self._port))
                    self._ends += (near, far)
                    self.made += 1
                    for one, other in ((near, far), (far, near)):
                        threading.Thread(target=_pass_on, args=(one, other), daemon=True).start()

    def cut(self) -> None:
        """Break what goes through it now."""
        ends, self._ends = self._ends, []
        for end in ends:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Break it, and let nothing through any more."""
        self._server.close()
        self.cut()


def _pass_on(one: socket.socket, other: socket.socket) -> None:
    with suppress(OSError):
        while data := one.recv(65536):
            other.sendall(data)
    for end in (one, other):
        end.close()


def test_a_connection_that_was_cut_is_made_again() -> None:
    """Both ends go on by themselves; what was on its way may be gone, and the rest comes in its order."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    where = "zeromq+tcp://127.0.0.1:{}/jobs?pattern=push-pull"
    with closing(Relay(port)) as relay, unimq.Queue(where.format(port)) as taking:
        with pytest.raises(unimq.Empty):
            taking.get(timeout=0)  # it binds
        with unimq.Queue(where.format(relay.port)) as giving:
            found = last = 0
            for _ in range(3):
                relay.cut()
                until, before = time.monotonic() + 20, last
                while found <= before:
                    assert time.monotonic() < until, "nothing comes any more"
                    last += 1
                    giving.put(last)
                    with suppress(unimq.Empty):
                        body = taking.get(timeout=0.05).body
                        assert body > found
                        found = body
                rest = [taking.get(timeout=20).body for _ in range(last - found)]
                assert rest == list(range(found + 1, last + 1))
                found = last
            assert relay.made >= 3
