"""Bodies to bytes and back: json (the default), msgpack, text, raw, and pickle where somebody names it.

A codec is chosen by the URL or the call, never by what arrives. What a codec would silently change into something
else (bytes and NaN in JSON, an object of another type than the queue's) it refuses at the producer. Frames and headers
are `unimq.envelope`'s; this module sees nothing but the body.
"""

import json as _json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final, Generic, Literal, NoReturn, TypeVar, get_args, overload

import msgspec
from msgspec import inspect as mi

from unimq.errors import InvalidArgument, InvalidMessage

__all__ = ["CODEC_NAMES", "Codec", "CodecName", "codec_for"]

T = TypeVar("T")

CodecName = Literal["json", "msgpack", "text", "raw", "pickle"]
CODEC_NAMES: Final[tuple[CodecName, ...]] = get_args(CodecName)


@dataclass(frozen=True, slots=True)
class Codec(Generic[T]):
    """A pair of functions between a body and its bytes. Stateless and safe to share between threads."""

    name: CodecName
    encode: Callable[[T], bytes]
    """The bytes of a body. Raises `InvalidArgument` for a body that this codec cannot give back unchanged."""
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

_BINARY: Final = (bytes, bytearray, memoryview)
_SCALARS: Final[frozenset[type]] = frozenset({str, int, float, bool, type(None)})
_SCALARS_BUT_FLOAT: Final[frozenset[type]] = _SCALARS - {float}
_ONLY_STR: Final = frozenset({str})
_USE_FOR_BYTES: Final = "holds bytes, which JSON does not have; use codec=raw for a body of bytes, or codec=msgpack"
_USE_FOR_NAN: Final = "holds NaN or an infinity, which JSON does not have; use codec=msgpack"


def _json_codec(type_: Any) -> Codec[Any]:
    if type_ is None:
        return Codec("json", _json_encode_any, _guarded("json", None, msgspec.json.Decoder().decode))
    facts = _facts("json", type_)
    decoder = msgspec.json.Decoder(type_, dec_hook=_model_from_json)
    return Codec("json", _json_encode_typed(type_, facts), _guarded("json", type_, decoder.decode))


def _json_encode_any(body: object) -> bytes:
    try:
        raw = _to_json(body)
        # msgspec writes NaN as null, so floats need a look only where a null was written. The walk comes after the
        # encoding, which has refused cycles by then.
        scalars = _SCALARS_BUT_FLOAT if b"null" in raw else _SCALARS
        flaw = None if type(body) in scalars else _flaw(body, scalars)
    except Exception as error:  # noqa: BLE001 - hooks and properties of the caller's own classes may raise anything
        _refuse("json", None, body, error)
    if flaw is not None:
        _refuse("json", None, body, flaw)
    return raw


def _json_encode_typed(type_: Any, facts: "_Facts") -> Callable[[object], bytes]:
    belongs, may_hold_float, loose = facts.belongs, facts.may_hold_float, facts.loose

    def encode(body: object) -> bytes:
        flaw = None
        try:
            if not belongs(body):
                flaw = _NOT_THE_TYPE
            raw = _to_json(body)
            nulls = may_hold_float and b"null" in raw
            if flaw is None and (nulls or loose):
                scalars = _SCALARS_BUT_FLOAT if nulls else _SCALARS
                # A declared bytes field is base64 on both sides: only an undeclared one would come back as a str.
                seen = msgspec.to_builtins(body, builtin_types=_BINARY if loose else None, enc_hook=_model_to_builtins)
                flaw = _flaw(seen, scalars)
        except Exception as error:  # noqa: BLE001 - as above
            _refuse("json", type_, body, flaw or error)
        if flaw is not None:
            _refuse("json", type_, body, flaw)
        return raw

    return encode


