"""How a session behaves, derived from capabilities: its own, or those of the backend whose profile it takes."""

import math
from dataclasses import dataclass
from typing import Literal, Self

from unimq.capabilities import Capabilities
from unimq.driver import Settling

__all__ = ["Behaviour"]

_PRIORITIES = 10
_SETTLING: dict[str, Settling] = {"get": "any-session", "put": "same-session", "connection": "duplex"}


@dataclass(frozen=True, slots=True)
class Behaviour:
    """The rules that a broker keeps for one session."""

    settling: Settling
    lease_by: Literal["get", "put", "connection"]
    destructive: bool
    """Whether a delivery removes the message: what is in hand is lost with the session."""
    remembers: bool
    """Whether a delivery can still be given back or extended."""
    counts_fetches: bool
    counts_nacks: bool
    counts_losses: bool
    """Whether a delivery that its holder did not end counts like a nack."""
    shows_count: bool
    to_front: bool
    """Whether a nacked message keeps its place."""
    ranks: tuple[int, ...]
    """The level of each priority from 0 to 9; level 0 is first."""
    delay: bool
    delay_step: float
    ttl: bool
    headers: bool
    id: bool
    enqueued_at: bool
    priority: bool

    @classmethod
    def of(cls, capabilities: Capabilities, settling: Settling | None = None) -> Self:
        """The rules that `capabilities` state; `settling` where the backend says more than they do."""
        destructive = capabilities.guarantee == "at-most-once"
        counts = capabilities.counts if capabilities.delivery_count.level == "native" else None
        levels = capabilities.priority_levels if capabilities.priority.level == "native" else 1
        usual: Settling = "any-session" if destructive else _SETTLING[capabilities.lease_by]
        return cls(
            settling=settling or usual,
            lease_by="connection" if destructive else capabilities.lease_by,
            destructive=destructive,
            remembers=not destructive or "native" in (capabilities.nack.level, capabilities.extend.level),
            counts_fetches=counts == "fetches",
            counts_nacks=counts == "nacks",
            counts_losses=counts == "nacks" and capabilities.crash_counted,
            shows_count=counts is not None,
            to_front=capabilities.nack_place == "front",
            ranks=tuple((_PRIORITIES - 1 - priority) * levels // _PRIORITIES for priority in range(_PRIORITIES)),
            delay=capabilities.delay.level == "native",
            delay_step=capabilities.delay_step,
            ttl=capabilities.ttl.level == "native",
            headers=capabilities.headers.level == "native",
            id="id" in capabilities.keeps,
            enqueued_at="enqueued_at" in capabilities.keeps,
            priority="priority" in capabilities.keeps,
        )

    def wait(self, delay: float) -> float:
        """The delay rounded up to what the backend can tell apart."""
        return math.ceil(delay / self.delay_step) * self.delay_step if self.delay_step else delay
