"""What an application has put and settled, for its tests to compare."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, NamedTuple

from unimq.errors import InvalidMessage
from unimq.hooks import Hooks, Operation
from unimq.message import BaseMessage

__all__ = ["Put", "Seen", "Settled"]


class Put(NamedTuple):
    """A message that was put; equal to a plain tuple of the two."""

    queue: str
    body: Any
    """As it was given, before it was encoded."""


class Settled(NamedTuple):
    """A message that was settled; equal to a plain tuple of the three."""

    queue: str
    body: Any
    """Its bytes, where they could not be decoded."""
    outcome: str
    """`ack`, `nack`, `reject`, `discard` or `release`: what was called."""


class Seen:
    """What was put and settled through the queues and clients that have its `hooks`, in order; failures are left out.

    What comes in batches is there one by one. Replies are puts on the queue that wants them.
    """

    def __init__(self) -> None:
        self.put: list[Put] = []
        self.settled: list[Settled] = []
        self.hooks = Hooks(around=self._around)
        """For further clients: `unimq.Queue(url, hooks=unimq_seen.hooks)`."""

    def clear(self) -> None:
        """Forget what was until now."""
        self.put.clear()
        self.settled.clear()

    @contextmanager
    def _around(self, operation: Operation) -> Generator[None]:
        yield
        if operation.kind == "send":
            self.put += [Put(operation.queue or "", body) for body in operation.bodies]
        elif operation.kind == "settle":
            self.settled += [Settled(one.queue, _body(one), operation.name) for one in operation.messages]


def _body(message: BaseMessage[Any]) -> Any:
    try:
        return message.body
    except InvalidMessage:
        return message.raw