def _flaw(body: object, scalars: frozenset[type]) -> str | None:
    """Why JSON would give back something else than `body`, or `None`. What is in `scalars` is harmless.

    One `issuperset(map(type, ...))` per container runs in C, 25 ns per element: measured against a loop's 60.
    """
    stack = [body]
    while stack:
        item: Any = stack.pop()
        kind: Any = type(item)
        if kind is dict:
            if not _ONLY_STR.issuperset(map(type, item)):
                stack.extend(key for key in item if type(key) is not str)
            children = item.values()
        elif kind is list or kind is tuple:
            children = item
        else:
            flaw = _flaw_of_leaf(item, scalars)
            if flaw is not None:
                return flaw
            continue
        if not scalars.issuperset(map(type, children)):
            stack.extend(child for child in children if type(child) not in scalars)
    return None


def _flaw_of_leaf(item: object, scalars: frozenset[type]) -> str | None:
    if isinstance(item, float):
        return None if math.isfinite(item) else _USE_FOR_NAN
    if isinstance(item, _BINARY):
        return _USE_FOR_BYTES
    if type(item) in _SCALARS:
        return None
    # Everything else msgspec knows, an enum, a date, a Struct or a set: look at what it is written as.
    plain = msgspec.to_builtins(item, builtin_types=_BINARY, enc_hook=_model_to_builtins)
    return None if type(plain) in scalars else _flaw(plain, scalars)


# --- msgpack --------------------------------------------------------------------------------------------------------


def _msgpack_codec(type_: Any) -> Codec[Any]:
    if type_ is None:
        decode = msgspec.msgpack.Decoder().decode
        return Codec("msgpack", _msgpack_encode(None, _anything), _guarded("msgpack", None, decode))
    facts = _facts("msgpack", type_)
    decoder = msgspec.msgpack.Decoder(type_, dec_hook=_model_from_builtins)
    return Codec("msgpack", _msgpack_encode(type_, facts.belongs), _guarded("msgpack", type_, decoder.decode))


def _msgpack_encode(type_: Any, belongs: Callable[[object], bool]) -> Callable[[object], bytes]:
    def encode(body: object) -> bytes:
        try:
            if belongs(body):
                return _to_msgpack(body)
        except Exception as error:  # noqa: BLE001 - as above
            _refuse("msgpack", type_, body, error)
        return _refuse("msgpack", type_, body, _NOT_THE_TYPE)

    return encode


# --- text, raw, pickle ----------------------------------------------------------------------------------------------


def _text_codec(type_: Any) -> Codec[Any]:
    if type_ not in (None, str):
        _refuse_type("text", type_, "it carries only str; leave type= out, or use codec=json")

    def encode(body: object) -> bytes:
        if not isinstance(body, str):
            _refuse("text", type_, body, "is no str; use codec=json, or codec=raw for bytes")
        try:
            return body.encode()
        except UnicodeEncodeError as error:
            _refuse("text", type_, body, error)

    return Codec("text", encode, _guarded("text", None, bytes.decode))


def _raw_codec(type_: Any) -> Codec[Any]:
    if type_ not in (None, bytes):
        _refuse_type("raw", type_, "it carries only bytes; leave type= out, or use codec=json or codec=msgpack")

    def encode(body: Any) -> bytes:
        if type(body) is bytes:
            return body
        if not isinstance(body, _BINARY):
            _refuse("raw", type_, body, "is no bytes, bytearray or memoryview; use codec=text for str, or codec=json")
        try:
            return bytes(body)
        except ValueError as error:  # a released memoryview
            _refuse("raw", type_, body, error)

    return Codec("raw", encode, _as_is)


def _pickle_codec(type_: Any) -> Codec[Any]:
    import pickle  # noqa: PLC0415 - 8 ms that only those pay who name it, as they name its danger

    if type_ is not None and not isinstance(type_, type):
        _refuse_type("pickle", type_, "it checks only plain classes; leave type= out")
    wanted = object if type_ is None else type_

    def encode(body: object) -> bytes:
        flaw: str | Exception = _NOT_THE_TYPE
        if isinstance(body, wanted):
            try:
                return pickle.dumps(body, protocol=5)  # the highest that every supported Python reads
            except Exception as error:  # noqa: BLE001 - as above
                flaw = error
        return _refuse("pickle", type_, body, flaw)

    def load(raw: bytes) -> object:
        body = pickle.loads(raw)  # noqa: S301 - the user named this codec
        if not isinstance(body, wanted):
            msg = f"it is a {_type_name(type(body))}"
            raise TypeError(msg)
        return body

    return Codec("pickle", encode, _guarded("pickle", type_, load))


