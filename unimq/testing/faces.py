"""One source for both faces: cases await an `AsyncQueue`; for the synchronous run they await a `Queue` in its shape.

`shaped(queue)` has the names of the async twin. A call runs the synchronous method, in the thread of the case, at the
moment it is awaited, and never suspends: so the synchronous run really blocks in `Queue.get`, really enters
`with message:` and really iterates.
"""

import inspect
from collections.abc import AsyncIterator, Coroutine, Generator, Iterable
from typing import Any, Final, Self, TypeVar, cast

from unimq.aio import AsyncClient, AsyncDeadLetterQueue, AsyncMessage, AsyncQueue
from unimq.message import Message
from unimq.queue import Client, DeadLetterQueue, Queue

__all__ = ["drive", "plain", "shaped"]

R = TypeVar("R")

_TWINS: Final[dict[type, type]] = {
    Queue: AsyncQueue,
    DeadLetterQueue: AsyncDeadLetterQueue,
    Message: AsyncMessage,
    Client: AsyncClient,
}


class Shaped:
    """A synchronous object in the shape of its async twin."""

    def __init__(self, target: Any) -> None:
        self._target = target

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._target, name)
        twin = getattr(_TWINS[type(self._target)], name, None)
        if inspect.iscoroutinefunction(twin):
            return _awaited(value)
        if inspect.isfunction(twin):  # asynchronous generators are among them
            return _called(value)
        return shaped(value)

    def __aiter__(self) -> AsyncIterator[Any]:
        return _iterated(self._target.__iter__())

    async def __aenter__(self) -> Self:
        self._target.__enter__()
        return self

    async def __aexit__(self, *error: object) -> None:
        self._target.__exit__(*error)

    def __repr__(self) -> str:
        return repr(self._target)

    def __str__(self) -> str:
        return str(self._target)


def shaped(value: Any) -> Any:
    """`value`, and the items of a list, in the shape of their async twins where they have any."""
    if type(value) in _TWINS:
        return Shaped(value)
    if isinstance(value, Generator):
        return _iterated(cast("Generator[Any, None, None]", value))
    if type(value) is list:
        return list(map(shaped, cast("Iterable[Any]", value)))
    return value


def plain(value: Any) -> Any:
    """The object behind a shape, also inside a list or tuple."""
    if isinstance(value, Shaped):
        return value._target
    if type(value) in (list, tuple):
        return type(value)(plain(item) for item in value)
    return value


def drive(case: Coroutine[Any, Any, R]) -> R:
    """Run a coroutine that never suspends, because all that it awaits is shaped."""
    try:
        case.send(None)
    except StopIteration as done:
        return cast("R", done.value)
    case.close()
    msg = f"{case} awaited something that does not belong to the lab"
    raise RuntimeError(msg)


def _awaited(method: Any) -> Any:
    async def call(*args: Any, **kwargs: Any) -> Any:
        return shaped(method(*plain(args), **kwargs))

    return call


def _called(method: Any) -> Any:
    def call(*args: Any, **kwargs: Any) -> Any:
        return shaped(method(*plain(args), **kwargs))

    return call


async def _iterated(messages: Generator[Any, None, None]) -> AsyncIterator[Any]:
    try:
        for message in messages:
            yield shaped(message)
    finally:
        messages.close()
