"""When a message is tried again, and when it is given up."""

import random
from dataclasses import dataclass
from typing import Final

from unimq.errors import InvalidArgument
from unimq.options import short

__all__ = ["Reject", "Retry", "RetryPolicy"]

_MOST_DOUBLINGS: Final = 60
"""No cap is so high that more would be needed; a power beyond what a float holds raises."""


class Retry(Exception):
    """Raised by a handler: not now. The message comes again after `delay` seconds (default: the policy's pause)."""

    def __init__(self, reason: str = "the handler asked for another try", *, delay: float | None = None) -> None:
        """`reason` is what the dead letter says, if this was the last try."""
        super().__init__(reason)
        self.delay = delay


class Reject(Exception):
    """Raised by a handler: never. The message goes to the dead letters at once, with this reason."""

    def __init__(self, reason: str = "rejected by its handler") -> None:
        """`reason` is what the dead letter says."""
        super().__init__(reason)


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often a message is tried, with which pauses between.

    The pause after the n-th failure is `pause * factor ** (n - 1)` seconds, `cap` at most, more or less by `jitter`.
    Pauses need a backend that can delay what it takes back (`nack_delay`): elsewhere the next try comes at once. What
    is called where `call` is native is tried again in hand, with its pauses: giving it back would end the call.
    """

    attempts: int | None = 5
    """Deliveries after which a message goes to the dead letters, crashed consumers counted where the backend counts
    them; `None`: it is tried for ever."""
    pause: float = 1.0
    """Seconds after the first failure."""
    factor: float = 2.0
    """How much longer each pause is than the one before."""
    cap: float = 300.0
    """Seconds: the longest pause."""
    jitter: float = 0.1
    """The part of a pause, 0 to 1, by which it is longer or shorter at random, so that many do not come at once."""
    final: tuple[type[Exception], ...] = ()
    """Exceptions after which no other try is made."""

    def __post_init__(self) -> None:
        ranges = {
            "attempts": self.attempts is None or self.attempts >= 1,
            "pause": self.pause >= 0,
            "factor": self.factor >= 1,
            "cap": self.cap >= 0,
            "jitter": 0 <= self.jitter <= 1,
        }
        for name, holds in ranges.items():
            if not holds:
                least = {"attempts": "1 or more, or None", "factor": "1 or more", "jitter": "0 to 1"}
                msg = f"{name}={short(getattr(self, name))}: must be {least.get(name, '0 or more')}"
                raise InvalidArgument(msg)

    def is_last(self, error: Exception, count: int | None) -> bool:
        """Whether no try follows the one that failed with `error`, the `count`-th."""
        if isinstance(error, (Reject, *self.final)):
            return True
        return self.attempts is not None and count is not None and count >= self.attempts

    def after(self, error: Exception, count: int | None) -> float:
        """Seconds until the next try."""
        if isinstance(error, Retry) and error.delay is not None:
            return error.delay
        pause = min(self.cap, self.pause * self.factor ** min((count or 1) - 1, _MOST_DOUBLINGS))
        return pause * random.uniform(1 - self.jitter, 1 + self.jitter)  # noqa: S311 - no secret
