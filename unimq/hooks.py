"""What an application can be told while it uses a queue: connections, sends, receives, settlements. Nothing by default.

Hooks are called in the thread that does the work, must be quick, and must not raise: an exception of a hook is the
application's own and reaches its caller.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Literal

from unimq.errors import UnimqError
from unimq.message import BaseMessage
from unimq.owner import Outcome

__all__ = ["ConnectionEvent", "Hooks", "Operation", "Outcome"]


@dataclass(frozen=True, slots=True)
class ConnectionEvent:
    """A change of one connection."""

    host: str
    """The masked URL of the one host."""
    state: Literal["connected", "lost", "refused"]
    """Opened; broken in use; could not be opened."""
    error: UnimqError | None = None


@dataclass(slots=True, kw_only=True)
class Operation:
    """What an application does with a queue, from its beginning to its end; the hook `around` runs around it."""

    kind: Literal["send", "receive", "process", "settle"]
    """`process` is a handler at work on a message, in a worker."""
    name: Literal["send", "call", "reply", "receive", "process", "ack", "nack", "reject", "discard", "release"]
    """What it is in particular. A `call` lasts until its reply is there."""
    system: str
    """The backend: the name of its driver, such as `beanstalkd`."""
    server: tuple[str, int | None] | None
    """The host and port of the one server that the URL names, or the path of its socket; else `None`."""
    queue: str | None
    """The queue's name. `None` where several are asked, until a message tells, and where a reply needs no queue."""
    temporary: bool = False
    """Whether it is a reply queue with a random name, which ends with its client."""
    batch: bool = False
    """Whether it is for many messages at once."""
    count: int = 1
    """How many messages it is about; of a receive, how many came, at the end."""
    bodies: Sequence[Any] = ()
    """Of a send: what is put, as it was given."""
    messages: Sequence[BaseMessage[Any]] = ()
    """Those that are worked on, settled, or replied to; of a receive, those that came, at the end."""
    headers: dict[str, str] = field(default_factory=dict[str, str])
    """What the hook adds here, before a send begins, travels with each message that has room for it. What the
    application itself put under the same name stays, and where a message cannot carry it, it goes without."""
    id: str | None = None
    """Of one message that was sent: its id, at the end."""


@dataclass(frozen=True, slots=True)
class Hooks:
    """Functions to call; each is optional and costs nothing when it is not given."""

    connection: Callable[[ConnectionEvent], None] | None = None
    """Called after a connection was made, refused or lost."""
    send: Callable[[str, dict[str, str]], None] | None = None
    """Called before each put with the queue's name and the headers, which it may add to (a trace context, say)."""
    receive: Callable[[BaseMessage[Any]], None] | None = None
    """Called with each message at the moment it is handed to the application."""
    settle: Callable[[BaseMessage[Any], Outcome], None] | None = None
    """Called after a message was settled, with what became of it."""
    around: Callable[[Operation], AbstractContextManager[object]] | None = None
    """Called with each operation when it begins; what it returns is a context that the operation runs in, and that
    hears of its error. On the asyncio face it is entered in the task that asked. `unimq.OpenTelemetry` is one."""
