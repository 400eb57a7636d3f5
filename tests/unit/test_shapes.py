"""Typed bodies: every kind of type there and back, who belongs to it, and what its reader refuses."""

import datetime as dt
import enum
import math
from dataclasses import dataclass, field
from typing import Annotated, Any, Generic, Literal, NamedTuple, NewType, Optional, TypedDict, TypeVar
from uuid import UUID

import attrs
import msgspec
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unimq.codec import codec_for
from unimq.errors import InvalidArgument, InvalidMessage
from unimq.shapes import shape_of

T = TypeVar("T")
NOON = dt.datetime(2026, 1, 2, 12, tzinfo=dt.UTC)


class Size(enum.Enum):
    SMALL = "s"
    LARGE = "l"


@dataclass
class Item:
    name: str
    price: float = 1.0
    sold: dt.datetime | None = None


@dataclass
class Basket:
    items: list[Item]
    sizes: dict[str, Size] = field(default_factory=dict)
    inner: "Basket | None" = None


@attrs.define
class Point:
    x: int
    y: int = 0


class Row(TypedDict, total=False):
    name: str
    count: int


class Pair(NamedTuple):
    left: int
    right: str = ""


class Order(msgspec.Struct):
    id: UUID
    data: bytes = b""


class Cat(msgspec.Struct, tag="cat"):
    lives: int


class Dog(msgspec.Struct, tag="dog"):
    name: str


