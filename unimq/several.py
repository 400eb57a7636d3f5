"""A get over several queues of one client."""

import math
import time
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from unimq.channel import Channel, Home
from unimq.errors import InvalidArgument
from unimq.message import Letter
from unimq.options import seconds
from unimq.receiver import hand_over_all
from unimq.source import Cancellation, Source

__all__ = ["Several"]


class Several:
    """Queues that are asked together, or one alone; no I/O until then."""

    def __init__(self, channels: Sequence[Channel[Any]]) -> None:
        self.channels = tuple(dict.fromkeys(channels))
        self._source = Source(self.channels)

    @classmethod
    def of(cls, client: Home, channels: Sequence[Channel[Any]]) -> "Several":
        """What an application gave; refuses what cannot be asked together."""
        if not channels or any(channel.client is not client for channel in channels):
            msg = f"queues={[channel.name for channel in channels]}: must be one or more queues of this client"
            raise InvalidArgument(msg)
        if len({channel.settings.lease for channel in channels}) > 1:
            msg = f"queues={[channel.name for channel in channels]}: must have the same lease to be waited for together"
            raise InvalidArgument(msg)
        return cls(channels)

    def get_many(self, limit: int, timeout: float | timedelta | None) -> list[Letter[Any]]:
        """Between 1 and `limit` messages, waiting for the first one only; `Empty` when there is none in time."""
        until = math.inf if timeout is None else time.monotonic() + seconds(timeout, "timeout")
        while True:
            ready = hand_over_all(self.fetch(limit, until))
            if ready:
                return ready

    def fetch(self, limit: int, until: float, cancellation: Cancellation | None = None) -> list[Letter[Any]]:
        """What is parked, or else arrives first; not handed over yet. `Empty` at `until`, a monotonic time."""
        self._source.check_open()
        parked = next((found for one in self.channels if (found := one.receiver.take_parked(limit))), None)
        return parked or self._source.fetch(limit, until, cancellation)