_MAKERS: Final[dict[str, Callable[[Any], Codec[Any]]]] = {
    "json": _json_codec,
    "msgpack": _msgpack_codec,
    "text": _text_codec,
    "raw": _raw_codec,
    "pickle": _pickle_codec,
}


def _as_is(raw: bytes) -> bytes:
    return raw


def _anything(body: object) -> bool:  # noqa: ARG001 - the check of a queue without a type
    return True


# --- pydantic, never imported: known by its methods -----------------------------------------------------------------


def _is_model(cls: Any) -> bool:
    return hasattr(cls, "model_dump") and hasattr(cls, "model_validate_json")


def _model_to_builtins(value: Any) -> Any:
    if not _is_model(type(value)):
        raise NotImplementedError
    # By alias and without computed fields, or the model would not take back what it gave.
    return value.model_dump(mode="json", by_alias=True, round_trip=True)


def _model_from_json(cls: Any, value: Any) -> Any:
    # Validated as JSON, not as Python objects: a strict model takes dates and enums only so, and base64 bytes too.
    return cls.model_validate_json(msgspec.json.encode(value))


def _model_from_builtins(cls: Any, value: Any) -> Any:
    # MessagePack has NaN; the standard library's json writes it in the way that pydantic reads, msgspec as null.
    return cls.model_validate_json(_json.dumps(value))


_to_json: Final = msgspec.json.Encoder(enc_hook=_model_to_builtins).encode
_to_msgpack: Final = msgspec.msgpack.Encoder(enc_hook=_model_to_builtins).encode


# --- what is known of a type before the first body ------------------------------------------------------------------


class _Facts(msgspec.Struct, frozen=True):
    belongs: Callable[[object], bool]
    """Whether a body is of the type, as far as its own class tells: elements and fields are the reader's to check."""
    may_hold_float: bool
    loose: bool
    """Whether there is room for undeclared values (`Any`) and none for declared bytes."""


def _facts(codec: str, type_: Any) -> _Facts:
    try:
        root = mi.type_info(type_)
        msgspec.json.Decoder(type_)  # refuses what no reader could tell apart, such as a union of two dataclasses
    except Exception as error:  # noqa: BLE001 - msgspec resolves the annotations of the caller's classes
        _refuse_type(codec, type_, _reason(error), error)
    nodes = list(_nodes(root))
    kinds: set[type] = {type(node) for node in nodes}
    for node in nodes:
        if isinstance(node, mi.CustomType) and not _is_model(node.cls):
            hint = (
                f"{_type_name(node.cls)} is no dataclass, attrs class, TypedDict, NamedTuple, Struct or pydantic model"
            )
            _refuse_type(codec, type_, hint)
    return _Facts(
        belongs=_membership(_classes(root)),
        may_hold_float=bool(kinds & {mi.FloatType, mi.AnyType, mi.CustomType}),
        loose=mi.AnyType in kinds and not kinds & {mi.BytesType, mi.ByteArrayType, mi.MemoryViewType},
    )


def _nodes(root: Any) -> Iterator[Any]:
    """Every node of a type's description, each once: types may contain themselves."""
    seen: dict[int, Any] = {}
    stack: list[Any] = [root]
    while stack:
        node: Any = stack.pop()
        if type(node) is tuple:
            stack.extend(node)
        elif isinstance(node, (mi.Type, mi.Field)) and id(node) not in seen:
            seen[id(node)] = node
            yield node
            stack.extend(getattr(node, name) for name in node.__struct_fields__)


