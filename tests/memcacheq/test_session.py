"""The adapter on the stand-in: what is its own."""

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pymemcache
import pytest

import unimq
import unimq_memcacheq
from unimq.errors import (
    ConnectError,
    ConnectionLost,
    Empty,
    InvalidName,
    InvalidURL,
    ProtocolError,
    ServerError,
    Timeout,
    TooLarge,
    UnimqError,
)
from unimq.testing.sessions import open_session

Serve = Callable[[socket.socket], None]


@pytest.fixture
def server(standin: Any, tmp_path: Path) -> Any:
    return standin(tmp_path / "store", "-t", "1", "-N")


@pytest.fixture
def url(server: Any) -> str:
    return f"memcacheq://127.0.0.1:{server.port}/jobs"


@contextmanager
def fake(serve: Serve) -> Iterator[str]:
    """A server that answers the first question, for the version, and leaves the rest to `serve`."""

    def run() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(100)
            connection.sendall(b"VERSION 0.2.1\r\n")
            serve(connection)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=run)
        thread.start()
        yield f"memcacheq://127.0.0.1:{listener.getsockname()[1]}/jobs?codec=raw"
        thread.join(20)
        assert not thread.is_alive()


def test_a_purge_ends_though_puts_go_on(url: str) -> None:
    """As many are removed as there were when it began: a producer that is as fast does not keep it going."""
    until = time.monotonic() + 20
    with unimq.Queue(url) as producer:
        producer.put_many(range(150))
        session = open_session(unimq_memcacheq.driver, url, until)
        get = session._connection.get

        def get_while_others_put(*arguments: Any) -> Any:
            producer.put_many(range(100))
            return get(*arguments)

        session._connection.get = get_while_others_put
        assert session.purge("jobs", until) == 150
        session.close()


def test_the_flags_are_the_native_message(url: str) -> None:
    """What a foreign program stored has its flags, and its bytes as they are."""
    with closing(unimq_memcacheq.client(url)) as client:
        client.set("jobs", b"raw \r\nEND\r\n", flags=7)
    with unimq.Queue(url, codec="raw") as queue:
        message = queue.get(timeout=5)
        assert (message.raw, message.native) == (b"raw \r\nEND\r\n", 7)


def test_a_foreign_program_reads_a_plain_message(url: str) -> None:
    """Without headers a message is nothing but its body."""
    with unimq.Queue(url) as queue:
        queue.put({"a": 1})
        with closing(unimq_memcacheq.client(url)) as client:
            assert client.get("jobs") == b'{"a":1}'


@pytest.mark.parametrize("record", [256, 1024, 65000])
def test_the_limit_is_the_server_s(record: int, standin: Any, tmp_path: Path) -> None:
    """The largest body goes into the queue with the longest name, and from there to the dead letters."""
    server = standin(tmp_path / "store", "-t", "1", "-N", "-A", "65536", "-B", str(record))
    name = "n" * 95
    url = f"memcacheq://127.0.0.1:{server.port}/{name}?record={record}&codec=raw"
    with unimq.Queue(url) as queue:
        limit = queue.capabilities.limits.body
        assert limit is not None
        with pytest.raises(TooLarge):
            queue.put(bytes(limit + 1))
        queue.put(bytes(limit))
        assert queue.get(timeout=5).raw == bytes(limit)
        with pytest.raises(InvalidName):
            unimq.Queue(url.replace(name, f"{name}n"))


def test_a_smaller_record_of_the_server_is_told(standin: Any, tmp_path: Path) -> None:
    """By the message that was too large; the next one is stored."""
    server = standin(tmp_path / "store", "-t", "1", "-B", "512")
    with unimq.Queue(f"memcacheq://127.0.0.1:{server.port}/jobs?codec=raw") as queue:
        with pytest.raises(unimq.BatchError) as caught:
            queue.put_many([b"1", bytes(800), b"3"])
        assert [type(outcome).__name__ for outcome in caught.value.outcomes] == ["Receipt", "TooLarge", "Receipt"]
        assert [message.raw for message in queue.get_many(9, timeout=5)] == [b"1", b"3"]


def test_a_failed_creation_says_that_the_server_may_hang(standin: Any, tmp_path: Path) -> None:
    """And with one thread it does not."""
    server = standin(tmp_path / "store", "-t", "1", "-B", "5000")
    with unimq.Queue(f"memcacheq://127.0.0.1:{server.port}/jobs") as queue:
        for _ in range(2):
            with pytest.raises(ServerError, match="-t 1"):
                queue.put(1)
        with pytest.raises(Empty):
            queue.get(timeout=0)


def test_a_hanging_server_is_told_in_time(standin: Any, tmp_path: Path) -> None:
    """With two threads a failed creation hangs the others; the timeout says what to do."""
    server = standin(tmp_path / "store", "-t", "2", "-B", "5000")
    url = f"memcacheq://127.0.0.1:{server.port}/jobs"
    with unimq.Queue(url) as first, unimq.Queue(url) as second:
        first.ping()
        second.ping()
        with pytest.raises(ServerError):
            first.put(1)
        start = time.monotonic()
        with pytest.raises(Timeout, match="start it with -t 1"):
            second.put(1, timeout=0.3)
        assert time.monotonic() - start < 5


