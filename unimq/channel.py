"""What the sender, receiver and settler of one queue share; no behaviour of its own but the name rules and replies."""

import re
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from unimq import headers as reserved
from unimq.capabilities import Capabilities, Limits
from unimq.codec import Codec
from unimq.errors import Closed, InvalidArgument, InvalidName
from unimq.hooks import Hooks
from unimq.layers import transforms
from unimq.options import Settings
from unimq.pool import Pool
from unimq.receiver import Receiver
from unimq.scheduler import Scheduler
from unimq.sender import Sender
from unimq.settler import Settler

if TYPE_CHECKING:
    from unimq.client import Client
    from unimq.message import Message, Receipt
    from unimq.queue import Queue

__all__ = ["DEAD_SUFFIX", "Channel", "check_name"]

T = TypeVar("T")

DEAD_SUFFIX: Final = ".dead"


class Channel(Generic[T]):
    """One queue name on one client."""

    def __init__(self, client: "Client", name: str, settings: Settings, codec: Codec[T], *, is_dead: bool) -> None:
        """Check the name and wire the parts together. No I/O."""
        self.client = client
        self.name = name
        self.settings = settings
        self.codec = codec
        self.is_dead = is_dead
        """Whether this is a dead-letter queue, where a reject discards."""
        self.pool: Pool = client.pool
        self.hooks: Hooks = client.hooks
        self.scheduler: Scheduler = client.scheduler
        self.where = client.where
        """The backend's masked URL, for error texts."""
        self.dead_queue: Queue[T] | None = None
        self.closed = False
        self.adopt(client.capabilities)
        check_name(name, self.capabilities.limits, room="" if is_dead or settings.dead else DEAD_SUFFIX)
        self.sender: Sender[T] = Sender(self)
        self.receiver: Receiver[T] = Receiver(self)
        self.settler: Settler[T] = Settler(self)

    def adopt(self, capabilities: Capabilities) -> None:
        """Go by what the server proved."""
        self.capabilities = capabilities
        self.transforms = transforms(capabilities, self.settings.envelope)

    def deadline(self, timeout: float | None = None) -> float:
        """The `time.monotonic()` value until which an operation may last; `None` is `?timeout=`."""
        return time.monotonic() + (self.settings.timeout if timeout is None else timeout)

    def check_open(self) -> None:
        """Refuse the use of what was closed."""
        if self.closed or self.pool.closed:
            msg = f"queue {self.name!r} of {self.where} was closed: make a new one"
            raise Closed(msg)

    def reply(self, request: "Message[T]", body: Any, headers: Mapping[str, str] | None) -> "Receipt":
        """Put a reply where `request` wants it."""
        name = request.reply_to
        if name is None:
            msg = f"message {request.id!r} of queue {self.name!r} asks for no reply: its put had no reply_to="
            raise InvalidArgument(msg)
        queue = self.client.queue(name, codec=self.settings.codec)
        return queue.put(body, headers=headers, correlation_id=request.correlation_id or request.id)


def check_name(name: str, limits: Limits, *, room: str = "") -> None:
    """Raise `InvalidName` unless `name`, with `room` for a suffix, is one that the backend can take."""
    if not isinstance(name, str):
        msg = f"queue name {name!r}: must be a str, is {type(name).__name__}"
        raise InvalidName(msg)
    if not name:
        msg = "queue name '': must not be empty; name it in the URL (?queue=jobs) or in the call"
        raise InvalidName(msg)
    shown = name if len(name) <= 80 else f"{name[:80]}..."  # noqa: PLR2004 - a line of an error text
    if name.startswith(reserved.PREFIX) or set(name) <= {"."} or ".." in name.split("/"):
        msg = f"queue name {shown!r}: must not begin with {reserved.PREFIX!r} nor climb with '..'"
        raise InvalidName(msg)
    wrong = re.sub(f"(?:{limits.name_characters})+", "", name)
    if wrong:
        msg = f"queue name {shown!r}: {wrong[0]!r} is not allowed here, only {limits.name_characters}"
        raise InvalidName(msg)
    size = len(name.encode("utf-8", "replace"))
    if size + len(room) > limits.name:
        note = f" ({len(room)} of them kept for {room!r})" if room else ""
        msg = f"queue name {shown!r}: {size} bytes, at most {limits.name - len(room)} are possible here{note}"
        raise InvalidName(msg)
