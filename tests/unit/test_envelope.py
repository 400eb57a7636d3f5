"""The envelope: headers in front of a body, and what arrives damaged, foreign or from a newer version."""

import json
import re
import struct
from collections.abc import Callable
from pathlib import Path
from types import MappingProxyType
from typing import Any
from zlib import crc32

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unimq.envelope import MAGIC, OVERHEAD, VERSION, Mode, check_headers, pack, unpack
from unimq.errors import InvalidArgument, InvalidMessage, Unsupported

ROOT = Path(__file__).parent.parent.parent
VECTORS = json.loads((ROOT / "tests" / "vectors" / "envelope.json").read_text("utf-8"))
WHOLE = pack(b'{"n":1}', {"trace": "ab12", "unimq-id": "7f"}, mode="auto")

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
maps = st.dictionaries(texts, texts, max_size=20)
frames = st.builds(lambda body, headers: pack(body, headers, mode="always"), st.binary(max_size=40), maps)
bodies = st.binary(max_size=80) | st.binary(max_size=20).map(MAGIC.__add__) | frames


def sealed(version: int, header: bytes, body: bytes = b"", *, length: int | None = None) -> bytes:
    """A frame with a good checksum, whatever it says."""
    rest = struct.pack(">BI", version, len(header) if length is None else length) + header + body
    return MAGIC + crc32(rest).to_bytes(4, "big") + rest


def outcome(read: Callable[[bytes], tuple[bytes, dict[str, str] | None]], raw: bytes) -> object:
    """What a reader makes of the bytes; all refusals are the same."""
    try:
        return read(raw)
    except (ValueError, LookupError):
        return "refused"


def unpack_auto(raw: bytes) -> tuple[bytes, dict[str, str] | None]:
    return unpack(raw, mode="auto")


# --- there and back --------------------------------------------------------------------------------------------------


@given(bodies, maps, st.sampled_from(["auto", "always"]))
def test_any_body_comes_back_with_its_headers(body: bytes, headers: dict[str, str], mode: Mode) -> None:
    """Body and headers survive, also where the body is a frame itself."""
    got, found = unpack(pack(body, headers, mode=mode), mode=mode)
    assert (got, found or {}) == (body, headers)


@given(bodies)
def test_a_body_without_headers_travels_plain_unless_it_looks_like_a_frame(body: bytes) -> None:
    """In auto a foreign reader sees the body alone; only one that begins like a frame is framed."""
    wire = pack(body, None, mode="auto")
    assert (wire == body) is not body.startswith(MAGIC)
    assert unpack(wire, mode="auto") == (body, {} if body.startswith(MAGIC) else None)


@given(bodies)
def test_always_frames_a_body_without_headers(body: bytes) -> None:
    """The header map is empty then, one byte."""
    wire = pack(body, None, mode="always")
    assert wire == sealed(VERSION, b"\x80", body)
    assert len(wire) == OVERHEAD + 1 + len(body)


@given(bodies)
def test_never_changes_nothing_in_either_direction(body: bytes) -> None:
    """With envelope=never bytes are bytes, frames too."""
    assert pack(body, None, mode="never") == body == pack(body, {}, mode="never")
    assert unpack(body, mode="never") == (body, None)


def test_never_refuses_headers_by_name() -> None:
    """The refusal says which headers need the envelope, and what to do."""
    with pytest.raises(
        Unsupported,
        match=r"envelope=never: the headers \['trace', 'unimq-expires'\] cannot travel .*use envelope=auto",
    ):
        pack(b"", {"trace": "1", "unimq-expires": "2"}, mode="never")


def test_a_refusal_stays_short() -> None:
    """A thousand names of headers do not fill a screen."""
    with pytest.raises(Unsupported) as caught:
        pack(b"", {f"header {n}": "" for n in range(1000)}, mode="never")
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("headers", [{"a\ud800": "x"}, {"a": "\ud800"}])
def test_a_lone_surrogate_in_a_header_is_an_argument_error(headers: dict[str, str]) -> None:
    """Also in what unimq writes itself, the reason of a reject say."""
    with pytest.raises(InvalidArgument, match="must not hold lone surrogates"):
        pack(b"", headers, mode="auto")


def test_headers_may_be_any_mapping() -> None:
    """What a message shows is a read-only view, and can be sent on."""
    assert unpack_auto(pack(b"x", MappingProxyType({"a": "b"}), mode="auto")) == (b"x", {"a": "b"})


# --- damage, forgery and other versions ------------------------------------------------------------------------------


@given(frames, st.data())
def test_a_truncated_frame_is_a_plain_body(wire: bytes, data: st.DataObject) -> None:
    """Half a frame is never taken for a message with headers."""
    cut = wire[: data.draw(st.integers(0, len(wire) - 1))]
    assert unpack_auto(cut) == (cut, None)


