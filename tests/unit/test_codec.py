"""The codecs: what comes back, what is refused and with which words, and bytes from anybody."""

import ast
import datetime as dt
import decimal
import enum
import json
import math
import os
import pickle
import subprocess
import sys
import uuid
from collections import OrderedDict, namedtuple
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unimq.codec import CODEC_NAMES, codec_for
from unimq.errors import InvalidArgument, InvalidMessage

VECTORS = json.loads((Path(__file__).parent.parent / "vectors" / "bodies.json").read_text("utf-8"))

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
numbers = st.floats(allow_nan=False, allow_infinity=False)
plain = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | numbers | texts


def nested(leaves: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.recursive(
        leaves, lambda c: st.lists(c, max_size=4) | st.dictionaries(texts, c, max_size=4), max_leaves=12
    )


class Colour(enum.Enum):
    RED = "red"
    TOKEN = b"\x01"
    NOWHERE = math.nan


class Unknown:
    """What no codec but pickle can write."""


# --- there and back --------------------------------------------------------------------------------------------------


@given(nested(plain))
def test_json_gives_back_what_it_took(body: object) -> None:
    """Any JSON value, of any depth, to the type."""
    codec = codec_for("json")
    assert repr(codec.decode(codec.encode(body))) == repr(body)


@given(nested(plain))
def test_what_json_writes_is_json(body: object) -> None:
    """Every other program can read it."""
    assert json.loads(codec_for("json").encode(body)) == body


@given(nested(plain | st.binary(max_size=20) | st.floats()))
def test_msgpack_gives_back_what_it_took(body: object) -> None:
    """Bytes and NaN too."""
    codec = codec_for("msgpack")
    assert repr(codec.decode(codec.encode(body))) == repr(body)


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_text_gives_back_what_it_took(body: str) -> None:
    """In UTF-8."""
    codec = codec_for("text")
    assert codec.encode(body) == body.encode()
    assert codec.decode(codec.encode(body)) == body


@given(st.binary())
def test_raw_changes_nothing(body: bytes) -> None:
    """Bytes are not even copied."""
    codec = codec_for("raw")
    assert codec.encode(body) is body
    assert codec.decode(body) is body


@pytest.mark.parametrize("body", [bytearray(b"abc"), memoryview(b"abc"), memoryview(b"a-b-c")[::2]])
def test_raw_takes_other_bytes(body: Any) -> None:
    """A bytearray and a memoryview come back as bytes."""
    assert codec_for("raw").encode(body) == b"abc"


@given(nested(plain | st.binary(max_size=20) | st.complex_numbers(allow_nan=False)))
def test_pickle_gives_back_what_it_took(body: object) -> None:
    """Whatever Python can pickle."""
    codec = codec_for("pickle")
    assert codec.decode(codec.encode(body)) == body


def test_pickle_checks_the_type() -> None:
    """With type= it takes and gives only that."""
    codec = codec_for("pickle", complex)
    assert codec.decode(codec.encode(3j)) == 3j
    with pytest.raises(InvalidArgument, match="body of type str: codec=pickle with type=complex .* queue's type"):
        codec.encode("3j")  # type: ignore[arg-type]
    with pytest.raises(InvalidMessage, match="is no pickle with type=complex: it is a str"):
        codec.decode(pickle.dumps("3j"))


# --- vectors ---------------------------------------------------------------------------------------------------------

NAMES = {"datetime": dt, "decimal": decimal, "uuid": uuid, "Colour": Colour, "math": math}


def value(expression: str) -> object:
    return eval(expression, dict(NAMES))  # noqa: S307 - our own vectors


@pytest.mark.parametrize("vector", VECTORS["written"], ids=lambda v: f"{v['codec']} {v['body']}")
def test_vectors_are_what_is_written(vector: dict[str, str]) -> None:
    """To the byte; what comes back is `back` where it is not the same."""
    codec = codec_for(vector["codec"])
    assert codec.encode(value(vector["body"])).hex() == vector["wire"]
    back = codec.decode(bytes.fromhex(vector["wire"]))
    assert repr(back) == repr(value(vector.get("back", vector["body"])))


@pytest.mark.parametrize("vector", VECTORS["read"], ids=lambda v: f"{v['codec']} {v['wire']}")
def test_vectors_are_read(vector: dict[str, str]) -> None:
    """What other programs may write."""
    codec = codec_for(vector["codec"])
    assert repr(codec.decode(bytes.fromhex(vector["wire"]))) == repr(ast.literal_eval(vector["back"]))


@pytest.mark.parametrize("vector", VECTORS["refused"], ids=lambda v: f"{v['codec']} {v['body']}")
def test_vectors_are_refused(vector: dict[str, str]) -> None:
    """Before anything is sent."""
    with pytest.raises(InvalidArgument, match=vector["why"]):
        codec_for(vector["codec"]).encode(value(vector["body"]))


@pytest.mark.parametrize("vector", VECTORS["invalid"], ids=lambda v: f"{v['codec']} {v['wire']}")
def test_vectors_are_invalid(vector: dict[str, str]) -> None:
    """What arrived and cannot be read."""
    with pytest.raises(InvalidMessage, match=vector["why"]):
        codec_for(vector["codec"]).decode(bytes.fromhex(vector["wire"]))


# --- what json refuses -----------------------------------------------------------------------------------------------

RARE = [
    b"x",
    bytearray(b"x"),
    memoryview(b"x"),
    Colour.TOKEN,
    frozenset([b"x"]),
    OrderedDict(a=b"x"),
    namedtuple("Pair", "a b")(1, b"x"),  # noqa: PYI024 - an old one is meant
    {b"x": 1},
    {Colour.TOKEN: 1},
]
NOT_NUMBERS = [math.nan, math.inf, -math.inf, Colour.NOWHERE, {math.nan: 1}, (1.5, math.nan)]


def wrapped(leaf: object) -> st.SearchStrategy[Any]:
    """The leaf somewhere in a body."""
    around = st.sampled_from(
        [
            lambda inner: [inner],
            lambda inner: (None, 1.5, inner, "text"),
            lambda inner: {"a": None, "b": inner},
            lambda inner: {"a": 1, 2: [inner]},
            lambda inner: OrderedDict(a=inner),
        ]
    )
    return st.lists(around, max_size=6).map(lambda layers: _apply(layers, leaf))


def _apply(layers: list[Any], leaf: object) -> object:
    for layer in layers:
        leaf = layer(leaf)
    return leaf


@given(st.sampled_from(RARE).flatmap(wrapped))
def test_json_refuses_bytes_at_any_depth(body: object) -> None:
    """They would come back as a str."""
    with pytest.raises(InvalidArgument, match="it holds bytes, which JSON does not have; use codec=msgpack"):
        codec_for("json").encode(body)


@given(st.sampled_from(NOT_NUMBERS).flatmap(wrapped))
def test_json_refuses_nan_and_infinities_at_any_depth(body: object) -> None:
    """They would come back as None."""
    with pytest.raises(InvalidArgument, match="it holds NaN or an infinity, which JSON does not have"):
        codec_for("json").encode(body)


@pytest.mark.parametrize("codec", ["json", "msgpack", "pickle"])
def test_bodies_without_end_are_refused(codec: str) -> None:
    """A list in itself, or too many lists in lists."""
    endless: list[object] = []
    endless.append(endless)
    deep: list[object] = []
    for _ in range(50_000):
        deep = [deep]
    for body in (deep, endless) if codec != "pickle" else (deep,):  # pickle can write the first
        with pytest.raises(InvalidArgument, match=f"type list: codec={codec} cannot carry it: maximum recursion"):
            codec_for(codec).encode(body)


@pytest.mark.parametrize("codec", ["json", "msgpack"])
def test_an_unknown_class_is_refused(codec: str) -> None:
    """Also inside a body; the text says what can be written."""
    for body in (Unknown(), [Unknown()], {"a": (1, Unknown())}):
        with pytest.raises(InvalidArgument, match=r"\.Unknown cannot be written here; values may be .*dataclasses"):
            codec_for(codec).encode(body)


def test_the_refusal_names_body_codec_and_remedy() -> None:
    """In one line."""
    with pytest.raises(InvalidArgument) as caught:
        codec_for("text").encode(b"x")
    assert str(caught.value) == (
        "body of type bytes: codec=text cannot carry it: it is no str; use codec=json, or codec=raw for bytes"
    )
    assert isinstance(caught.value.__cause__, TypeError)


def test_whatever_a_body_raises_is_an_argument_error() -> None:
    """The caller's own class may fail in its own way."""

    class Moody:
        def __reduce__(self) -> str:
            msg = "not   today\n"
            raise LookupError(msg)

    with pytest.raises(InvalidArgument, match=r"Moody: codec=pickle cannot carry it: not today$"):
        codec_for("pickle").encode(Moody())


def test_long_reasons_are_cut_off() -> None:
    """An error fits on a screen, whatever the reason quotes."""

    class Verbose:
        def __reduce__(self) -> str:
            raise ValueError("x" * 10_000)

    with pytest.raises(InvalidArgument) as caught:
        codec_for("pickle").encode(Verbose())
    assert len(str(caught.value)) < 500
    assert str(caught.value).endswith("xxx...")


# --- choosing --------------------------------------------------------------------------------------------------------


def test_an_unknown_name_is_refused_with_the_known_ones() -> None:
    """As in a URL."""
    with pytest.raises(InvalidArgument, match="codec='xml': unknown codec; known: json, msgpack, text, raw, pickle"):
        codec_for("xml")


@pytest.mark.parametrize("name", CODEC_NAMES)
def test_a_codec_knows_its_name(name: str) -> None:
    """And there is one for each."""
    assert codec_for(name).name == name


@pytest.mark.parametrize(
    ("codec", "type_", "text"),
    [
        ("text", int, "type=int: codec=text cannot carry it: it takes only str"),
        ("raw", str, "type=str: codec=raw cannot carry it: it takes only bytes"),
        ("pickle", list[int], r"type=list\[int\]: codec=pickle cannot carry it: it takes only plain classes"),
        ("json", Unknown, r"type=\S+Unknown: codec=json cannot carry it: \S+Unknown cannot be written here"),
        ("msgpack", list[Unknown], r"codec=msgpack cannot carry it: \S+Unknown cannot be written here"),
        ("json", "Order", "type=Order: codec=json cannot carry it: Type .* is not supported"),
    ],
)
def test_a_type_that_a_codec_cannot_carry_is_refused(codec: str, type_: Any, text: str) -> None:
    """When the queue is made, not with the first body."""
    with pytest.raises(InvalidArgument, match=text):
        codec_for(codec, type_)


@pytest.mark.parametrize(("codec", "type_", "body"), [("text", str, "a"), ("raw", bytes, b"a")])
def test_text_and_raw_may_name_their_type(codec: str, type_: Any, body: object) -> None:
    """It changes nothing."""
    assert codec_for(codec, type_).decode(codec_for(codec, type_).encode(body)) == body


# --- bytes from anybody ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("codec", ["json", "msgpack", "text", "raw"])
@given(raw=st.binary(max_size=60) | nested(plain).map(lambda body: codec_for("msgpack").encode(body)[:-1]))
def test_arbitrary_bytes_decode_or_are_invalid(codec: str, raw: bytes) -> None:
    """No other error, whatever arrives."""
    try:
        codec_for(codec).decode(raw)
    except InvalidMessage as error:
        assert f"the body ({len(raw)} bytes, b" in str(error)


@given(nested(plain), st.data())
def test_a_pickle_that_was_cut_off_is_invalid(body: object, data: st.DataObject) -> None:
    """Of all that pickle may raise nothing comes through."""
    raw = codec_for("pickle").encode(body)
    with pytest.raises(InvalidMessage, match="is no pickle"):
        codec_for("pickle").decode(raw[: data.draw(st.integers(0, len(raw) - 1))])


class TimeLimit(Exception):
    """What a signal handler raises, as task frameworks do."""


class Interrupting:
    """Raises what it is told to while a body is being decoded."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __call__(self, _body: object) -> "Interrupting":
        raise self.error


@pytest.mark.parametrize("error", [SystemExit(1), KeyboardInterrupt(), TimeLimit("soft"), AssertionError("a bug")])
@pytest.mark.parametrize("codec", ["json", "msgpack"])
def test_what_is_not_about_the_bytes_passes(codec: str, error: BaseException) -> None:
    """An interruption or a bug while a body is decoded does not make a sound message an invalid one."""

    class Model:
        model_dump = None
        model_validate_json = Interrupting(error)

    sound = codec_for(codec).encode({"n": 1})
    with pytest.raises(type(error)):
        codec_for(codec, Model).decode(sound)


def test_what_a_pickle_does_passes() -> None:
    """To end the process is among what its writer may do."""
    with pytest.raises(SystemExit):
        codec_for("pickle").decode(b"csys\nexit\n(tR.")


@pytest.mark.parametrize(("codec", "raw"), [("json", b"[" * 100_000), ("msgpack", b"\x91" * 100_000)])
def test_depth_without_end_is_invalid(codec: str, raw: bytes) -> None:
    """No depth breaks the reader."""
    with pytest.raises(InvalidMessage, match=f"is no {codec}: maximum recursion depth"):
        codec_for(codec).decode(raw)


def test_an_invalid_body_is_shown_by_its_beginning() -> None:
    """Its size, its first bytes and the reason, in one line."""
    with pytest.raises(InvalidMessage) as caught:
        codec_for("json").decode(b"no json " * 10)
    assert str(caught.value) == (
        "the body (80 bytes, b'no json no json no json '...) is no json: JSON is malformed: invalid character (byte 4)"
    )


# --- cost ------------------------------------------------------------------------------------------------------------


_LOADED = "import sys, unimq.codec; print(*{'pickle', 'pydantic', 'attrs', 'json', 'unimq.shapes'} & {*sys.modules})"


def test_what_only_some_need_is_not_imported() -> None:
    """Neither pickle nor pydantic, nor what describes types, is loaded with the codecs."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}  # it imports much
    command = [sys.executable, "-c", _LOADED]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=30, env=environ)  # noqa: S603
    assert done.stdout.split() == []
