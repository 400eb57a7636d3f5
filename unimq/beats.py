"""Signs of life: what keeps a connection open while nobody uses it, and lets a server notice that a lease has ended."""

import math
import time
from collections.abc import Callable, Sequence
from typing import Final

from unimq.driver import Delivery
from unimq.hosts import PooledSession

__all__ = ["Beats"]

_LAPSE: Final = 0.02
"""Seconds after the end of a lease at which the session that held it gives a sign."""
_BEAT_MOST: Final = 1.0
"""Seconds that a sign of life may take: other leases wait behind it."""


class Beats:
    """Lets sessions give signs, where their driver wants it."""

    def __init__(self, use: Callable[[PooledSession, float, Callable[[PooledSession], None]], None]) -> None:
        """`use` runs a call with a session that is free at a time, and raises where it is not."""
        self._use = use

    def begin(self, pooled: PooledSession) -> None:
        """Keep `pooled` alive from now on."""
        if pooled.session.beat_every is not None:
            self._at(pooled, time.monotonic() + pooled.session.beat_every)

    def after(self, pooled: PooledSession, deliveries: Sequence[Delivery]) -> None:
        """Let `pooled` give a sign when the first of its leases has ended, too: some servers notice only then."""
        ends = min((d.lease_until for d in deliveries if d.lease_until is not None), default=math.inf)
        if pooled.session.beat_every is not None and ends + _LAPSE < pooled.beat_at:
            self._at(pooled, ends + _LAPSE)

    def _at(self, pooled: PooledSession, when: float) -> None:
        pooled.beat_at = when
        pooled.host.scheduler.at(when, lambda: self._beat(pooled, when))

    def _beat(self, pooled: PooledSession, due: float) -> None:
        every = pooled.session.beat_every
        if not pooled.alive or pooled.beat_at != due or every is None:
            return
        try:
            self._use(pooled, 0.0, _give_sign)  # where it is in use, that is a sign as well
        finally:
            if pooled.alive:
                pooled.beat_at = math.inf
                now = time.monotonic()
                self.after(
                    pooled, [d for d in pooled.held.values() if d.lease_until is not None and d.lease_until > now]
                )
                if now + every < pooled.beat_at:
                    self._at(pooled, now + every)


def _give_sign(pooled: PooledSession) -> None:
    pooled.session.beat(time.monotonic() + min(pooled.session.beat_every or _BEAT_MOST, _BEAT_MOST))
    pooled.drop_ended()
