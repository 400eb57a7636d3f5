"""A holder and its clients in one process: addresses, mistakes, other clients' mischief, and that nothing is left."""

import contextlib
import gc
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq

import unimq
from unimq.errors import ConnectError, ConnectionLost, InvalidURL, Unsupported
from unimq.remote.serving import Holder
from unimq_zeromq.link import Link


def free_port() -> int:
    with contextlib.closing(socket.socket()) as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@pytest.fixture
def holder() -> Iterator[Holder]:
    with unimq.serve("memory://held", at=f"zeromq+tcp://127.0.0.1:{free_port()}") as holder:
        yield holder


def test_every_transport_carries_it(tmp_path: Path) -> None:
    """Over tcp, a path and within the process."""
    for at in (f"zmq://127.0.0.1:{free_port()}", f"zeromq+ipc://{tmp_path}/s", "zeromq+inproc://here"):
        with unimq.serve("memory://held", at=at), unimq.Queue(f"{at}?queue=q") as queue:
            queue.put(at)
            with queue.get(timeout=5) as message:
                assert message.body == at


@pytest.mark.parametrize("place", ["over the holder", "on the holder's side"])
def test_a_put_wakes_a_get(place: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """By itself: what would find it too, the looks of a holder and another request of the client, comes too late."""
    monkeypatch.setattr("unimq.remote.served._LOOK_EVERY", 3600.0)
    monkeypatch.setattr("unimq.remote.session._SLICE", 3600.0)
    for store in ("memory://held", f"sqlite:///{tmp_path}/held.db"):
        with unimq.serve(store, at=f"zeromq+tcp://127.0.0.1:{free_port()}") as holder:
            remote = f"{holder.url}/q?store={store.partition(':')[0]}"
            with (
                unimq.Queue(remote) as getting,
                unimq.Queue(remote if place == "over the holder" else f"{store}?queue=q") as putting,
            ):
                for number in range(5):
                    thread = threading.Thread(target=lambda number=number: putting.put(number))
                    timer = threading.Timer(0.05, thread.start)  # too short or too long, it is found all the same
                    timer.start()
                    with getting.get(timeout=20) as message:
                        assert message.body == number
                    timer.join()
                    thread.join()


def test_an_address_in_use_is_told(holder: Holder, tmp_path: Path) -> None:
    """A port, and a path whose owner lives: libzmq would take that from it without a word."""
    with pytest.raises(ConnectError, match="in use"):
        unimq.serve("memory://", at=holder.url)
    at = f"zeromq+ipc://{tmp_path}/s"
    with unimq.serve("memory://", at=at), pytest.raises(ConnectError, match="another process"):
        unimq.serve("memory://", at=at)
    unimq.serve("memory://", at=at).close()


def test_what_is_no_holder_is_told_in_time(tmp_path: Path) -> None:
    """A port where nobody listens, a path that is not there, a server that speaks something else."""
    for at in ("zeromq://127.0.0.1:1", f"zeromq+ipc://{tmp_path}/none"):
        start = time.monotonic()
        with unimq.Queue(f"{at}?queue=q") as queue, pytest.raises(ConnectError):
            queue.put("x")
        assert time.monotonic() - start < 5
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"zeromq://127.0.0.1:{server.getsockname()[1]}/q?connect_timeout=300ms"
        with unimq.Queue(url) as queue, pytest.raises(unimq.Timeout):
            queue.put("x", timeout=0.3)


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("zeromq+udp://h/q", "zeromq\\+tcp"),
        ("zeromq+ipc://host/path?queue=q", "no host"),
        ("zeromq+ipc://?queue=q", "path"),
        ("zeromq://*/q", "name or an address"),
        ("zeromq://h/q?store=zmq", "cannot be served by another"),
        ("zeromq://h/q?store=activemq", "leases end with the connection"),
    ],
)
def test_a_wrong_url_is_told(url: str, why: str) -> None:
    """Before any connection."""
    with pytest.raises(InvalidURL, match=why):
        unimq.Queue(url)


@pytest.mark.slow
def test_a_holder_that_stands_still_is_noticed() -> None:
    """By heart-beats: nobody asks it for anything, and its system keeps the connection open."""
    at = f"tcp://127.0.0.1:{free_port()}"
    program = "import sys, unimq\nholder = unimq.serve('memory://', at=sys.argv[1])\nprint(flush=True)\nholder.wait()"
    command = [sys.executable, "-c", program, f"zeromq+{at}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:  # noqa: S603 - this interpreter
        assert process.stdout is not None
        assert process.stdout.readline()
        link = Link(at, "here")
        try:
            link.connected(time.monotonic() + 20)
            process.send_signal(signal.SIGSTOP)
            with pytest.raises(ConnectionLost, match="disconnected"):
                link.receive(time.monotonic() + 30)
        finally:
            link.close()
            process.kill()


def test_only_a_transport_can_serve() -> None:
    """Another scheme is refused with one that can."""
    with pytest.raises(Unsupported, match=r"zeromq\+tcp"):
        unimq.serve("memory://", at="sqlite:///x.db")


def test_garbage_costs_the_others_nothing(holder: Holder) -> None:
    """Frames that are none, too many of them, a stranger's bytes, and a peer that asks and never reads."""
    context = zmq.Context()
    at = str(holder.url).replace("zeromq+", "")
    host, _, port = at.removeprefix("tcp://").rpartition(":")
    try:
        with unimq.Queue(f"{holder.url}/q") as queue:
            queue.put("x")
            dealer = context.socket(zmq.DEALER)
            dealer.linger = 0
            dealer.connect(at)
            for parts in ([b""], [b"\x93"], [b"a", b"b"], [b"\xff" * 100], [b""] * 10):
                dealer.send_multipart(parts)
            ask = b"\x94\x01\x01\xc0\x93\xa4peek\xa1q\x01"
            for _ in range(2000):
                with contextlib.suppress(zmq.Again):
                    dealer.send(ask, zmq.NOBLOCK)
            with socket.create_connection((host, int(port))) as stranger:
                stranger.sendall(b"GET / HTTP/1.1\r\n\r\n" * 100)
                assert queue.get(timeout=5).body == "x"
            dealer.close()
        assert holder.failure is None
        assert not holder.wait(0)
    finally:
        context.term()


def test_nothing_is_left_behind() -> None:
    """No thread, and no descriptor for each connection or holder, once they are closed."""

    def descriptors() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    def use() -> None:
        with unimq.serve("memory://held", at=f"zeromq+tcp://127.0.0.1:{free_port()}") as holder:
            for _ in range(3):
                with unimq.Queue(f"{holder.url}/q") as queue:
                    queue.put("x")
                    queue.get(timeout=5).ack()

    use()  # libzmq keeps its own threads and what they need
    gc.collect()
    before = descriptors()
    names = {thread.name for thread in threading.enumerate()}
    for _ in range(5):
        use()
    gc.collect()
    until = time.monotonic() + 5  # libzmq closes in its own thread
    while descriptors() > before and time.monotonic() < until:
        time.sleep(0.01)
    assert descriptors() <= before
    assert {thread.name for thread in threading.enumerate()} <= names
