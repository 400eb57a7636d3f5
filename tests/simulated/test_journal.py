"""A journal in front of a backend whose get removes."""

import subprocess
import sys
import threading
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from servers import Broker

import unimq
from unimq import journal as journal_module
from unimq import registry
from unimq.errors import ConnectError, Empty, InvalidURL, LeaseLost, StorageError, Unsupported
from unimq.place import place_of
from unimq_sqlite.session import SQLiteSession


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "journal.db"


def open_queue(broker: Broker, file: Path, options: str = "") -> "unimq.Queue[Any]":
    return unimq.Queue(f"simonce://{broker.name}/jobs?journal={file}&{options}")


def test_what_was_received_is_kept(broker: Broker, file: Path) -> None:
    """Its consumer went away without a word; another one has it, counted, and it ends with its ack."""
    with open_queue(broker, file, "lease=200ms") as first, open_queue(broker, file) as second:
        first.put("x", headers={"own": "kept"})
        first.get(timeout=5)
        message = second.get(timeout=10)
        assert (message.body, message.delivery_count, message.headers["own"]) == ("x", 2, "kept")
        message.ack()
        with pytest.raises(Empty):
            second.get(timeout=0.3)


def test_it_promises_what_it_gives(broker: Broker, file: Path) -> None:
    """Kept once received, and never at least once."""
    with open_queue(broker, file, "require=kept-once-received,crash-counted") as queue:
        assert queue.capabilities.guarantee == "kept-once-received"
    with pytest.raises(Unsupported, match="kept-once-received"):
        open_queue(broker, file, "require=at-least-once")
    with pytest.raises(Unsupported, match="at-most-once"):
        unimq.Queue(f"simonce://{broker.name}/jobs", require={"kept-once-received"})
    assert broker.opened == 0


def test_a_nack_with_a_delay_comes_back(broker: Broker, file: Path) -> None:
    """In front of what the server has, and not before its time."""
    with open_queue(broker, file) as queue:
        queue.put_many([1, 2])
        queue.get(timeout=5).nack(delay=0.3)
        start = time.monotonic()
        with queue.get(timeout=5) as message:
            assert message.body == 2
        with queue.get(timeout=10) as message:
            assert (message.body, message.delivery_count) == (1, 2)
        assert time.monotonic() - start >= 0.29


def test_it_works_while_the_server_is_down(broker: Broker, file: Path) -> None:
    """What is in the journal is delivered and settled; what needs the server says that it is away."""
    with open_queue(broker, file) as queue:
        queue.put("x")
        queue.get(timeout=5).nack()
    broker.down = True
    with open_queue(broker, file, "connect_timeout=200ms") as queue:
        queue.get(timeout=5).ack()
        with pytest.raises(ConnectError):
            queue.get(timeout=0.1)
        with pytest.raises(ConnectError):
            queue.put("y")


def test_a_pop_is_small(broker: Broker, file: Path) -> None:
    """One crash between pop and store can lose no more than ten."""
    with open_queue(broker, file) as queue:
        queue.put_many(range(40))
        messages = queue.get_many(40, timeout=5)
        assert [message.body for message in messages] == list(range(10))
        assert len(broker.jobs) == 30


