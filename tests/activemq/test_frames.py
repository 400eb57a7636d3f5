"""STOMP frames: what is written can be read, at any split; what is no STOMP is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unimq.errors import ProtocolError
from unimq_activemq.frames import Frame, Parser, encode

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30)
HEADERS = st.dictionaries(TEXT.filter(lambda key: key not in ("", "content-length")), TEXT, max_size=6)


def fed(data: bytes, size: int) -> list[Frame]:
    parser = Parser()
    return [frame for start in range(0, len(data), size) for frame in parser.feed(data[start : start + size])]


@given(HEADERS, st.binary(max_size=60), st.integers(1, 50))
def test_a_frame_comes_back(headers: dict[str, str], body: bytes, size: int) -> None:
    """Headers and body are what was written, wherever the stream is cut, with heart-beats in between."""
    frames = fed(b"\n" + encode("SEND", headers, body) + b"\r\n\n" + encode("ACK", {"id": "1"}), size)
    assert [(frame.cmd, frame.body) for frame in frames] == [("SEND", body), ("ACK", b"")]
    assert frames[0].headers == {**headers, "content-length": str(len(body))}


@given(st.binary(max_size=200), st.integers(1, 40))
def test_any_bytes_are_frames_or_refused(data: bytes, size: int) -> None:
    """Nothing else than `ProtocolError` comes of noise."""
    try:
        frames = fed(data, size)
    except ProtocolError:
        return
    assert all(isinstance(frame, Frame) for frame in frames)


@given(
    st.lists(st.sampled_from([b"MESSAGE\n", b"a:b\n", b"\n", b"\0", b"content-length:3\n", b"\\n", b"xyz", b"\r\n"]))
)
def test_near_frames_do_not_depend_on_the_split(parts: list[bytes]) -> None:
    """The same bytes give the same frames, or the same refusal, whole and byte by byte."""

    def outcome(size: int) -> object:
        parser, frames = Parser(), []
        data = b"".join(parts)
        try:
            for start in range(0, len(data), size):
                frames += [(f.cmd, f.headers, f.body) for f in parser.feed(data[start : start + size])]
        except ProtocolError:
            return "refused"
        return frames

    assert outcome(1) == outcome(10_000)


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"MESSAGE\nno colon\n\n\0", "without a colon"),
        (b"MESSAGE\na:\\x\n\n\0", "escape"),
        (b"MESSAGE\ncontent-length:-1\n\nx\0", "is no length"),
        (b"MESSAGE\ncontent-length:99999999999\n\nx\0", "is no length"),
        (b"MESSAGE\ncontent-length:1\n\nxyz\0", "longer than"),
        (b"HTTP/1.1 400\0", "no STOMP frame"),
        (b"MESSAGE\na:\xff\n\n\0", "no UTF-8"),
    ],
)
def test_what_is_no_stomp_is_told(data: bytes, told: str) -> None:
    """By a `ProtocolError` that shows what came."""
    with pytest.raises(ProtocolError, match=told):
        Parser().feed(data)


def test_a_text_ends_at_its_nul() -> None:
    """A body without a length is read up to the NUL, as foreign text messages come."""
    (frame,) = Parser().feed(b"MESSAGE\na:1\na:2\n\nh\xc3\xa9llo\n\n\0")
    assert (frame.headers, frame.body.decode()) == ({"a": "1"}, "h\u00e9llo\n\n")


def test_a_login_is_not_escaped() -> None:
    """STOMP 1.2 leaves the headers of CONNECT and CONNECTED as they are."""
    assert b"passcode:a:b\\c\n" in encode("CONNECT", {"passcode": "a:b\\c"})
    (frame,) = Parser().feed(b"CONNECTED\nsession:ID:host\\n:1\n\n\0")
    assert frame.headers == {"session": "ID:host\\n:1"}
