"""The two faces have the same names, parameters, defaults and documentation."""

import inspect
import re
import typing
from typing import Any

import pytest

import unimq
from unimq.aio import AsyncClient, AsyncDeadLetterQueue, AsyncMessage, AsyncQueue
from unimq.aio.runner import Runner
from unimq.message import Message
from unimq.queue import Client, DeadLetterQueue, Queue

TWINS = [(Queue, AsyncQueue), (DeadLetterQueue, AsyncDeadLetterQueue), (Client, AsyncClient), (Message, AsyncMessage)]
SPECIAL = {"__enter__": "__aenter__", "__exit__": "__aexit__", "__iter__": "__aiter__"}
OWN = {"__init__", "__repr__"}
INTERNAL: dict[type, set[str]] = {
    Client: {"endpoint", "check_open", "dead_endpoint"},
    AsyncClient: {"join", "leave", *(name for name in vars(Runner) if not name.startswith("_"))},
    AsyncQueue: {"check_open", "run", "stop"},
    AsyncDeadLetterQueue: {"check_open", "run", "stop"},
}
"""What stands under *For the other parts of unimq*, or comes from a class below, and is nobody else's."""


def names(cls: type) -> set[str]:
    """The public methods and properties of a class, and its special methods in the sync spelling."""
    spelt = {asynchronous: name for name, asynchronous in SPECIAL.items()}
    members = {name: getattr(cls, name) for name in dir(cls)}
    found = {n for n, m in members.items() if not n.startswith("_") and (isinstance(m, property) or callable(m))}
    return found | {spelt.get(name, name) for name in members if name in SPECIAL or name in spelt}


def asked(cls: type, name: str) -> Any:
    found = getattr(cls, name, None)
    return found if found is not None else getattr(cls, SPECIAL.get(name, name), None)


METHODS = [
    (sync, asynchronous, name)
    for sync, asynchronous in TWINS
    for name in sorted((names(sync) | OWN) - INTERNAL.get(sync, set()))
]


@pytest.mark.parametrize(("sync", "asynchronous"), TWINS, ids=lambda cls: cls.__name__)
def test_the_names_are_the_same(sync: type, asynchronous: type) -> None:
    """What one face has the other has, apart from what is said to be unimq's own."""
    assert names(sync) - INTERNAL.get(sync, set()) == names(asynchronous) - INTERNAL.get(asynchronous, set())


@pytest.mark.parametrize(("sync", "asynchronous", "name"), METHODS, ids=lambda value: getattr(value, "__name__", value))
class TestMember:
    """What holds for each member of both."""

    def test_the_documentation_is_the_same(self, sync: type, asynchronous: type, name: str) -> None:
        """Written once, at the synchronous twin; special methods may do without."""
        ours, theirs = inspect.getdoc(asked(sync, name)), inspect.getdoc(asked(asynchronous, name))
        assert ours == theirs
        assert ours or name.startswith("__")

    def test_the_parameters_are_the_same(self, sync: type, asynchronous: type, name: str) -> None:
        """Names, kinds, defaults and annotations, where `Queue` and its like are `AsyncQueue`."""
        ours, theirs = asked(sync, name), asked(asynchronous, name)
        assert isinstance(ours, property) == isinstance(theirs, property)
        if isinstance(ours, property):
            return
        assert parameters(ours) == parameters(theirs)

    def test_what_blocks_is_awaited(self, sync: type, asynchronous: type, name: str) -> None:
        """What returns at once is no coroutine: it is an attribute, a queue, an iterator or a text."""
        theirs = asked(asynchronous, name)
        immediate = {"queue", "consume", "encode", "__iter__", "keep", *OWN}
        if not isinstance(theirs, property) and inspect.isfunction(theirs):
            assert inspect.iscoroutinefunction(theirs) == (name not in immediate)


def parameters(method: Any) -> list[tuple[str, Any, Any, str]]:
    """Each parameter: name, kind, default and annotation."""
    return [(p.name, p.kind, p.default, plain(p.annotation)) for p in inspect.signature(method).parameters.values()]


def plain(annotation: Any) -> str:
    """The text of an annotation, the same for both faces."""
    text = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
    return re.sub(r"\bunimq\.(\w+\.)+|'|\bAsync(?=Queue|Client|Message)", "", text)


@pytest.mark.parametrize(("sync", "asynchronous"), TWINS, ids=lambda cls: cls.__name__)
def test_the_overloads_are_the_same(sync: type, asynchronous: type) -> None:
    """Type checkers are told the same about both."""
    for name in ("__init__", "queue"):
        ours, theirs = getattr(sync, name, None), getattr(asynchronous, name, None)
        if inspect.isfunction(ours) and inspect.isfunction(theirs):
            pairs = zip(typing.get_overloads(ours), typing.get_overloads(theirs), strict=True)
            for one, other in pairs:
                assert [p[:3] for p in parameters(one)] == [p[:3] for p in parameters(other)]


@pytest.mark.parametrize(("sync", "asynchronous"), TWINS, ids=lambda cls: cls.__name__)
def test_the_classes_are_documented_alike(sync: type, asynchronous: type) -> None:
    """Also in what is shown for the class itself."""
    assert inspect.getdoc(sync) == inspect.getdoc(asynchronous)


def test_both_are_public() -> None:
    """`unimq` offers both faces, but for `Message`s, which nobody makes."""
    offered = set(unimq.__all__)
    for sync, asynchronous in TWINS:
        assert {sync.__name__, asynchronous.__name__} <= offered
