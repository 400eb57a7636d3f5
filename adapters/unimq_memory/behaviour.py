"""How a broker behaves, derived from capabilities: its own, or those of the backend whose profile it takes."""

import math
from dataclasses import dataclass
from typing import Self

from unimq.capabilities import Capabilities
from unimq.driver import Settling

__all__ = ["Behaviour"]

_PRIORITIES = 10


@dataclass(frozen=True, slots=True)
class Behaviour:
    """The rules that a broker keeps for one session."""

    settling: Settling
    destructive: bool
    """Whether a delivery removes the message."""
    lease_by: str
    counts: str | None
    to_front: bool
    """Whether a nacked message keeps its place."""
    levels: int
    delay_step: float
    headers: bool
    id: bool
    enqueued_at: bool
    priority: bool

    @classmethod
    def of(cls, capabilities: Capabilities) -> Self:
        """The rules that `capabilities` state."""
        destructive = capabilities.guarantee == "at-most-once"
        bound: Settling = "same-session" if capabilities.lease_by == "put" else "duplex"
        return cls(
            settling="any-session" if destructive or capabilities.lease_by == "get" else bound,
            destructive=destructive,
            lease_by=capabilities.lease_by,
            counts=capabilities.counts if capabilities.delivery_count.level == "native" else None,
            to_front=capabilities.nack_place == "front",
            levels=capabilities.priority_levels if capabilities.priority.level == "native" else 1,
            delay_step=capabilities.delay_step,
            headers=capabilities.headers.level == "native",
            id="id" in capabilities.keeps,
            enqueued_at="enqueued_at" in capabilities.keeps,
            priority="priority" in capabilities.keeps,
        )

    def rank(self, priority: int) -> int:
        """The level of a priority, 0 first."""
        return (_PRIORITIES - 1 - priority) * self.levels // _PRIORITIES

    def wait(self, delay: float) -> float:
        """The delay rounded up to what the backend can tell apart."""
        return math.ceil(delay / self.delay_step) * self.delay_step if self.delay_step else delay
