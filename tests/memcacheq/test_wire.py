"""The bytes of the protocol: any body at any split, and nothing else."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unimq.errors import ProtocolError
from unimq_memcacheq.wire import Values, get_command, line_end, parse_counters, set_command

messages = st.lists(st.tuples(st.binary(max_size=40), st.integers(-(2**31), 2**31 - 1)), max_size=5)


def _reply(found: Sequence[tuple[bytes, int]]) -> bytes:
    return b"".join(b"VALUE q %d %d\r\n%b\r\n" % (flags, len(body), body) for body, flags in found) + b"END\r\n"


@given(messages, st.data())
def test_any_body_at_any_split_is_read(found: list[tuple[bytes, int]], data: st.DataObject) -> None:
    """Bodies with line ends, ENDs and VALUEs in them too; the reply is complete with its last byte, not before."""
    reply, values = _reply(found), Values(b"q")
    cuts = sorted(data.draw(st.sets(st.integers(1, len(reply) - 1), max_size=6)))
    parts = [reply[start:end] for start, end in zip([0, *cuts], [*cuts, len(reply)], strict=True)]
    assert [values.feed(part) for part in parts] == [False] * len(cuts) + [True]
    assert values.found == found


@given(st.lists(st.binary(max_size=60), max_size=4))
def test_any_bytes_are_read_or_refused(parts: list[bytes]) -> None:
    """Nothing but a ProtocolError comes out of what a broken peer sends."""
    values = Values(b"q")
    try:
        for part in parts:
            values.feed(part)
    except ProtocolError:
        pass
    else:
        assert values.complete or not b"".join(parts).startswith(b"END\r\n")


@given(messages, st.binary(min_size=1, max_size=30))
def test_what_came_before_a_bad_line_is_kept(found: list[tuple[bytes, int]], rest: bytes) -> None:
    """It left the server, so it is handed over."""
    values = Values(b"q")
    with pytest.raises(ProtocolError):
        values.feed(_reply(found)[: -len(b"END\r\n")] + b"VALUE x" + rest + b"\r\n")
    assert values.found == found


@pytest.mark.parametrize(
    "reply",
    [
        b"VALUE other 0 1\r\nx\r\nEND\r\n",
        b"VALUE q 0 1\r\nxx\r\nEND\r\n",
        b"VALUE q 0 -1\r\nEND\r\n",
        b"VALUE q 0 1234567\r\n",
        b"VALUE q 0 131073\r\n",
        b"VALUE q x 1\r\nx\r\nEND\r\n",
        b"VALUE q 0\r\n",
        b"ERROR\r\n",
        b"END\r\nEND\r\n",
        b"V" * 2048,
    ],
)
def test_a_wrong_reply_is_refused(reply: bytes) -> None:
    """Another queue, a wrong length, an absurd one, a line of another kind, bytes too many, an endless line."""
    with pytest.raises(ProtocolError, match="is it a MemcacheQ"):
        Values(b"q").feed(reply)


def test_commands_are_framed_by_lengths() -> None:
    """So that no body is ever read as a command."""
    assert set_command(b"q", b"quit\r\n") == b"set q 0 0 6\r\nquit\r\n\r\n"
    assert get_command(b"q", 3) == b"get q q q\r\n"


def test_a_line_may_not_be_endless() -> None:
    """A line that has not ended is waited for, up to 2 KiB of it."""
    assert line_end(b"x" * 2047, 0) == -1
    with pytest.raises(ProtocolError):
        line_end(b"x" * 2048, 0)


def test_counters_are_read() -> None:
    """Of names with any bytes; anything else is refused."""
    assert parse_counters([b"STAT q 3/1", b"STAT a\tb 0/0"]) == {"q": (3, 1), "a\tb": (0, 0)}
    for line in (b"STAT q 3", b"STAT q -1/0", b"ERROR"):
        with pytest.raises(ProtocolError):
            parse_counters([line])
