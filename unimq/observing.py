"""What the hook `around` is told: each method by which an application sends, receives or settles is an operation.

Where that hook is given, the classes of the faces are replaced by observed ones; where it is not, nothing of this is on
the way.
"""

import functools
import inspect
from collections.abc import AsyncGenerator, Callable, Generator, Iterable, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Final, TypeVar, cast

from unimq.endpoint import Endpoint
from unimq.errors import BatchError, TooLarge
from unimq.hooks import Operation
from unimq.masking import shown_name
from unimq.message import BaseMessage
from unimq.pool import Pool
from unimq.receipts import Receipt
from unimq.replies import is_private
from unimq.sender import WithContext, bodies_of
from unimq.url import FILE_TRANSPORTS

__all__ = ["around", "observed", "sending"]

C = TypeVar("C")
H = TypeVar("H", bound=Callable[..., Any])
_Begin = Callable[[str, Any, dict[str, Any]], Operation]
_Begun = Callable[..., tuple[inspect.BoundArguments, Operation]]

_SENDS: Final[Mapping[str, str]] = {
    "put": "send",
    "put_many": "send",
    "call": "call",
    "call_many": "call",
    "reply": "reply",
}
_RECEIVES: Final = ("get", "get_many", "consume")
_SETTLES: Final = ("ack", "nack", "reject", "discard", "release")


def observed(cls: type[C]) -> type[C]:
    """`cls`, whose methods are inside the hook `around`. An object gets its class only where there is that hook.

    Even its own class, once it was assigned, would make access to its attributes slower.
    """
    found: Any = cls
    return cast("type[C]", _observed(found))


@functools.cache
def _observed(cls: Any) -> Any:
    methods = {
        name: _consuming(original) if name == "consume" else _method(name, original, begin)
        for names, begin in ((_SENDS, _send), (_RECEIVES, _receive), (_SETTLES, _settle))
        for name in names
        if (original := getattr(cls, name, None)) is not None
    }
    about = {"__slots__": (), "__module__": cls.__module__, "__qualname__": cls.__qualname__, "__doc__": cls.__doc__}
    return type(cls.__name__, (cls,), {**about, **methods})


@contextmanager
def sending(
    queue: Any, body: Any, headers: Mapping[str, str] | None
) -> Generator[tuple[Any, Callable[[Receipt], Receipt]]]:
    """A put of `body` on `queue` that an adapter makes in a way of its own, inside the hook `around` if there is one.

    Yields the headers to put with, and what is to be told the receipt.
    """
    if queue._endpoint.hooks.around is None:
        yield headers, lambda receipt: receipt
        return
    operation = _send("put", queue, {"body": body})
    with _hook(queue, operation):
        along = WithContext(headers, operation.headers) if operation.headers else headers
        yield along, functools.partial(_ended, operation)


def around(endpoint: Endpoint[Any], handler: H) -> H:
    """`handler`, of a worker, whose run on a message is inside the hook `around` if there is one."""
    hook = endpoint.hooks.around
    if hook is None:
        return handler

    def operation(message: BaseMessage[Any]) -> Operation:
        return _about(message, kind="process", name="process", messages=[message])

    def process(message: BaseMessage[Any]) -> object:
        with hook(operation(message)):
            return handler(message)

    async def process_awaited(message: BaseMessage[Any]) -> object:
        with hook(operation(message)):
            return await handler(message)

    return cast("H", process if endpoint.face is None else process_awaited)


# The operations


def _send(name: str, sender: Any, arguments: dict[str, Any]) -> Operation:
    operation = _about(sender, kind="send", name=_SENDS[name])
    if isinstance(sender, BaseMessage):
        operation.messages = [sender]
        _name(operation, sender.reply_to)
    if "bodies" in arguments:
        arguments["bodies"] = bodies = list(bodies_of(arguments["bodies"]))
        operation.batch, operation.count, operation.bodies = True, len(bodies), bodies
    else:
        operation.bodies = [arguments["body"]]
    return operation


def _receive(name: str, queue: Any, _: object) -> Operation:
    return _about(queue, kind="receive", name="receive", batch=name == "get_many", count=0)


def _settle(name: str, settled: Any, arguments: dict[str, Any]) -> Operation:
    if "messages" not in arguments:
        return _about(settled, kind="settle", name=name, messages=[settled])
    given: Any = arguments["messages"]
    arguments["messages"] = messages = _listed(given)
    known: list[Any] = [message for message in messages if isinstance(message, BaseMessage)]
    return _about(settled, kind="settle", name=name, messages=known, batch=True, count=len(messages))


def _listed(given: Any) -> list[Any]:
    """All that was given as messages; what is no collection of them will be refused."""
    return [*given] if isinstance(given, Iterable) else [given]


