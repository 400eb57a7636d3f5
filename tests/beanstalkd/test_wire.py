"""The conversation with beanstalkd, held to any bytes and any split of them."""

import contextlib
import math
import socket
import threading
import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unimq.errors import ConnectionLost, ProtocolError, StorageError, Timeout, TooLarge, UnimqError
from unimq_beanstalkd.wire import Wire


@contextlib.contextmanager
def talk() -> Iterator[tuple[Wire, socket.socket]]:
    """A wire, and the server's end of it."""
    ours, theirs = socket.socketpair()
    wire = Wire(ours, "beanstalkd://test")
    with theirs:
        yield wire, theirs
        wire.close()


def soon() -> float:
    return time.monotonic() + 5


@given(st.binary(max_size=200), st.integers(0, 200))
def test_any_bytes_are_a_reply_or_a_protocol_error(said: bytes, split: int) -> None:
    """However they are split; and what is no reply breaks the connection for good."""
    with talk() as (wire, server):
        server.sendall(said[:split])
        server.sendall(said[split:])
        server.shutdown(socket.SHUT_WR)
        try:
            wire.reserved(soon())
        except (ProtocolError, ConnectionLost):
            assert wire.broken


@given(st.lists(st.binary(max_size=60), min_size=1, max_size=4), st.data())
def test_bodies_come_whole_at_any_split(bodies: list[bytes], data: st.DataObject) -> None:
    """Whatever is in them."""
    said = b"".join(b"RESERVED %d %d\r\n%s\r\n" % (n, len(body), body) for n, body in enumerate(bodies))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(said)), max_size=4)))
    with talk() as (wire, server):
        for start, end in zip([0, *cuts], [*cuts, len(said)], strict=True):
            server.sendall(said[start:end])
        for number, body in enumerate(bodies):
            assert wire.reserved(soon()) == (number, body)


@pytest.mark.parametrize("size", [16_384, 65_000, 200_000])
def test_a_large_body_comes_whole(size: int) -> None:
    """Between small ones, and whatever was read with them."""
    bodies = [b"first", bytes(range(256)) * (size // 256), b"", b"last" * (size // 4)]
    said = b"".join(b"RESERVED %d %d\r\n%s\r\n" % (n, len(body), body) for n, body in enumerate(bodies))
    with talk() as (wire, server):
        speaker = threading.Thread(target=server.sendall, args=(said,))
        speaker.start()
        found = [wire.reserved(soon()) for _ in bodies]
        speaker.join()
        assert found == list(enumerate(bodies))


def test_a_large_body_with_a_wrong_end_is_a_protocol_error() -> None:
    """It is not cut to what it should have been."""
    with talk() as (wire, server):
        speaker = threading.Thread(target=server.sendall, args=(b"RESERVED 1 100000\r\n" + b"x" * 100_002,))
        speaker.start()
        with pytest.raises(ProtocolError):
            wire.reserved(soon())
        speaker.join()


@given(st.integers(1, 5), st.integers(0, 80))
def test_lines_come_one_by_one_or_together(most: int, split: int) -> None:
    """No more than asked for, and what is behind them stays."""
    said = b"".join(b"INSERTED %d\r\n" % n for n in range(5))
    with talk() as (wire, server):
        server.sendall(said[:split])
        server.sendall(said[split:])
        found: list[bytes] = []
        while len(found) < most:
            found += wire.lines(most - len(found), soon())
        assert found == said.splitlines()[:most]
        rest = [wire.reply(b"INSERTED", soon()) for _ in range(5 - most)]
        assert rest == [[b"%d" % n] for n in range(most, 5)]


@pytest.mark.parametrize(
    ("said", "kind", "cause"),
    [
        (b"JOB_TOO_BIG", TooLarge, "JobTooBigError"),
        (b"OUT_OF_MEMORY", StorageError, "OutOfMemoryError"),
        (b"BURIED 7", StorageError, "BuriedError"),
    ],
)
def test_a_refusal_is_told_with_the_librarys_own_error(said: bytes, kind: type[UnimqError], cause: str) -> None:
    """And leaves the connection usable."""
    with talk() as (wire, server):
        server.sendall(said + b"\r\nINSERTED 1\r\n")
        refusal = wire.reply(b"INSERTED", soon())
        assert isinstance(refusal, kind)
        assert type(refusal.__cause__).__name__ == cause
        assert wire.reply(b"INSERTED", soon()) == [b"1"]


def test_a_server_that_is_silent_is_a_timeout() -> None:
    """At the deadline, and the connection is broken: its answer may still come."""
    with talk() as (wire, _server):
        start = time.monotonic()
        with pytest.raises(Timeout):
            wire.line(start + 0.15)
        assert time.monotonic() - start >= 0.15
        with pytest.raises(ConnectionLost) as caught:
            wire.look()
        assert not caught.value.in_doubt


def test_a_server_that_takes_nothing_is_a_timeout() -> None:
    """In doubt: some of it has left."""
    with talk() as (wire, _server), pytest.raises(Timeout) as caught:
        wire.write(bytes(50_000_000), time.monotonic() + 0.15)
    assert caught.value.in_doubt


def test_a_connection_that_died_at_rest_is_noticed_before_a_write() -> None:
    """So that the call can be repeated on another one."""
    with talk() as (wire, server):
        server.close()
        time.sleep(0.06)
        with pytest.raises(ConnectionLost) as caught:
            wire.look()
        assert not caught.value.in_doubt


def test_a_reader_can_be_woken() -> None:
    """By breaking the connection off, from another thread."""
    with talk() as (wire, _server):
        waker = threading.Timer(0.05, wire.break_off)
        waker.start()
        with pytest.raises(ConnectionLost):
            wire.line(math.inf)
        waker.join()
