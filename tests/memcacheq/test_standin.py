"""The stand-in answers as the real server did."""

import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from .conftest import StandIn

Exchange = tuple[bytes, bytes]

RECORDED: Final = Path(__file__).with_name("exchanges.txt")
EOF: Final = b"<EOF>"


def _bytes(text: str) -> bytes:
    text = re.sub(r"<(\d+)\*(.)>", lambda m: m[2] * int(m[1]), text)
    return text.encode().decode("unicode_escape").encode("latin-1")


def _recorded() -> Iterator[tuple[str, list[Exchange]]]:
    """Title and exchanges of each connection; the lines before the first are the file's own introduction."""
    for part in RECORDED.read_text().split("\n\n# ")[1:]:
        title, *lines = part.rstrip("\n").split("\n")
        sent, replies = lines[::2], lines[1::2]
        assert all(line.startswith("> ") for line in sent)
        assert all(line.startswith("<") for line in replies)
        yield title, [(_bytes(s[2:]), _bytes(r[2:])) for s, r in zip(sent, replies, strict=True)]


SECTIONS: Final = dict(_recorded())
KILLED: Final = next(title for title in SECTIONS if "killed with SIGKILL" in title)
RESTARTED: Final = "(the same server, restarted)"
FIGURES: Final = next(title for title in SECTIONS if title.startswith("stats (figures vary"))
WITH_ARGUMENTS: Final = [title for title in SECTIONS if title.startswith("-")]
PLAIN: Final = [t for t in SECTIONS if t not in {KILLED, RESTARTED, FIGURES, *WITH_ARGUMENTS}]


def _read(connection: socket.socket, size: int) -> bytes:
    """That many bytes, or what came before the end."""
    data = b""
    while len(data) < size and (more := connection.recv(size - len(data))):
        data += more
    return data


def _hold(server: StandIn, exchanges: list[Exchange]) -> None:
    with server.connect() as connection:
        for sent, reply in exchanges:
            connection.sendall(sent)
            if reply == EOF:
                assert _read(connection, 1) == b""
                return
            assert _read(connection, len(reply)) == reply, sent[:100]
        # Nothing but the recorded replies came: the next one follows them at once.
        connection.sendall(b"version\r\n")
        assert _read(connection, 15) == b"VERSION 0.2.1\r\n"


@pytest.mark.parametrize("title", PLAIN)
def test_the_replies_are_the_recorded_ones(title: str, standin: type[StandIn], tmp_path: Path) -> None:
    """Byte for byte, and nothing after them."""
    _hold(standin(tmp_path / "store"), SECTIONS[title])


@pytest.mark.parametrize("title", WITH_ARGUMENTS)
def test_a_larger_record_takes_larger_bodies(title: str, standin: type[StandIn], tmp_path: Path) -> None:
    """The recorded limits of another -B."""
    _hold(standin(tmp_path / "store", *title.split()), SECTIONS[title])


def test_a_kill_loses_the_counters_and_no_message(standin: type[StandIn], tmp_path: Path) -> None:
    """As recorded before and after it."""
    server = standin(tmp_path / "store")
    _hold(server, SECTIONS[KILLED])
    server.kill()
    server.start()
    _hold(server, SECTIONS[RESTARTED])


def test_the_figures_have_the_recorded_names(standin: type[StandIn], tmp_path: Path) -> None:
    """In their order; the values are each server's own."""
    [(sent, reply)] = SECTIONS[FIGURES]
    with standin(tmp_path / "store").connect() as connection, connection.makefile("rb") as lines:
        connection.sendall(sent)
        figures = [next(lines) for _ in reply.splitlines()]
    assert [line.split()[:2] for line in figures] == [line.split()[:2] for line in reply.splitlines()]
    assert figures[-1] == b"END\r\n"


def test_every_section_is_used() -> None:
    """None is left out by how the sections are told apart."""
    assert len(PLAIN) == 22
    assert [*WITH_ARGUMENTS, RESTARTED] == ["-A 65536 -B 65000", RESTARTED]
    assert len(SECTIONS) == 26


@pytest.mark.parametrize("name", [b"a/b", b"queue.list", b"log.0000000001", b"__db.001", b"__dbq.a.0", b"k" * 248])
def test_a_failed_creation_hangs_the_other_workers(name: bytes, standin: type[StandIn], tmp_path: Path) -> None:
    """Until a queue command comes on the same worker; one worker hangs nobody."""
    for workers, hangs in (("2", True), ("1", False)):
        server = standin(tmp_path / f"store{workers}", "-t", workers)
        with server.connect() as same, server.connect() as other:
            for connection in (same, other):  # each is with its worker now
                connection.sendall(b"version\r\n")
                _read(connection, 15)
            same.sendall(b"set %b 0 0 1\r\nx\r\n" % name)
            assert _read(same, 12) == b"NOT_STORED\r\n"
            other.sendall(b"get q\r\n")
            if hangs:
                other.settimeout(0.1)
                with pytest.raises(TimeoutError):
                    other.recv(1)
                other.settimeout(20)
                same.sendall(b"get q\r\n")
                assert _read(same, 5) == b"END\r\n"
            assert _read(other, 5) == b"END\r\n"


def test_the_list_of_queues_is_cut(standin: type[StandIn], tmp_path: Path) -> None:
    """At 2 KiB, between two lines, and without a word."""
    with standin(tmp_path / "store", "-N").connect() as connection:
        connection.sendall(b"".join(b"set %016d 0 0 1\r\nx\r\n" % number for number in range(150)))
        assert _read(connection, 150 * 8) == b"STORED\r\n" * 150
        connection.sendall(b"stats queue\r\nversion\r\n")
        with connection.makefile("rb") as lines:
            listed = list(iter(lambda: next(lines), b"END\r\n"))
            assert next(lines) == b"VERSION 0.2.1\r\n"
    assert 70 <= len(listed) <= 76
    assert all(re.fullmatch(rb"STAT \d{16} 1/0\r\n", line) for line in listed)


def test_a_long_key_behind_others_ends_their_values_without_an_end(standin: type[StandIn], tmp_path: Path) -> None:
    """What was popped for the keys before it is sent, and the connection is out of step from there."""
    with standin(tmp_path / "store").connect() as connection:
        connection.sendall(b"set q 0 0 1\r\nx\r\nget q %b\r\nversion\r\n" % (b"k" * 251))
        expected = b"STORED\r\nVALUE q 0 1\r\nx\r\nVERSION 0.2.1\r\n"
        assert _read(connection, len(expected)) == expected


def test_a_reader_that_does_not_read_stops_nobody(standin: type[StandIn], tmp_path: Path) -> None:
    """Its replies wait; the other connections of the only worker are served."""
    server = standin(tmp_path / "store", "-N", "-t", "1")
    with server.connect() as slow, server.connect() as other:
        slow.sendall(b"set q 0 0 900\r\n%b\r\n" % (b"x" * 900) * 4000)
        assert _read(slow, 8 * 4000) == b"STORED\r\n" * 4000
        slow.sendall(b"get %b\r\n" % b" ".join([b"q"] * 4000))
        other.sendall(b"version\r\n")
        assert _read(other, 15) == b"VERSION 0.2.1\r\n"
        assert len(_read(slow, 4000 * 917 + 5)) == 4000 * 917 + 5
