"""Bodies to bytes and back: json (the default), msgpack, text, raw, and pickle where somebody names it.

A codec is chosen by the URL or the call, never by what arrives. What a codec would silently change into something
else (bytes and NaN in JSON, an object of another type than the queue's) it refuses at the producer; `docs/bodies.md`
has the list. Frames and headers are `unimq.envelope`'s; what a type has room for is `unimq.shapes`'s.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Generic, Literal, NoReturn, TypeVar, get_args, overload

import msgspec

from unimq.errors import InvalidArgument, InvalidMessage

if TYPE_CHECKING:
    from unimq.shapes import Shape

__all__ = ["CODEC_NAMES", "Codec", "CodecName", "codec_for"]

T = TypeVar("T")

CodecName = Literal["json", "msgpack", "text", "raw", "pickle"]
"""The name of a codec, as in `?codec=`."""
CODEC_NAMES: Final[tuple[CodecName, ...]] = get_args(CodecName)
"""The names of all codecs."""


@dataclass(frozen=True, slots=True)
class Codec(Generic[T]):
    """A pair of functions between a body and its bytes. Stateless and safe to share between threads."""

    name: CodecName
    """Its name in a URL."""
    encode: Callable[[T], bytes]
    """The bytes of a body. Raises `InvalidArgument` for a body that this codec cannot carry."""
    decode: Callable[[bytes], T]
    """The body in these bytes, whatever they are. Raises `InvalidMessage`, and nothing else."""


@overload
def codec_for(name: str, type_: type[T]) -> Codec[T]: ...
@overload
def codec_for(name: str, type_: Any = None) -> Codec[Any]: ...
def codec_for(name: str, type_: Any = None) -> Codec[Any]:
    """The codec of that name for bodies of `type_`; `None` takes any body the codec can carry.

    json and msgpack take the types msgspec knows (dataclasses, attrs classes, TypedDicts, NamedTuples, Structs, enums,
    containers and unions of them) and pydantic models, also nested. text takes only `str`, raw only `bytes`, pickle
    any class.

    Raises:
        InvalidArgument: the name is unknown, or this codec cannot carry that type.
    """
    maker = _MAKERS.get(name)
    if maker is None:
        msg = f"codec={name!r}: unknown codec; known: {', '.join(CODEC_NAMES)}"
        raise InvalidArgument(msg)
    return maker(type_)


# --- json -----------------------------------------------------------------------------------------------------------

_BINARY: Final[tuple[type, ...]] = (bytes, bytearray, memoryview)
_HARMLESS: Final[frozenset[type]] = frozenset({str, int, float, bool, type(None)})
_HOLDS_BYTES: Final = "it holds bytes, which JSON does not have; use codec=msgpack, or codec=raw for a body of bytes"
_HOLDS_NAN: Final = "it holds NaN or an infinity, which JSON does not have; use codec=msgpack"


def _json_codec(type_: Any) -> Codec[Any]:
    if type_ is None:
        encode = _json_writer(belongs=None, harmless=_HARMLESS, floats=True, walks=True)
        return Codec("json", _encoder("json", None, encode), _decoder("json", None, msgspec.json.decode))
    shape = _shape("json", type_)
    # Declared bytes are base64 on both sides; those under an `Any` would come back as a str.
    harmless = _HARMLESS.union(_BINARY) if shape.has_bytes else _HARMLESS
    walks = shape.has_any and not shape.has_bytes
    encode = _json_writer(belongs=shape.belongs, harmless=harmless, floats=shape.has_float, walks=walks)
    decode = msgspec.json.Decoder(type_, dec_hook=_model_from_builtins).decode
    return Codec("json", _encoder("json", type_, encode), _decoder("json", type_, decode))


def _json_writer(
    *, belongs: Callable[[object], bool] | None, harmless: frozenset[type], floats: bool, walks: bool
) -> Callable[[object], bytes]:
    """Encode what JSON gives back. `walks` looks at every value, `floats` at them where there may be a NaN."""
    harmless_but_float = harmless - {float}

    def write(body: object) -> bytes:
        if belongs is not None and not belongs(body):
            raise TypeError(_OF_ANOTHER_TYPE)
        raw = _to_json(body)  # before the walk, because it refuses cycles
        has_null = floats and b"null" in raw  # as which msgspec writes NaN
        if has_null or walks:
            _check_json(body, harmless_but_float if has_null else harmless)
        return raw

    return write


def _check_json(value: Any, harmless: frozenset[type]) -> None:
    """Raise if JSON would give back something else than `value`; types in `harmless` need no look."""
    kind = value.__class__
    if kind is dict:
        for key in value:
            if type(key) is not str:
                _check_json(key, harmless - {float})  # a NaN would become the key "nan"
        children = value.values()
    elif kind is list or kind is tuple:
        children = value
    else:
        _check_leaf(value, harmless)
        return
    for child in children:
        if type(child) not in harmless:
            _check_json(child, harmless)


def _check_leaf(value: Any, harmless: frozenset[type]) -> None:
    if type(value) in harmless:
        return
    if isinstance(value, _BINARY):
        raise TypeError(_HOLDS_BYTES)
    if not isinstance(value, float):  # an enum, a date, a set, a dataclass: look at what it is written as
        _check_json(msgspec.to_builtins(value, builtin_types=_BINARY, enc_hook=_model_to_builtins), harmless)
    elif not math.isfinite(value):
        raise ValueError(_HOLDS_NAN)


# --- msgpack --------------------------------------------------------------------------------------------------------


def _msgpack_codec(type_: Any) -> Codec[Any]:
    if type_ is None:
        decode = _decoder("msgpack", None, msgspec.msgpack.decode)
        return Codec("msgpack", _encoder("msgpack", None, _to_msgpack), decode)
    belongs = _shape("msgpack", type_).belongs

    def write(body: object) -> bytes:
        if not belongs(body):
            raise TypeError(_OF_ANOTHER_TYPE)
        return _to_msgpack(body)

    decode = _decoder("msgpack", type_, msgspec.msgpack.Decoder(type_, dec_hook=_model_from_builtins).decode)
    return Codec("msgpack", _encoder("msgpack", type_, write), decode)


# --- text, raw, pickle ----------------------------------------------------------------------------------------------


def _text_codec(type_: Any) -> Codec[Any]:
    if type_ not in (None, str):
        _refuse_type("text", type_, "it takes only str; leave type= out, or use codec=json")
    return Codec("text", _encoder("text", None, _text_write), _decoder("text", None, bytes.decode))


def _text_write(body: object) -> bytes:
    if not isinstance(body, str):
        msg = "it is no str; use codec=json, or codec=raw for bytes"
        raise TypeError(msg)
    return body.encode()


def _raw_codec(type_: Any) -> Codec[Any]:
    if type_ not in (None, bytes):
        _refuse_type("raw", type_, "it takes only bytes; leave type= out, or use codec=json or codec=msgpack")
    write = _encoder("raw", None, _raw_write)
    return Codec("raw", lambda body: body if type(body) is bytes else write(body), lambda raw: raw)


def _raw_write(body: Any) -> bytes:
    if not issubclass(type(body), _BINARY):
        msg = "it is no bytes; use codec=text for str, or codec=json"
        raise TypeError(msg)
    return bytes(body)


def _pickle_codec(type_: Any) -> Codec[Any]:
    import pickle  # noqa: PLC0415 - 8 ms that only those pay who name it, as they name its danger

    if type_ is not None and not isinstance(type_, type):
        _refuse_type("pickle", type_, "it takes only plain classes; leave type= out")
    wanted: type = object if type_ is None else type_

    def write(body: object) -> bytes:
        if not isinstance(body, wanted):
            raise TypeError(_OF_ANOTHER_TYPE)
        return pickle.dumps(body, protocol=5)  # the highest that every supported Python reads

    def read(raw: bytes) -> object:
        body = pickle.loads(raw)  # noqa: S301 - the user named this codec
        if not isinstance(body, wanted):
            msg = f"it is a {_type_name(type(body))}"
            raise TypeError(msg)
        return body

    # What the documentation of `pickle.load` names; the classes that a pickle names are the writer's choice.
    about_the_bytes = (
        pickle.UnpicklingError,
        ArithmeticError,
        AttributeError,
        EOFError,
        ImportError,
        LookupError,
        MemoryError,
        RecursionError,
        TypeError,
        ValueError,
    )
    return Codec("pickle", _encoder("pickle", type_, write), _decoder("pickle", type_, read, about_the_bytes))


_MAKERS: Final[dict[str, Callable[[Any], Codec[Any]]]] = {
    "json": _json_codec,
    "msgpack": _msgpack_codec,
    "text": _text_codec,
    "raw": _raw_codec,
    "pickle": _pickle_codec,
}


# --- typed bodies ---------------------------------------------------------------------------------------------------


def _shape(codec: str, type_: Any) -> "Shape":
    from unimq.shapes import shape_of  # noqa: PLC0415 - only queues with a type need it

    try:
        shape = shape_of(type_)
    except Exception as error:  # noqa: BLE001 - msgspec resolves the annotations of the caller's classes
        _refuse_type(codec, type_, _reason(error), error)
    for cls in shape.foreign:
        if not _is_model(cls):
            _refuse_type(codec, type_, _unknown(cls))
    return shape


def _is_model(cls: Any) -> bool:
    """Whether it is a pydantic model, known by its methods: pydantic is never imported here."""
    return hasattr(cls, "model_dump") and hasattr(cls, "model_validate_json")


def _unknown(cls: Any) -> str:
    return (
        f"{_type_name(cls)} cannot be written here; values may be plain ones, containers, dataclasses, attrs classes, "
        "TypedDicts, NamedTuples, Structs, enums and pydantic models, keys of JSON may be text and numbers"
    )


def _model_to_builtins(value: Any) -> Any:
    if not _is_model(type(value)):
        raise TypeError(_unknown(type(value)))
    # By alias and without computed fields, or the model would not take back what it gave.
    return value.model_dump(mode="json", by_alias=True, round_trip=True)


def _model_from_builtins(cls: Any, value: Any) -> Any:
    import json  # noqa: PLC0415 - 1 ms that only the readers of pydantic models pay

    # Validated as JSON, not as Python objects: a strict model takes dates and enums only so, and base64 bytes too. The
    # standard library writes the NaN that MessagePack has in the way that pydantic reads; msgspec writes null.
    return cls.model_validate_json(json.dumps(value))


_to_json: Final = msgspec.json.Encoder(enc_hook=_model_to_builtins).encode
_to_msgpack: Final = msgspec.msgpack.Encoder(enc_hook=_model_to_builtins).encode


# --- errors ---------------------------------------------------------------------------------------------------------

_OF_ANOTHER_TYPE: Final = "it is not of the queue's type"
_START: Final = 24
_LONGEST_REASON: Final = 300


def _encoder(codec: str, type_: Any, write: Callable[[Any], bytes]) -> Callable[[Any], bytes]:
    """`write`, with everything it may raise as `InvalidArgument`."""

    def encode(body: Any) -> bytes:
        try:
            return write(body)
        except Exception as error:
            # Hooks and properties of the caller's own classes may raise anything.
            what = f"body of type {_type_name(type(body))}"
            msg = f"{what}: codec={codec}{_with(type_)} cannot carry it: {_reason(error)}"
            raise InvalidArgument(msg) from error

    return encode


def _decoder(
    codec: str,
    type_: Any,
    read: Callable[[bytes], Any],
    about_the_bytes: tuple[type[Exception], ...] = (msgspec.MsgspecError, ValueError, RecursionError),
) -> Callable[[bytes], Any]:
    """`read`, with what it raises about the bytes as `InvalidMessage`, because they come from anybody.

    Anything else passes: an interruption, a time limit or a bug in somebody's own class says nothing about a message.
    """

    def decode(raw: bytes) -> Any:
        try:
            return read(raw)
        except about_the_bytes as error:
            start = f"{raw[:_START]!r}{'...' if len(raw) > _START else ''}"
            msg = f"the body ({len(raw)} bytes, {start}) is no {codec}{_with(type_)}: {_reason(error)}"
            raise InvalidMessage(msg) from error

    return decode


def _refuse_type(codec: str, type_: Any, why: str, cause: Exception | None = None) -> NoReturn:
    msg = f"type={_type_name(type_)}: codec={codec} cannot carry it: {why}"
    raise InvalidArgument(msg) from cause


def _with(type_: Any) -> str:
    return "" if type_ is None else f" with type={_type_name(type_)}"


def _reason(error: BaseException) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= _LONGEST_REASON else f"{text[:_LONGEST_REASON]}..."


def _type_name(type_: Any) -> str:
    if isinstance(type_, type) and not hasattr(type_, "__origin__"):
        return type_.__qualname__ if type_.__module__ == "builtins" else f"{type_.__module__}.{type_.__qualname__}"
    return str(type_)
