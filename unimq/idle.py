"""Sessions that a burst has left: those that nobody has used for a while are closed, but for one to each host."""

import time
import weakref
from collections.abc import Callable
from typing import Final

from unimq.hosts import Host, Link

__all__ = ["Sweeper"]

_LOOKS: Final = 2
"""How often in `?max_idle=` is looked; a session is closed when it was not used between so many looks and one more."""


class Sweeper:
    """Looks from time to time, while a host has more than one session."""

    def __init__(self, max_idle: float, discard: Callable[[Link], None]) -> None:
        """`discard` closes a session; it is a method of the one that owns this."""
        self._pause = max_idle / _LOOKS
        # A client that nobody closed is not kept by what it has scheduled.
        self._discard = weakref.WeakMethod(discard)
        self._sees: set[Host] = set()

    def watch(self, host: Host) -> None:
        """Look after `host`, which has another session now."""
        if len(host.links) > 1 and host not in self._sees:
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
        for link in host.links:
            link.idle_looks += 1
            if link.idle_looks > _LOOKS and len(host.links) > 1:
                self._close(host, link, discard)
        self.watch(host)

    def _close(self, host: Host, link: Link, discard: Callable[[Link], None]) -> None:
        me = object()
        try:
            if link.user.take(me) and link.receiver.take(me):
                link.drop_ended()
                if not link.is_needed:
                    discard(link)
        finally:
            host.give_back(link, me)