def test_what_cannot_be_stored_goes_back(broker: Broker, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To the server, and the reason is told."""
    with open_queue(broker, file) as queue:
        queue.put_many([1, 2])
        store = SQLiteSession
        with monkeypatch.context() as patch:

            def full(*_: Any) -> Any:
                raise StorageError("the disk is full")  # noqa: EM101, TRY003 - a test's

            patch.setattr(store, "send", full)
            with pytest.raises(StorageError, match="disk is full"):
                queue.get(timeout=5)
        assert len(broker.jobs) == 2
        assert sorted(message.body for message in queue.get_many(5, timeout=5)) == [1, 2]


def test_a_lease_that_ended_is_lost(broker: Broker, file: Path) -> None:
    """Whoever has it now settles it; a reject sends no second copy to the dead letters."""
    with open_queue(broker, file, "lease=100ms") as queue:
        queue.put("x")
        message = queue.get(timeout=5)
        again = queue.get(timeout=10)
        for settle in (message.ack, message.reject):
            with pytest.raises(LeaseLost):
                settle()
        assert not [job for job in broker.jobs.values() if job.queue.endswith(".dead")]
        again.reject("bad")
        assert queue.dead.get(timeout=5).body == "x"


def test_the_same_server_is_known_by_any_spelling() -> None:
    """With and without its port, by name and by number; another one has a journal of its own in the same file."""
    wrapped = journal_module.Journaled(registry.driver("memcacheq"), "journal.db")
    spellings = ("memcacheq://localhost/q", "memcacheq://127.0.0.1:22201/q", "memcacheq://LOCALHOST:22201/q")
    assert len({place_of(wrapped, unimq.URL.parse(url)) for url in spellings}) == 1
    other = place_of(wrapped, unimq.URL.parse("memcacheq://127.0.0.1:22202/q"))
    assert other != place_of(wrapped, unimq.URL.parse(spellings[0]))


def test_push_pull_has_one_too(file: Path) -> None:
    """A message that came through plain ZeroMQ sockets is kept, and leases, counts and nacks are there."""
    with TemporaryDirectory(prefix="unimq-") as folder:
        url = f"zeromq+ipc://{folder}?queue=jobs&pattern=push-pull&journal={file}&lease=300ms"
        with unimq.Queue(url, require={"kept-once-received", "nack_delay"}) as consumer, unimq.Queue(url) as producer:
            waiting: list[Any] = []
            thread = threading.Thread(target=lambda: waiting.append(consumer.get(timeout=20)))
            thread.start()
            producer.put("x", timeout=20)
            thread.join(30)
            assert waiting[0].body == "x"  # and nothing is said of it
            again = consumer.get(timeout=20)
            assert (again.body, again.delivery_count) == ("x", 2)
            again.nack(delay=0.1)
            with consumer.get(timeout=20) as third:
                assert third.delivery_count == 3


def test_a_folder_of_sockets_is_a_server_of_its_own() -> None:
    """Two of them have journals of their own in one file."""
    wrapped = journal_module.Journaled(registry.driver("zeromq"), "journal.db")
    urls = [unimq.URL.parse(f"zeromq+ipc:///tmp/{name}?queue=q&pattern=push-pull") for name in "ab"]
    assert len({place_of(wrapped, url) for url in urls}) == 2


@pytest.mark.parametrize("journal", ["memory%3A//x", "simonce%3A//x", "nosuch%3A//x"])
def test_a_store_that_cannot_keep_is_refused(broker: Broker, journal: str) -> None:
    """At construction. A memory store would, until the process ends: it is left to who wants that."""
    if journal.startswith("memory"):
        unimq.Queue(f"simonce://{broker.name}/jobs?journal={journal}").close()
        return
    with pytest.raises(InvalidURL):
        unimq.Queue(f"simonce://{broker.name}/jobs?journal={journal}")


def test_a_backend_that_keeps_by_itself_needs_none(file: Path) -> None:
    """It is refused, not ignored."""
    with pytest.raises(InvalidURL, match="at most once"):
        unimq.Queue(f"memory:///jobs?journal={file}")


def test_a_killed_consumer_loses_what_it_popped_at_most(tmp_path: Path, file: Path) -> None:
    """kill -9 of a process that holds twenty: another one has all of them."""
    folder = tmp_path / "store"
    standin = Path(__file__).parents[2] / "integration" / "images" / "memcacheq" / "standin.py"
    socket_line = "import socket; s = socket.create_server(('127.0.0.1', 0)); print(s.getsockname()[1])"
    port = subprocess.check_output([sys.executable, "-c", socket_line], text=True).strip()  # noqa: S603
    server = subprocess.Popen([sys.executable, str(standin), "-p", port, "-t", "1", "-N", "-H", str(folder)])  # noqa: S603
    url = f"memcacheq://127.0.0.1:{port}/jobs?journal={file}&lease=500ms"
    try:
        with unimq.Queue(url) as queue:
            _until_there(queue)
            queue.put_many(range(20))
            code = (
                "import os, signal, unimq\n"
                f"queue = unimq.Queue({url!r})\n"
                "held = queue.get_many(20, timeout=10) + queue.get_many(20, timeout=10)\n"
                "assert len(held) == 20, held\n"
                "os.kill(os.getpid(), signal.SIGKILL)\n"
            )
            assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9  # noqa: S603
            found = set()
            while len(found) < 20:
                with queue.get(timeout=10) as message:
                    found.add(message.body)
                    assert message.delivery_count == 2
            assert found == set(range(20))
    finally:
        server.kill()
        server.wait()


def _until_there(queue: "unimq.Queue[Any]") -> None:
    until = time.monotonic() + 20
    while True:
        try:
            queue.ping()
        except ConnectError:
            assert time.monotonic() < until
            time.sleep(0.02)
        else:
            return