@pytest.mark.parametrize("name", ["queue.list", "log.0000000001", "__db.001", ".x", "-x", "a/b", "a b", "a\r\nb", "é"])
def test_names_that_are_files_of_the_server_are_refused(name: str, url: str, server: Any) -> None:
    """Before a byte of it is sent: the server would hang, or run what follows a line end."""
    with unimq.connect(url) as client, pytest.raises(InvalidName):
        client.queue(name).put(1)
    with server.connect() as connection:
        connection.sendall(b"stats queue\r\n")
        assert connection.recv(100) == b"END\r\n"


@pytest.mark.parametrize(
    ("query", "word"),
    [
        ("record=100", "256"),
        ("record=65508", "65507"),
        ("poll=0", "poll"),
        ("lease=5s", "lease"),
        ("max_size=3", "max_size"),
    ],
)
def test_options_out_of_range_are_refused(query: str, word: str) -> None:
    """With the range, or the capability that is missing."""
    with pytest.raises(UnimqError, match=word):
        unimq.Queue(f"memcacheq://127.0.0.1:1/jobs?{query}")


def test_a_login_is_refused() -> None:
    """The server has none, and would not notice a wrong one."""
    with pytest.raises(InvalidURL, match="no users"):
        unimq.Queue("memcacheq://me:secret@127.0.0.1/jobs")


def test_a_put_of_the_same_process_wakes_at_once(url: str) -> None:
    """Far sooner than a look, which comes every minute here."""
    with unimq.Queue(f"{url}?poll=60s", codec="raw") as queue, unimq.Queue(url, codec="raw") as other:
        found: list[bytes] = []
        waiting = threading.Thread(target=lambda: found.append(queue.get(timeout=50).raw))
        waiting.start()
        time.sleep(0.5)  # the pauses have grown to more than that when it is over
        start = time.monotonic()
        other.put(b"x")
        waiting.join(20)
        assert found == [b"x"]
        assert time.monotonic() - start < 5


def test_many_that_wait_look_together(url: str, server: Any) -> None:
    """Twelve ask the server as seldom as one does, and each has its message."""
    with unimq.Queue(f"{url}?poll=50ms") as queue:
        found: list[Any] = []
        waiting = [threading.Thread(target=lambda: found.append(queue.get(timeout=50).body)) for _ in range(12)]
        for thread in waiting:
            thread.start()
        time.sleep(0.5)
        before, start = _looks(server), time.monotonic()
        time.sleep(1)
        looks = (_looks(server) - before) / (time.monotonic() - start)
        assert looks < 40
        queue.put_many(range(12))
        for thread in waiting:
            thread.join(20)
        assert sorted(found) == list(range(12))


_IDLE = """
import sys, threading, time, unimq
with unimq.Queue(sys.argv[1]) as queue:
    waiting = [threading.Thread(target=queue.get) for _ in range(12)]
    for thread in waiting:
        thread.start()
    shares = []
    for _ in range(10):
        start, used = time.monotonic(), time.process_time()
        time.sleep(0.4)
        shares.append((time.process_time() - used) / (time.monotonic() - start))
    assert all(thread.is_alive() for thread in waiting)
    queue.put_many(range(12))
    for thread in waiting:
        thread.join(20)
    print(min(shares))
"""


@pytest.mark.slow
def test_waiting_costs_little(url: str) -> None:
    """Twelve consumers of a process that wait take less than 1 % of a processor together; a busy moment counts not."""
    command = [sys.executable, "-c", _IDLE, url]
    ended = subprocess.run(command, check=True, capture_output=True, text=True, timeout=100)  # noqa: S603 - our own
    assert float(ended.stdout) < 0.01


def _looks(server: Any) -> int:
    with server.connect() as connection:
        connection.sendall(b"stats\r\n")
        text = connection.recv(4096).decode()
    return int(text.split("get_cmds ")[1].split()[0])


def test_a_cut_list_is_an_error(url: str) -> None:
    """Sizes of queues that are not in it are unknown, not 0."""
    with unimq.connect(url) as client:
        for number in range(100):
            client.queue(f"queue-with-a-long-name-{number:05d}").put(1)
        with pytest.raises(ServerError, match="2 KiB"):
            client.queues()
        sizes = {client.queue(f"queue-with-a-long-name-{n:05d}").stats().ready for n in range(100)}
        assert sizes == {1, None}


def test_a_size_is_never_negative(standin: Any, tmp_path: Path) -> None:
    """After a kill the counters count from the last dump, and gets of what was there before."""
    server = standin(tmp_path / "store", "-t", "1")
    with unimq.Queue(f"memcacheq://127.0.0.1:{server.port}/jobs") as queue:
        queue.put_many([1, 2])
        server.kill()
        server.start()
        assert queue.get(timeout=5).body == 1
        stats = queue.stats()
        assert (stats.ready, stats.approximate) == (0, True)