class User(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(strict=True, populate_by_name=True)
    name: str = pydantic.Field(alias="full name")
    joined: dt.datetime = NOON
    size: Size = Size.SMALL
    rate: float = 0.5

    @pydantic.computed_field
    @property
    def shout(self) -> str:
        return self.name.upper()


class Team(pydantic.BaseModel):
    users: list[User]


class Names(pydantic.RootModel[list[str]]):
    pass


class Box(pydantic.BaseModel, Generic[T]):
    content: T


@dataclass
class Report:
    author: User
    readers: dict[str, User]
    about: Item | None = None


@dataclass
class Loose:
    value: Any


@dataclass
class Numbers:
    values: list[float | None]


@dataclass
class Mixed:
    value: Any
    data: bytes = b""


UserId = NewType("UserId", int)
ADA = User(name="Ada")

BODIES: list[tuple[Any, Any]] = [
    (Item, Item("tea", 2.5, NOON)),
    (Basket, Basket([Item("tea")], {"a": Size.LARGE}, Basket([]))),
    (Point, Point(1, 2)),
    (Row, {"name": "a"}),
    (Pair, Pair(1, "b")),
    (Order, Order(UUID(int=1), b"\x00\xff")),
    (Size, Size.LARGE),
    (User, ADA),
    (Team, Team(users=[ADA, User(name="Bob", size=Size.LARGE)])),
    (Names, Names(["a", "b"])),
    (Box[int], Box[int](content=1)),
    (Report, Report(ADA, {"b": ADA}, Item("tea"))),
    (list[User], [ADA]),
    (list[Item], [Item("tea"), Item("cup")]),
    (dict[str, Point], {"a": Point(1)}),
    (set[int], {1, 2}),
    (tuple[int, str], (1, "a")),
    (tuple[int, ...], (1, 2, 3)),
    (Cat | Dog, Dog("Rex")),
    (int | str | None, None),
    (int | str | None, "a"),
    (Optional[Item], None),  # noqa: UP045 - the old spelling is meant
    (Optional[Item], Item("tea")),  # noqa: UP045
    (Literal["a", "b"], "b"),
    (Annotated[int, msgspec.Meta(ge=0)], 3),
    (UserId, 7),
    (int, 3),
    (bytes, b"\x00"),
    (dict, {"a": [1]}),
    (list, [1, None]),
    (Any, {"a": [1, None]}),
    (dt.datetime, NOON),
    (UUID, UUID(int=1)),
    (Loose, Loose([1, {"a": None}])),
    (Numbers, Numbers([1.5, None])),
    (Mixed, Mixed({"a": 1}, b"\xff")),
]
both = pytest.mark.parametrize("codec", ["json", "msgpack"])


def shown(value: object) -> str | None:
    return f"{getattr(value, '__qualname__', value)}" if isinstance(value, type) else None


@both
@pytest.mark.parametrize(("type_", "body"), BODIES, ids=shown)
def test_a_typed_body_comes_back(codec: str, type_: Any, body: object) -> None:
    """As an equal object of the same class."""
    pair = codec_for(codec, type_)
    back = pair.decode(pair.encode(body))
    assert back == body
    assert type(back) is type(body)


items = st.builds(Item, st.text(st.characters(exclude_categories=["Cs"])), st.floats(allow_nan=False), st.just(NOON))


@given(st.lists(items.filter(lambda item: math.isfinite(item.price)), max_size=4))
def test_any_values_of_a_dataclass_come_back(body: list[Item]) -> None:
    """Whatever its fields hold."""
    for name in ("json", "msgpack"):
        codec = codec_for(name, Basket)
        assert codec.decode(codec.encode(Basket(body))) == Basket(body)


def test_a_typed_body_travels_as_a_plain_map() -> None:
    """No class name: any program can read it. A model goes by its aliases, without computed fields."""
    assert codec_for("json", Item).encode(Item("tea")) == b'{"name":"tea","price":1.0,"sold":null}'
    assert codec_for("json", User).encode(ADA) == (
        b'{"full name":"Ada","joined":"2026-01-02T12:00:00Z","size":"s","rate":0.5}'
    )
    assert codec_for("json", Cat).encode(Cat(9)) == b'{"type":"cat","lives":9}'


def test_without_a_type_a_typed_body_comes_back_as_a_map() -> None:
    """The reader's type decides, not the writer's."""
    for codec in (codec_for("json"), codec_for("msgpack")):
        assert codec.decode(codec.encode({"by": ADA, "item": Item("tea")})) == {
            "by": {"full name": "Ada", "joined": "2026-01-02T12:00:00Z", "size": "s", "rate": 0.5},
            "item": {"name": "tea", "price": 1.0, "sold": None},
        }


# --- who belongs -----------------------------------------------------------------------------------------------------


@both
@pytest.mark.parametrize(
    ("type_", "body"),
    [
        (Item, {"name": "tea"}),
        (Item, Point(1)),
        (Item, None),
        (Item, Item),
        (Point, Item("tea")),
        (Row, [("name", "a")]),
        (Pair, (1, "b")),
        (Order, "x"),
        (Size, "s"),
        (User, {"full name": "Ada"}),
        (Optional[Item], Point(1)),  # noqa: UP045
        (Cat | Dog, Item("tea")),
        (list[int], "12"),
        (dict[str, int], [1]),
        (int, True),
        (int, "1"),
        (int, 1.0),
        (float, "1"),
        (bool, 1),
        (str, b"a"),
        (bytes, "a"),
    ],
    ids=shown,
)
def test_a_body_of_another_type_is_refused(codec: str, type_: Any, body: object) -> None:
    """At the put: its consumer would not be able to read it."""
    with pytest.raises(InvalidArgument, match=rf"codec={codec} with type=.* cannot carry it: it is not of the queue's"):
        codec_for(codec, type_).encode(body)


def test_an_int_is_a_float() -> None:
    """As everywhere in Python's typing."""
    assert codec_for("json", float).decode(codec_for("json", float).encode(1)) == 1.0


def test_a_subclass_belongs_and_comes_back_as_the_declared_class() -> None:
    """What the declared class has no field for stays behind."""

    @dataclass
    class Dear(Item):
        stars: int = 5

    codec = codec_for("json", Item)
    assert codec.decode(codec.encode(Dear("tea"))) == Item("tea")


# --- what the reader refuses -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("type_", "raw", "why"),
    [
        (Item, b"[]", r"\.Item: Expected `object`, got `array`"),
        (Item, b"{}", r"Object missing required field `name`"),
        (Item, b'{"name":1}', r"Expected `str`, got `int` - at `\$\.name`"),
        (Basket, b'{"items":[{"name":"a","price":"b"}]}', r"Expected `float`, got `str` - at `\$\.items\[0\]\.price`"),
        (Basket, b'{"items":[],"sizes":{"a":"xl"}}', r"Invalid enum value 'xl' - at `\$\.sizes\[...\]`"),
        (Order, b'{"id":"no"}', r"Invalid UUID - at `\$\.id`"),
        (Cat | Dog, b'{"type":"cow"}', r"Invalid value 'cow' - at `\$\.type`"),
        (Annotated[int, msgspec.Meta(ge=0)], b"-1", r"Expected `int` >= 0"),
        (User, b'{"full name":1}', r"\.User: 1 validation error for User full name Input should be a valid string"),
        (User, b"{}", r"1 validation error for User full name Field required"),
        (list[User], b'[{"full name":1}]', r"1 validation error for User"),
        (Report, b'{"author":{},"readers":{}}', r"1 validation error for User full name Field required.*\$\.author"),
        (User, b"no json", r"JSON is malformed"),
    ],
)
def test_a_body_that_is_not_of_the_type_is_invalid(type_: Any, raw: bytes, why: str) -> None:
    """The error says where and why, in one line."""
    with pytest.raises(InvalidMessage, match=rf"is no json with type=.*{why}") as caught:
        codec_for("json", type_).decode(raw)
    assert "\n" not in str(caught.value)