_SEQUENCES: Final = (list, tuple, set, frozenset)
_CLASSES: Final[dict[type, tuple[type, ...]]] = {
    mi.NoneType: (type(None),),
    mi.BoolType: (bool,),
    mi.IntType: (int,),
    mi.FloatType: (float, int),
    mi.StrType: (str,),
    mi.BytesType: _BINARY,
    mi.ByteArrayType: _BINARY,
    mi.MemoryViewType: _BINARY,
    mi.ListType: _SEQUENCES,
    mi.SetType: _SEQUENCES,
    mi.FrozenSetType: _SEQUENCES,
    mi.VarTupleType: _SEQUENCES,
    mi.TupleType: _SEQUENCES,
    mi.DictType: (dict,),
    mi.TypedDictType: (dict,),
}


def _classes(node: mi.Type) -> tuple[type, ...] | None:
    """The classes a body may have, or `None` where its class tells nothing."""
    if isinstance(node, mi.UnionType):
        members = [_classes(member) for member in node.types]
        return None if None in members else tuple(cls for member in members for cls in member or ())
    if isinstance(node, (mi.StructType, mi.DataclassType, mi.NamedTupleType, mi.EnumType, mi.CustomType)):
        return (node.cls,)
    return _CLASSES.get(type(node))


def _membership(classes: tuple[type, ...] | None) -> Callable[[object], bool]:
    if classes is None:
        return _anything
    if int in classes and bool not in classes:  # a bool is an int to Python, and not to JSON
        return lambda body: isinstance(body, classes) and type(body) is not bool
    return lambda body: isinstance(body, classes)


# --- errors ---------------------------------------------------------------------------------------------------------

_TAKES: Final[dict[str, str]] = {
    "json": "None, bool, int, float, str, lists, dicts, dates, dataclasses and the like",
    "msgpack": "None, bool, 64-bit int, float, str, bytes, lists, dicts, dates, dataclasses and the like",
    "text": "str without lone surrogates",
    "raw": "bytes, bytearray and memoryview",
    "pickle": "what Python can pickle",
}
_NOT_THE_TYPE: Final = "is not of the queue's type"
_PREFIX: Final = 24
_REASON: Final = 300


def _refuse(codec: str, type_: Any, body: object, flaw: str | Exception) -> NoReturn:
    cause = flaw if isinstance(flaw, Exception) else None
    why = flaw if isinstance(flaw, str) else f"cannot be encoded: {_reason(flaw)}"
    wanted = "" if type_ is None else f" of type {_type_name(type_)}"
    hint = "" if flaw != _NOT_THE_TYPE and cause is None else "; otherwise use another codec, or a queue without type="
    msg = f"body: a {_type_name(type(body))} {why}. codec={codec}{wanted} takes {_TAKES[codec]}{hint}"
    raise InvalidArgument(msg) from cause


def _refuse_type(codec: str, type_: Any, why: str, cause: Exception | None = None) -> NoReturn:
    msg = f"type={_type_name(type_)}: codec={codec} cannot carry it: {why}"
    raise InvalidArgument(msg) from cause


def _guarded(codec: str, type_: Any, decode: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    """`decode`, with everything it may raise as `InvalidMessage`: the bytes come from anybody."""

    def guarded(raw: bytes) -> Any:
        try:
            return decode(raw)
        except (Exception, SystemExit) as error:
            wanted = "" if type_ is None else f" of type {_type_name(type_)}"
            start = f"{raw[:_PREFIX]!r}{'...' if len(raw) > _PREFIX else ''}"
            msg = f"the body ({len(raw)} bytes, {start}) is no {codec}{wanted}: {_reason(error)}"
            raise InvalidMessage(msg) from error

    return guarded


def _reason(error: BaseException) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= _REASON else f"{text[:_REASON]}..."


def _type_name(type_: Any) -> str:
    if isinstance(type_, type) and not hasattr(type_, "__origin__"):
        return type_.__qualname__ if type_.__module__ == "builtins" else f"{type_.__module__}.{type_.__qualname__}"
    return str(type_)
