"""A get over several queues of one client."""

import math
import time
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from unimq.endpoint import Endpoint, Home
from unimq.errors import InvalidArgument
from unimq.message import BaseMessage
from unimq.options import seconds
from unimq.receiver import deliver_all
from unimq.source import Cancellation, Source

__all__ = ["Several"]


class Several:
    """Queues that are asked together, or one alone; no I/O until then."""

    def __init__(self, endpoints: Sequence[Endpoint[Any]]) -> None:
        self.endpoints = tuple(dict.fromkeys(endpoints))
        self._source = Source(self.endpoints)

    @classmethod
    def of(cls, client: Home, endpoints: Sequence[Endpoint[Any]]) -> "Several":
        """What an application gave; refuses what cannot be asked together."""
        names = [endpoint.name for endpoint in endpoints]
        if not endpoints or any(endpoint.client is not client for endpoint in endpoints):
            msg = f"queues={names}: must be one or more queues of this client"
            raise InvalidArgument(msg)
        if len({endpoint.settings.lease for endpoint in endpoints}) > 1:
            msg = f"queues={names}: must have the same lease to be waited for together"
            raise InvalidArgument(msg)
        return cls(endpoints)

    def get_many(self, limit: int, timeout: float | timedelta | None) -> list[BaseMessage[Any]]:
        """Between 1 and `limit` messages, waiting for the first one only; `Empty` when there is none in time."""
        until = math.inf if timeout is None else time.monotonic() + seconds(timeout, "timeout")
        while True:
            ready = deliver_all(self.fetch(limit, until))
            if ready:
                return ready

    def fetch(self, limit: int, until: float, cancellation: Cancellation | None = None) -> list[BaseMessage[Any]]:
        """What is parked, or else arrives first; not handed over yet. `Empty` at `until`, a monotonic time."""
        self._source.check_open()
        parked = next((found for one in self.endpoints if (found := one.receiver.take_parked(limit))), None)
        return parked or self._source.fetch(limit, until, cancellation)