def _about(asked: Any, **fields: Any) -> Operation:
    """The operation on a queue, a message, or a client, which is that on several queues."""
    endpoint: Endpoint[Any] | None = getattr(asked, "_endpoint", None)
    pool: Pool = getattr(asked, "sync", asked).pool if endpoint is None else endpoint.pool
    operation = Operation(system=pool.driver.name, server=_server(pool), queue=None, **fields)
    _name(operation, None if endpoint is None else endpoint.name)
    return operation


def _name(operation: Operation, queue: str | None) -> None:
    operation.queue = None if queue is None else shown_name(queue)
    operation.temporary = queue is not None and is_private(queue)


def _server(pool: Pool) -> tuple[str, int | None] | None:
    url = pool.url
    if url.transport in FILE_TRANSPORTS and url.path:
        return url.path, None
    if len(url.hosts) != 1 or pool.driver.port is None:  # several, or what stands there is no server
        return None
    host = url.hosts[0]
    return host.name, host.port or pool.driver.port


def _ended(operation: Operation, result: Any) -> Any:
    """Complete what is known now."""
    if operation.kind == "receive" and result is not None:
        messages: list[Any] = _listed(result)
        operation.messages, operation.count = messages, len(messages)
        names = {message.queue for message in messages}
        if operation.queue is None and len(names) == 1:
            _name(operation, names.pop())
    elif isinstance(result, Receipt):
        operation.id = result.id
    return result


# The methods


def _method(name: str, original: Any, begin: _Begin) -> Any:
    """`original`, inside the hook; what it was called with is first shown to `begin`, which may change it."""
    signature = inspect.signature(original)

    def begun(*arguments: Any, **keywords: Any) -> tuple[inspect.BoundArguments, Operation]:
        bound = signature.bind(*arguments, **keywords)
        return bound, begin(name, bound.args[0], bound.arguments)

    return (_awaited if inspect.iscoroutinefunction(original) else _called)(original, begun)


def _called(original: Any, begun: _Begun) -> Any:
    @functools.wraps(original)
    def method(*arguments: Any, **keywords: Any) -> Any:
        bound, operation = begun(*arguments, **keywords)
        with _entered(operation, bound):
            try:
                result = original(*bound.args, **bound.kwargs)
            except (BatchError, TooLarge) as error:
                if not _is_lighter(operation, bound, error):
                    raise
                result = original(*bound.args, **bound.kwargs)
            return _ended(operation, result)

    return method


def _awaited(original: Any, begun: _Begun) -> Any:
    @functools.wraps(original)
    async def method(*arguments: Any, **keywords: Any) -> Any:
        bound, operation = begun(*arguments, **keywords)
        with _entered(operation, bound):
            try:
                result = await original(*bound.args, **bound.kwargs)
            except (BatchError, TooLarge) as error:
                if not _is_lighter(operation, bound, error):
                    raise
                result = await original(*bound.args, **bound.kwargs)
            return _ended(operation, result)

    return method


@contextmanager
def _entered(operation: Operation, bound: inspect.BoundArguments) -> Generator[None]:
    """Inside the hook, with what it wants to travel along."""
    with _hook(bound.args[0], operation):
        if operation.headers and operation.kind == "send":
            bound.arguments["headers"] = WithContext(bound.arguments.get("headers"), operation.headers)
        yield


def _is_lighter(operation: Operation, bound: inspect.BoundArguments, error: BatchError | TooLarge) -> bool:
    """Leave out what travels along, because the server, now that it was met, takes less than was known before.

    Only where nothing was stored, and no call may be under way.
    """
    headers = bound.arguments.get("headers")
    stored = isinstance(error, BatchError) and not all(isinstance(one, TooLarge) for one in error.outcomes)
    if stored or operation.name == "call" or not isinstance(headers, WithContext):
        return False
    bound.arguments["headers"] = headers.headers
    return True


def _hook(self: Any, operation: Operation) -> AbstractContextManager[object]:
    hooks = self._endpoint.hooks if hasattr(self, "_endpoint") else getattr(self, "sync", self).hooks
    return cast("AbstractContextManager[object]", hooks.around(operation))


def _consuming(original: Any) -> Any:
    """An iteration: each message that it hands over is received by itself."""

    def each(queue: Any, messages: Any) -> Generator[Any]:
        try:
            while True:
                operation = _receive("consume", queue, None)
                with _hook(queue, operation):
                    message = _ended(operation, next(messages, None))
                if message is None:
                    return
                yield message
        finally:
            messages.close()

    async def each_awaited(queue: Any, messages: Any) -> AsyncGenerator[Any]:
        try:
            while True:
                operation = _receive("consume", queue, None)
                with _hook(queue, operation):
                    message = _ended(operation, await anext(messages, None))
                if message is None:
                    return
                yield message
        finally:
            await messages.aclose()

    wrap = each_awaited if inspect.isasyncgenfunction(original) else each

    @functools.wraps(original)
    def consume(queue: Any, **keywords: Any) -> Any:
        return wrap(queue, original(queue, **keywords))

    return consume
