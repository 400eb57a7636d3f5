"""What is known of a queue's type before its first body: who belongs to it, and what it has room for.

It describes and never refuses a description: what a codec makes of it is `unimq.codec`'s.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from msgspec import inspect as mi

__all__ = ["Shape", "shape_of"]


@dataclass(frozen=True, slots=True)
class Shape:
    """What a codec must know of a type."""

    belongs: Callable[[object], bool]
    """Whether a body is of the type, as far as its own class tells: elements and fields are the reader's to check."""
    has_float: bool
    """Whether a float may be somewhere in a body."""
    has_bytes: bool
    """Whether bytes are declared somewhere."""
    has_any: bool
    """Whether there is room for values of any type."""
    foreign: frozenset[Any]
    """The classes in it that msgspec does not know, pydantic models among them."""


def shape_of(type_: Any) -> Shape:
    """The shape of a type, or of any annotation that msgspec can read.

    Raises:
        Exception: no reader could tell its members apart (a union of two dataclasses, say), or its annotations do not
            resolve; msgspec and the caller's own classes decide which.
    """
    root = mi.type_info(type_)
    msgspec.json.Decoder(type_)  # refuses what `type_info` describes and nobody can read
    nodes = list(_nodes(root))
    kinds = {type(node) for node in nodes}
    return Shape(
        belongs=_membership(_classes(root)),
        has_float=not kinds.isdisjoint({mi.FloatType, mi.AnyType, mi.CustomType}),
        has_bytes=not kinds.isdisjoint({mi.BytesType, mi.ByteArrayType, mi.MemoryViewType}),
        has_any=mi.AnyType in kinds,
        foreign=frozenset(node.cls for node in nodes if isinstance(node, mi.CustomType)),
    )


def _nodes(root: mi.Type) -> "Iterator[mi.Type | mi.Field]":
    """Every node of a type's description, each once: types may contain themselves."""
    seen: set[int] = set()
    stack: list[Any] = [root]
    while stack:
        node = stack.pop()
        if isinstance(node, tuple):
            stack.extend(node)  # pyright: ignore[reportUnknownArgumentType] - of types or fields, or of plain values
        elif isinstance(node, (mi.Type, mi.Field)) and id(node) not in seen:
            seen.add(id(node))
            yield node
            stack.extend(getattr(node, name) for name in node.__struct_fields__)


_BINARY: Final[tuple[type, ...]] = (bytes, bytearray, memoryview)
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
"""The classes that a body may have where the type is one of Python's own."""


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
        return lambda _: True
    if int in classes and bool not in classes:  # a bool is an int to Python, and not to JSON
        return lambda body: isinstance(body, classes) and type(body) is not bool
    return lambda body: isinstance(body, classes)
