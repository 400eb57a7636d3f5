"""What is asked of a beanstalkd when messages are taken and moved, and what is made of its answers."""

import contextlib
import socket
import time
from collections.abc import Iterator

import pytest

import unimq
from unimq.driver import Outgoing
from unimq.errors import LeaseLost, ProtocolError
from unimq_beanstalkd import driver
from unimq_beanstalkd.session import BeanstalkdSession
from unimq_beanstalkd.taking import Taking
from unimq_beanstalkd.wire import Wire

GONE = b"NOT_FOUND\r\n"


@contextlib.contextmanager
def talk() -> Iterator[tuple[Taking, socket.socket]]:
    """A receiving side, and the server's end of its connection."""
    ours, theirs = socket.socketpair()
    theirs.settimeout(5)
    wire = Wire(ours, "beanstalkd://test")
    with theirs:
        yield Taking(wire), theirs
        wire.close()


def reserved(number: int) -> bytes:
    return b"RESERVED %d 4\r\nbody\r\n" % number


def told(number: int, reserves: int = 1) -> bytes:
    text = (
        b'---\nid: %d\ntube: "jobs"\nstate: reserved\npri: 65536\nage: 0\ndelay: 0\nttr: 60\ntime-left: 59\nfile: 0\n'
        b"reserves: %d\ntimeouts: 0\nreleases: 0\nburies: 0\nkicks: 0\n" % (number, reserves)
    )
    return b"OK %d\r\n%b\r\n" % (len(text), text)


def take(taking: Taking, server: socket.socket, answers: list[bytes], limit: int = 1) -> tuple[list[str], list[str]]:
    """The ids and counts that come of these answers, and the commands that were sent."""
    server.sendall(b"".join(answers))
    found = taking.receive(("default",), limit, time.monotonic())
    asked = server.recv(10_000).decode().splitlines()
    return [f"{one.id}: {one.delivery_count}" for one in found], asked


def test_a_job_that_was_expected_costs_one_exchange() -> None:
    """The question for it was sent with the reserve; the distance of the numbers is learnt."""
    with talk() as (taking, server):
        take(taking, server, [reserved(7), GONE, told(7)])
        assert take(taking, server, [reserved(8), told(8)]) == (["8: 1"], ["reserve-with-timeout 0", "stats-job 8"])
        take(taking, server, [reserved(11), told(9), told(11)])
        assert take(taking, server, [reserved(14), told(14, 3)])[0] == ["14: 3"]


def test_a_wrong_guess_costs_another_exchange() -> None:
    """And what was told of the wrong one is not used."""
    with talk() as (taking, server):
        take(taking, server, [reserved(7), GONE, told(7)])
        found, asked = take(taking, server, [reserved(20), told(8, 0), told(20, 2)])
        assert found == ["20: 2"]
        assert asked[-1] == "stats-job 20"


def test_what_was_told_before_a_job_was_taken_is_not_used() -> None:
    """A count would be one too low."""
    with talk() as (taking, server):
        take(taking, server, [reserved(7), GONE, told(7)])
        take(taking, server, [reserved(20), told(8, 0), told(20)])
        found, asked = take(taking, server, [reserved(8), b"TIMED_OUT\r\n", told(8)], limit=2)
        assert found == ["8: 1"]
        assert asked == ["reserve-with-timeout 0", "reserve-with-timeout 0", "stats-job 8"]


def test_nothing_there_is_nothing_taken() -> None:
    """Though the job that was guessed exists: somebody else has it, or it is not due."""
    with talk() as (taking, server):
        assert take(taking, server, [b"TIMED_OUT\r\n", told(1)])[0] == []


def test_a_job_that_is_gone_again_is_not_handed_over() -> None:
    """Its lease was over before the server was asked about it, and somebody removed it."""
    with talk() as (taking, server):
        assert take(taking, server, [reserved(7), GONE, GONE])[0] == []


def test_nonsense_about_a_job_is_a_protocol_error() -> None:
    """And breaks the connection."""
    with talk() as (taking, server):
        server.sendall(reserved(7) + GONE + b"OK 4\r\nhuh?\r\n")
        with pytest.raises(ProtocolError, match="stats-job"):
            taking.receive(("default",), 1, time.monotonic())


def test_a_job_that_comes_with_the_interruption_is_not_handed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its connection is broken off already, and the server gives it to somebody else."""
    write = Wire.write

    with talk() as (taking, server):

        def interrupted(wire: Wire, data: bytes, deadline: float) -> None:
            write(wire, data, deadline)
            taking.waiting.end()

        monkeypatch.setattr(Wire, "write", interrupted)
        server.sendall(reserved(1) + told(1))
        assert taking.receive(("default",), 1, time.monotonic() + 5) == []
        assert taking.waiting.broke_off


def test_what_was_moved_for_a_lost_delivery_is_taken_back() -> None:
    """A copy is put before the delivery is deleted; where that is gone, the copy would be one too many."""
    url = unimq.URL.parse("beanstalkd://test/jobs")
    ours, server = socket.socketpair()
    session = BeanstalkdSession(Wire(ours, str(url)), driver.capabilities(url), lambda _: Wire(ours, str(url)))
    with server, contextlib.closing(session):
        server.settimeout(5)
        server.sendall(reserved(1) + told(1))
        found = session.receive(("default",), 1, 60, time.monotonic())
        server.recv(10_000)
        server.sendall(b"USING dead\r\nINSERTED 2\r\n" + GONE + b"DELETED\r\n")
        outcomes = session.move("dead", [(found[0], Outgoing(b"copy"))], time.monotonic() + 5)
        assert [type(outcome) for outcome in outcomes] == [LeaseLost]
        assert server.recv(10_000).decode().splitlines()[-2:] == ["delete 1", "delete 2"]
