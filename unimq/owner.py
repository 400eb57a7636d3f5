"""What a message knows of the queue that it came from: who decodes it, settles it, takes it back and replies to it.

A message stands below everything that works with it. So it names none of that, and says here what it needs; the
messages that are passed are therefore of any type.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any, Literal, NoReturn, Protocol, TypeVar

from unimq.capabilities import Capabilities
from unimq.codec import Codec
from unimq.driver import Session
from unimq.errors import UnimqError
from unimq.keeper import Lessor
from unimq.receipts import Receipt

__all__ = ["Outcome", "Owner", "Settling", "Taking"]

R = TypeVar("R")

Outcome = Literal["ack", "nack", "release", "reject", "discard", "lost"]
"""`lost`: the block that worked on it succeeded, but its lease had ended."""


class Settling(Lessor, Protocol):
    """Settles the messages of a queue. What each means is said at `Message`."""

    def ack(self, message: Any, outcome: Outcome = "ack") -> None:
        """Remove it for good: done, or discarded."""
        ...

    def nack(self, message: Any, delay: float | timedelta) -> None:
        """Give it back to be delivered again, or to the dead letters when it was delivered often enough."""
        ...

    def nack_all(self, messages: Sequence[Any], wait: float) -> list[UnimqError | None]:
        """Do that with many; the outcome of each."""
        ...

    def release(self, message: Any) -> None:
        """Give it back as if nobody had got it."""
        ...

    def reject(self, message: Any, reason: str, details: str = "") -> None:
        """Move it to the dead-letter queue; inside one, discard it."""
        ...

    def extend(self, message: Any, duration: float | timedelta | None) -> float:
        """Keep the lease for at least that long from now; returns the seconds granted."""
        ...

    def keep(self, message: Any) -> None:
        """Extend it in time, again and again."""
        ...

    def give_back(self, messages: Iterable[Any]) -> None:
        """Return unhandled messages in their order."""
        ...

    def tell(self, message: Any, outcome: Outcome) -> None:
        """Let the hook `settle` know."""
        ...

    def with_session(self, message: Any, call: Callable[[Session, Any, float], R]) -> R:
        """Run `call`, which does not settle it, with a session that could."""
        ...


class Taking(Protocol):
    """Decides what the application gets of what arrived."""

    def passes(self, message: Any) -> bool:
        """Whether the application may have it now; if not, it is dealt with."""
        ...

    def passes_locally(self, message: Any) -> bool:
        """Whether `passes`, called at once, asks no server."""
        ...

    def park(self, messages: Sequence[Any]) -> None:
        """Keep what arrived for nobody for the next get of this queue."""
        ...


class Owner(Protocol):
    """The queue that a message came from."""

    pool: Any
    """The same for all queues of one client."""
    face: Any
    """What messages of asyncio settle through."""

    @property
    def codec(self) -> Codec[Any]:
        """What decodes its bodies."""
        ...

    @property
    def capabilities(self) -> Capabilities:
        """What the backend can do."""
        ...

    @property
    def settler(self) -> Settling:
        """What settles its messages."""
        ...

    @property
    def receiver(self) -> Taking:
        """What takes its messages back."""
        ...

    def refuse(self, name: str, why: str = "") -> NoReturn:
        """Raise the error for an absent capability."""
        ...

    def reply(self, message: Any, body: Any, headers: Mapping[str, str] | None) -> Receipt:
        """Send a reply to where one is wanted."""
        ...

    def reply_error(self, message: Any, text: str) -> None:
        """Tell whoever wants a reply that there will be none, and why."""
        ...

    def report(self, message: Any, done: int, total: int) -> None:
        """Tell whoever waits for the reply how far the work is."""
        ...