@given(frames, st.data())
def test_a_frame_with_a_flipped_bit_is_a_plain_body(wire: bytes, data: st.DataObject) -> None:
    """The checksum covers all that the magic and itself do not."""
    flipped = bytearray(wire)
    flipped[data.draw(st.integers(0, len(wire) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    assert unpack_auto(bytes(flipped)) == (bytes(flipped), None)


def test_every_bit_of_one_frame_is_guarded() -> None:
    """No bit of a frame may flip unseen, and no byte be lost at its end."""
    for bit in range(len(WHOLE) * 8):
        flipped = bytearray(WHOLE)
        flipped[bit // 8] ^= 1 << bit % 8
        assert unpack_auto(bytes(flipped)) == (bytes(flipped), None)
    for end in range(len(WHOLE)):
        assert unpack_auto(WHOLE[:end]) == (WHOLE[:end], None)


@given(st.binary(max_size=60) | st.binary(max_size=60).map(MAGIC.__add__))
def test_arbitrary_bytes_are_a_plain_body(raw: bytes) -> None:
    """What is no frame comes back as it is."""
    assert unpack_auto(raw) == (raw, None)


@given(st.integers(VERSION + 1, 255), st.binary(max_size=30), st.integers(0, 2**32 - 1))
def test_a_newer_version_asks_for_an_upgrade(version: int, rest: bytes, length: int) -> None:
    """A whole frame of a later version is not mistaken for a body, whatever it has behind the version."""
    with pytest.raises(InvalidMessage, match=rf"envelope of version {version}, .* up to {VERSION}: upgrade unimq"):
        unpack_auto(sealed(version, rest, length=length))


def test_there_is_no_version_0() -> None:
    """Nobody ever wrote one, so it is a plain body."""
    assert unpack_auto(sealed(0, b"\x80")) == (sealed(0, b"\x80"), None)


def test_a_header_longer_than_the_message_is_no_frame() -> None:
    """Though the checksum is good, it is not whole."""
    raw = sealed(VERSION, b"\x80", length=2)
    assert unpack_auto(raw) == (raw, None)


@pytest.mark.parametrize(
    "header",
    [b"", b"\x90", b"\x81\xa1a", b"\x81\xa1a\x01", b"\x81\x01\xa1a", b"\x80\x80", b"\x81\xa1a\xa1\xff", b"\xc1"],
    ids=["empty", "a list", "no value", "a number", "a number as key", "more behind it", "no UTF-8", "no MessagePack"],
)
def test_a_whole_frame_without_a_map_of_texts_is_refused(header: bytes) -> None:
    """A good checksum says that somebody meant it so: it is not taken for a body."""
    with pytest.raises(InvalidMessage, match=rf"damaged envelope header \({len(header)} bytes\)"):
        unpack_auto(sealed(VERSION, header, b"body"))


def test_a_header_nested_without_end_is_refused() -> None:
    """No depth of lists breaks the reader."""
    with pytest.raises(InvalidMessage, match="damaged envelope header"):
        unpack_auto(sealed(VERSION, b"\x81\xa1a" + b"\x91" * 100_000))


# --- the page and the vectors ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def page() -> dict[str, Any]:
    """What the program on the page defines."""
    text = (ROOT / "docs" / "wire-format.md").read_text("utf-8")
    names: dict[str, Any] = {}
    for block in re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        exec(compile(block, "wire-format.md", "exec"), names)  # noqa: S102 - our own documentation
    return names


@pytest.mark.parametrize("vector", VECTORS["written"], ids=lambda v: v["name"])
def test_vectors_are_what_is_written(vector: dict[str, Any]) -> None:
    """To the byte, and read back."""
    body, headers, wire = bytes.fromhex(vector["body"]), vector["headers"], bytes.fromhex(vector["wire"])
    assert pack(body, headers, mode=vector["mode"]).hex() == vector["wire"]
    got, found = unpack(wire, mode=vector["mode"])
    assert (got, found or None) == (body, headers)


@pytest.mark.parametrize("vector", VECTORS["read"], ids=lambda v: v["name"])
def test_vectors_are_read(vector: dict[str, Any], page: dict[str, Any]) -> None:
    """As the page's own reader reads them."""
    wire, expected = bytes.fromhex(vector["wire"]), (bytes.fromhex(vector["body"]), vector["headers"])
    assert unpack_auto(wire) == expected
    assert page["read_frame"](wire) == expected


@pytest.mark.parametrize("vector", VECTORS["refused"], ids=lambda v: v["name"])
def test_vectors_are_refused(vector: dict[str, Any], page: dict[str, Any]) -> None:
    """By the page's own reader too."""
    with pytest.raises(InvalidMessage, match=vector["why"]):
        unpack_auto(bytes.fromhex(vector["wire"]))
    with pytest.raises((ValueError, LookupError)):
        page["read_frame"](bytes.fromhex(vector["wire"]))


def test_the_page_shows_a_vector() -> None:
    """The example in hexadecimal is the vector of one header."""
    wire = next(vector["wire"] for vector in VECTORS["written"] if vector["name"] == "one header")
    shown = re.findall(r"^```text\n(.*?)\n", (ROOT / "docs" / "wire-format.md").read_text("utf-8"), re.MULTILINE)
    assert [line.replace(" ", "") for line in shown] == [wire]


def test_the_page_reads_all_that_is_written(page: dict[str, Any]) -> None:
    """Each vector of what unimq writes in a frame or plain is one that the page's reader reads."""
    for vector in VECTORS["written"]:
        body, headers = page["read_frame"](bytes.fromhex(vector["wire"]))
        assert (body.hex(), headers or {}) == (vector["body"], vector["headers"] or {}), vector["name"]


@given(body=bodies, headers=maps)
def test_the_page_writes_what_is_read(body: bytes, headers: dict[str, str], page: dict[str, Any]) -> None:
    """A foreign producer that follows the page is understood."""
    assert unpack_auto(page["write_frame"](body, headers)) == (body, headers)


packable = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | texts | st.binary(max_size=9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=8,
)
disturbed = st.builds(
    lambda header, at, new: header[:at] + new + header[at:],
    maps.map(msgspec.msgpack.encode),
    st.integers(0, 9),
    st.binary(max_size=9),
)
headerlike = st.binary(max_size=60) | packable.map(msgspec.msgpack.encode) | disturbed


@given(header=headerlike, body=st.binary(max_size=9))
def test_the_page_and_unimq_agree_on_forged_headers(header: bytes, body: bytes, page: dict[str, Any]) -> None:
    """Any bytes under a good checksum are the same headers to both, or refused by both."""
    raw = sealed(VERSION, header, body)
    assert outcome(unpack_auto, raw) == outcome(page["read_frame"], raw)


# --- the headers of users --------------------------------------------------------------------------------------------


@given(
    st.dictionaries(
        st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=200).filter(
            lambda key: not key.lower().startswith("unimq-")
        ),
        st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=50),
        max_size=5,
    )
)
def test_headers_within_the_rules_are_taken_unchanged(headers: dict[str, str]) -> None:
    """As a copy."""
    checked = check_headers(headers)
    assert checked == headers
    assert checked is not headers


@pytest.mark.parametrize(
    ("headers", "text"),
    [
        (["a"], r"headers=\['a'\]: must be a mapping of str to str"),
        ({"": "x"}, "the header key '' must be a str of 1 to 200 characters"),
        ({"k" * 201: "x"}, r"the header key 'kkk.*\.\.\. must be a str of 1 to 200 characters"),
        ({1: "x"}, "the header key 1 must be a str"),
        ({"unimq-id": "x"}, "the header key 'unimq-id' begins with 'unimq-', which is reserved"),
        ({"Unimq-Own": "x"}, "the header key 'Unimq-Own' begins with 'unimq-', which is reserved"),
        ({"a": 1}, "the value of header 'a' is 1: must be a str"),
        ({"a": None}, "the value of header 'a' is None: must be a str"),
        ({"a": b"x"}, "the value of header 'a' is b'x': must be a str"),
        ({"a": "x\0y"}, r"the value of header 'a' is 'x\\x00y': must not hold NUL"),
        ({"a\0": "x"}, r"the header key 'a\\x00' is 'a\\x00': must not hold NUL"),
        ({"a": "\ud800"}, r"the value of header 'a' is '\\ud800': must not hold lone surrogates"),
        ({"a": "é" * 32768}, "headers: 65537 bytes of keys and values, at most 65536 are allowed"),
        ({str(n): "" for n in range(1001)}, "headers: 1001 entries, at most 1000 are allowed"),
    ],
)
def test_headers_outside_the_rules_are_refused(headers: Any, text: str) -> None:
    """The refusal names the key, the value and the range."""
    with pytest.raises(InvalidArgument, match=text):
        check_headers(headers)


def test_a_backend_may_allow_fewer_bytes_of_headers() -> None:
    """The limit counts keys and values in UTF-8, and is itself allowed."""
    assert check_headers({"ä": "123"}, limit=5) == {"ä": "123"}
    with pytest.raises(InvalidArgument, match="5 bytes of keys and values, at most 4 are allowed"):
        check_headers({"ä": "123"}, limit=4)
