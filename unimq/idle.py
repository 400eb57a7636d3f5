"""Sessions that a burst has left: those that nobody has used for a while are closed, but for one to each host."""

import time
import weakref
from collections.abc import Callable
from typing import Final

from unimq.hosts import Host, PooledSession

__all__ = ["Sweeper"]

_LOOKS: Final = 2
"""How often in `?max_idle=` is looked; a session is closed when it was not used between so many looks and one more."""


class Sweeper:
    """Looks from time to time, while a host has more than one session."""

    def __init__(self, max_idle: float, discard: Callable[[PooledSession], None]) -> None:
        """`discard` closes a session; it is a method of the one that owns this."""
        self._pause = max_idle / _LOOKS
        # A client that nobody closed is not kept by what it has scheduled.
        self._discard = weakref.WeakMethod(discard)
        self._sees: set[Host] = set()

    def watch(self, host: Host) -> None:
        """Look after `host`, which has another session now."""
        if len(host.sessions) > 1 and host not in self._sees:
            self._sees.add(host)
            self._later(host)

    def forget(self) -> None:
        """Nothing is scheduled: in a child process, say."""
        self._sees.clear()

    def _later(self, host: Host) -> None:
        host.scheduler.at(time.monotonic() + self._pause, lambda: self._look(host))

    def _look(self, host: Host) -> None:
        self._sees.discard(host)
        discard = self._discard()
        if discard is None:
            return
        for pooled in host.sessions:
            pooled.idle_looks += 1
            if pooled.idle_looks > _LOOKS and len(host.sessions) > 1:
                self._close(host, pooled, discard)
        self.watch(host)

    def _close(self, host: Host, pooled: PooledSession, discard: Callable[[PooledSession], None]) -> None:
        me = object()
        try:
            if pooled.user.take(me) and pooled.receiver.take(me):
                pooled.drop_ended()
                if not pooled.is_needed:
                    discard(pooled)
        finally:
            host.give_back(pooled, me)
