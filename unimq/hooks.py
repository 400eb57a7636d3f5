"""What an application can be told while it uses a queue: connections, sends, receives, settlements. Nothing by default.

Hooks are called in the thread that does the work, must be quick, and must not raise: an exception of a hook is the
application's own and reaches its caller.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from unimq.errors import UnimqError
    from unimq.message import Letter

__all__ = ["ConnectionEvent", "Hooks", "Outcome"]

Outcome = Literal["ack", "nack", "release", "reject", "discard", "lost"]
"""`lost`: the block that worked on it succeeded, but its lease had ended."""


@dataclass(frozen=True, slots=True)
class ConnectionEvent:
    """A change of one connection."""

    host: str
    """The masked URL of the one host."""
    state: Literal["connected", "lost", "refused"]
    """Opened; broken in use; could not be opened."""
    error: "UnimqError | None" = None


@dataclass(frozen=True, slots=True)
class Hooks:
    """Functions to call; each is optional and costs nothing when it is not given."""

    connection: Callable[[ConnectionEvent], None] | None = None
    """Called after a connection was made, refused or lost."""
    send: Callable[[str, dict[str, str]], None] | None = None
    """Called before each put with the queue's name and the headers, which it may add to (a trace context, say)."""
    receive: "Callable[[Letter[Any]], None] | None" = None
    """Called with each message at the moment it is handed to the application."""
    settle: "Callable[[Letter[Any], Outcome], None] | None" = None
    """Called after a message was settled, with what became of it."""