@both
@pytest.mark.parametrize("type_", [Basket, Point, Row, Pair, Order, Size, Team, Report, Cat | Dog, Any], ids=shown)
@given(raw=st.binary(max_size=40) | st.sampled_from([b"{}", b"[]", b"null", b"\x80", b"\x90", b"\xc0", b"{" * 10**5]))
def test_arbitrary_bytes_for_a_type_decode_or_are_invalid(codec: str, type_: Any, raw: bytes) -> None:
    """No other error, whatever arrives."""
    try:
        codec_for(codec, type_).decode(raw)
    except InvalidMessage as error:
        assert f"the body ({len(raw)} bytes" in str(error)


@pytest.mark.parametrize("value", [b"\xff", math.nan, {1: 2}, [1], {b"a": 1}, msgspec.msgpack.Ext(5, b"x")])
def test_a_model_refuses_what_json_does_not_have(value: object) -> None:
    """MessagePack has more than a model can take: an error, or the number that it is."""
    raw = msgspec.msgpack.encode({"full name": "Ada", "rate": value})
    try:
        rate = codec_for("msgpack", User).decode(raw).rate
    except InvalidMessage as error:
        assert "is no msgpack with type=" in str(error)
        assert not isinstance(value, float)
    else:
        assert math.isnan(rate)


# --- what json refuses in types --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("type_", "body"),
    [
        (Loose, Loose(b"x")),
        (Loose, Loose({"a": [bytearray(b"x")]})),
        (dict, {"a": b"x"}),
        (list[Any], [b"x"]),
        (Any, b"x"),
    ],
)
def test_json_refuses_undeclared_bytes(type_: Any, body: object) -> None:
    """What is declared as bytes is base64 on both sides; what is not would come back as a str."""
    with pytest.raises(InvalidArgument, match="it holds bytes"):
        codec_for("json", type_).encode(body)


@pytest.mark.parametrize(
    ("type_", "body"),
    [
        (Item, Item("tea", math.nan)),
        (Numbers, Numbers([1.0, math.inf])),
        (Mixed, Mixed(math.nan)),
        (Loose, Loose({"a": math.nan})),
        (User, User(name="Ada", rate=math.inf)),
        (Report, Report(User(name="Ada", rate=math.nan), {})),
        (float, math.nan),
    ],
)
def test_json_refuses_nan_in_types(type_: Any, body: object) -> None:
    """It would come back as None, or not at all."""
    with pytest.raises(InvalidArgument, match="it holds NaN or an infinity"):
        codec_for("json", type_).encode(body)


def test_bytes_under_any_beside_declared_bytes_pass_as_text() -> None:
    """A limit that the page states: the encoder does not tell the two apart."""
    codec = codec_for("json", Mixed)
    assert codec.decode(codec.encode(Mixed(b"\xff", b"\xff"))) == Mixed("/w==", b"\xff")


# --- shapes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("type_", "has_float", "has_bytes", "has_any"),
    [
        (int, False, False, False),
        (Basket, True, False, False),
        (Order, False, True, False),
        (bytearray, False, True, False),
        (Loose, True, False, True),
        (Mixed, True, True, True),
        (list, True, False, True),
        (list[User], True, False, False),
    ],
    ids=shown,
)
def test_a_shape_says_what_there_is_room_for(type_: Any, has_float: bool, has_bytes: bool, has_any: bool) -> None:  # noqa: FBT001
    """At any depth; a model that msgspec cannot look into may hold floats."""
    shape = shape_of(type_)
    assert (shape.has_float, shape.has_bytes, shape.has_any) == (has_float, has_bytes, has_any)


def test_foreign_classes_are_listed() -> None:
    """Wherever they are."""
    assert shape_of(list[Report]).foreign == {User}
    assert shape_of(Basket).foreign == frozenset()


def test_types_that_no_reader_could_tell_apart_are_refused() -> None:
    """A union of two dataclasses has no tag."""
    with pytest.raises(InvalidArgument, match="codec=json cannot carry it: .*more than one"):
        codec_for("json", Item | Basket)


def test_annotations_that_do_not_resolve_are_refused() -> None:
    """With the name that is missing."""

    @dataclass
    class Lost:
        other: "Nowhere"  # type: ignore[name-defined]  # noqa: F821

    with pytest.raises(InvalidArgument, match="Lost: codec=json cannot carry it: name 'Nowhere' is not defined"):
        codec_for("json", Lost)
