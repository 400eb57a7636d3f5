"""The framing: whatever the bytes, and however they are split, they parse or raise `ProtocolError`."""

import itertools
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unimq.errors import ProtocolError
from unimq_gearman import packets
from unimq_gearman.packets import Packet, Parser, packet

ANSWERS = st.one_of(
    st.tuples(st.just(packets.JOB_CREATED), st.tuples(st.binary(max_size=20))),
    st.tuples(st.just(packets.NO_JOB), st.just(())),
    st.tuples(st.just(packets.NOOP), st.just(())),
    st.tuples(st.just(packets.ECHO_RES), st.tuples(st.binary(max_size=20))),
    st.tuples(
        st.just(packets.JOB_ASSIGN_UNIQ),
        st.tuples(*[st.binary(max_size=9).map(lambda text: text.replace(b"\0", b"."))] * 3, st.binary(max_size=300)),
    ),
    st.tuples(st.just(packets.TEXT), st.tuples(st.binary(max_size=30).map(lambda line: b"a" + line.hex().encode()))),
)


def written(command: int, arguments: tuple[bytes, ...]) -> bytes:
    """An answer as gearmand writes it."""
    if command == packets.TEXT:
        return arguments[0] + b"\n"
    data = b"\0".join(arguments)
    return struct.pack(">4sII", b"\0RES", command, len(data)) + data


def fed(data: bytes, cuts: list[int]) -> list[Packet]:
    parser, found = Parser(), list[Packet]()
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    for start, end in itertools.pairwise(edges):
        if start < end:
            found += parser.feed(data[start:end])
    return found


@given(st.lists(ANSWERS, max_size=8), st.lists(st.integers(0, 5000), max_size=8))
def test_what_was_written_is_read(answers: list[tuple[int, tuple[bytes, ...]]], cuts: list[int]) -> None:
    """At any split, packets and lines mixed, NULs in the last argument included."""
    data = b"".join(written(command, arguments) for command, arguments in answers)
    assert fed(data, cuts) == [(command, list(arguments)) for command, arguments in answers]


@given(st.binary(max_size=200), st.lists(st.integers(0, 200), max_size=5))
def test_any_bytes_parse_or_are_refused(data: bytes, cuts: list[int]) -> None:
    """And nothing else comes of them."""
    try:
        found = fed(data, cuts)
    except ProtocolError:
        return
    assert all(isinstance(argument, bytes) for _, arguments in found for argument in arguments)


@pytest.mark.parametrize(
    "data",
    [
        b"\0REQ\0\0\0\x0a\0\0\0\0",
        b"\0RES\0\0\0\xff\0\0\0\0",
        b"\0RES\0\0\0\x0a\0\0\0\x01x",
        b"\0RES\0\0\0\x1f\0\0\0\x05a\0b\0c",
        b"\0x",
        b"a" * 70_000,
    ],
    ids=["a request", "an unknown command", "too much", "too few arguments", "no magic", "an endless line"],
)
def test_what_no_gearmand_sends_is_refused(data: bytes) -> None:
    """By an error that asks whether it is one."""
    with pytest.raises(ProtocolError, match="is this a gearmand"):
        Parser().feed(data)


def test_a_packet_is_what_the_protocol_says() -> None:
    """Magic, command and length in network order, the arguments apart by NULs."""
    assert packet(packets.CAN_DO, b"f") == b"\0REQ\0\0\0\x01\0\0\0\x01f"
    assert packet(packets.SUBMIT_JOB_EPOCH, b"f", b"u", b"1", b"\0x")[12:] == b"f\0u\x001\0\0x"


def test_a_large_packet_in_small_pieces_is_joined_once() -> None:
    """Its pieces are kept apart until the last one is there."""
    data = written(packets.JOB_ASSIGN_UNIQ, (b"h", b"f", b"u", b"x" * 1_000_000))
    parser = Parser()
    pieces = [data[at : at + 1000] for at in range(0, len(data), 1000)]
    assert all(parser.feed(piece) == [] for piece in pieces[:-1])
    assert len(parser._parts) == len(pieces) - 1
    assert parser.feed(pieces[-1])[0][1][3] == b"x" * 1_000_000
