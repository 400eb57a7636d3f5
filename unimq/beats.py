"""Signs of life: what keeps a connection open while nobody uses it, and lets a server notice that a lease has ended."""

import math
import time
from collections.abc import Callable, Sequence
from typing import Final

from unimq.driver import Delivery
from unimq.hosts import Link

__all__ = ["Beats"]

_LAPSE: Final = 0.02
"""Seconds after the end of a lease at which the session that held it gives a sign."""
_BEAT_MOST: Final = 1.0
"""Seconds that a sign of life may take: other leases wait behind it."""


class Beats:
    """Lets sessions give signs, where their driver wants it."""

    def __init__(self, use: Callable[[Link, float, Callable[[Link], None]], None]) -> None:
        """`use` runs a call with a link that is free at a time, and raises where it is not."""
        self._use = use

    def begin(self, link: Link) -> None:
        """Keep `link` alive from now on."""
        if link.session.beat_every is not None:
            self._at(link, time.monotonic() + link.session.beat_every)

    def after(self, link: Link, deliveries: Sequence[Delivery]) -> None:
        """Let `link` give a sign when the first of its leases has ended, too: some servers notice only then."""
        ends = min((d.lease_until for d in deliveries if d.lease_until is not None), default=math.inf)
        if link.session.beat_every is not None and ends + _LAPSE < link.beat_at:
            self._at(link, ends + _LAPSE)

    def _at(self, link: Link, when: float) -> None:
        link.beat_at = when
        link.host.scheduler.at(when, lambda: self._beat(link, when))

    def _beat(self, link: Link, due: float) -> None:
        every = link.session.beat_every
        if not link.alive or link.beat_at != due or every is None:
            return
        try:
            self._use(link, 0.0, _give_sign)  # where it is in use, that is a sign as well
        finally:
            if link.alive:
                link.beat_at = math.inf
                now = time.monotonic()
                self.after(link, [d for d in link.held.values() if d.lease_until is not None and d.lease_until > now])
                if now + every < link.beat_at:
                    self._at(link, now + every)


def _give_sign(link: Link) -> None:
    link.session.beat(time.monotonic() + min(link.session.beat_every or _BEAT_MOST, _BEAT_MOST))
    link.drop_ended()