def test_an_idle_connection_that_died_is_replaced(url: str, server: Any) -> None:
    """The put after a restart of the server succeeds, at the first try."""
    with unimq.Queue(url) as queue:
        queue.put(1)
        server.kill()
        server.start()
        time.sleep(0.1)  # idle for longer than the look
        queue.put(2)
        assert [message.body for message in queue.get_many(9, timeout=5)] == [1, 2]


def test_each_address_of_a_host_is_tried(url: str, server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """pymemcache would try the first only, where nobody listens."""
    real = socket.getaddrinfo

    def both(host: str, port: int, *args: Any, **kwargs: Any) -> Any:
        if host != "both.test":
            return real(host, port, *args, **kwargs)
        return [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.2", port)),
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port)),
        ]

    monkeypatch.setattr(socket, "getaddrinfo", both)
    with unimq.Queue(url.replace("127.0.0.1", "both.test")) as queue:
        assert queue.ping().server == "MemcacheQ 0.2.1"


def test_what_arrived_before_the_connection_broke_is_delivered() -> None:
    """It has left the server; only what was on the wire is lost."""

    def serve(connection: socket.socket) -> None:
        connection.recv(1000)
        connection.sendall(b"VALUE jobs 0 1\r\n1\r\nVALUE jobs 0 1\r\n2\r\nVALUE jo")

    with fake(serve) as url, unimq.Queue(url) as queue:
        assert [message.raw for message in queue.get_many(5, timeout=5)] == [b"1", b"2"]


def test_a_server_that_closes_after_a_put_leaves_it_in_doubt() -> None:
    """It may be stored; nothing repeats it."""
    with fake(lambda connection: connection.recv(1000) and None) as url, unimq.Queue(url) as queue:
        with pytest.raises(ConnectionLost) as caught:
            queue.put(b"x")
        assert caught.value.in_doubt


def test_a_strange_reply_ends_the_connection() -> None:
    """The server has read the body as commands: what follows is out of step."""

    def serve(connection: socket.socket) -> None:
        connection.recv(1000)
        connection.sendall(b"ERROR\r\n")
        assert connection.recv(1000) == b""

    with fake(serve) as url, unimq.Queue(url) as queue, pytest.raises(ProtocolError, match="ERROR"):
        queue.put(b"x")


def test_a_drip_feed_ends_at_the_deadline() -> None:
    """Each read brings something, and all of them together may not last longer than the call."""
    stop = threading.Event()

    def serve(connection: socket.socket) -> None:
        connection.recv(1000)
        while not stop.wait(0.05):
            connection.sendall(b"S")

    with fake(serve) as url:
        start = time.monotonic()
        with unimq.Queue(url) as queue, pytest.raises(Timeout):
            queue.put(b"x", timeout=0.5)
        stop.set()
        assert time.monotonic() - start < 5


def test_nobody_there_is_told() -> None:
    """With host and port."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with unimq.Queue(f"memcacheq://127.0.0.1:{port}/jobs") as queue, pytest.raises(ConnectError, match=str(port)):
        queue.put(1)


class TestPymemcache:
    """Why its client only connects: each trap as it is in this version, so that a change of it is noticed."""

    @pytest.fixture
    def client(self, url: str) -> Iterator[pymemcache.Client]:
        with closing(unimq_memcacheq.client(url)) as client:
            yield client

    def test_its_default_has_bodies_run_as_commands(self, server: Any, client: pymemcache.Client) -> None:
        """The server knows no noreply: a set says that it worked, stores nothing, and runs its body."""
        with closing(pymemcache.Client(("127.0.0.1", server.port))) as default:
            assert default.set("jobs", b"set stolen 0 0 1\r\nx") is True
            with pytest.raises(pymemcache.MemcacheUnknownCommandError):
                default.get("jobs")  # that was the answer to the set
        assert (client.get("jobs"), client.get("stolen")) == (None, b"x")

    def test_an_empty_key_has_the_body_run_as_commands(self, url: str, client: pymemcache.Client) -> None:
        """It passes the client's check."""
        with closing(unimq_memcacheq.client(url)) as other, pytest.raises(pymemcache.MemcacheUnknownCommandError):
            other.set("", b"set stolen 0 0 1\r\nx")
        assert client.get("stolen") == b"x"

    def test_its_get_many_loses_messages(self, client: pymemcache.Client) -> None:
        """Three are got and one is returned."""
        for body in (b"1", b"2", b"3"):
            client.set("jobs", body)
        assert client.get_many(["jobs"] * 3) == {"jobs": b"3"}
        assert client.get("jobs") is None

    def test_it_connects_again_silently(self, server: Any, client: pymemcache.Client) -> None:
        """After an error the next call is on another connection, as if nothing had been."""
        server.kill()
        server.start()
        with pytest.raises((pymemcache.exceptions.MemcacheUnexpectedCloseError, OSError)):
            client.get("jobs")
        assert client.get("jobs") is None
