"""What wakes a holder: a thread that waits at the store for what the fetches of clients wait for.

Without it a put of the holder's own process, or a delay that ends, would be found only by the looks that a holder takes
now and then, which go on all the same: they find what a thread that was told of a queue a moment too late overlooks.
"""

import contextlib
import threading
import time
from collections.abc import Callable, Iterable
from typing import Final

from unimq.driver import Session
from unimq.errors import UnimqError

__all__ = ["Watcher"]

_SLICE: Final = 1.0
"""Seconds of one wait: an interrupt that comes a moment too early finds nothing to end."""


class Watcher:
    """Rings when something may be ready on queues that it was told of, and forgets them then."""

    def __init__(self, session: Session, ring: Callable[[], None]) -> None:
        """`session` is its own from now on; `ring` is called in its thread."""
        self._session = session
        self._ring = ring
        self._told = threading.Condition()
        self._wanted: frozenset[str] = frozenset()
        self._watched: frozenset[str] = frozenset()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="unimq watcher", daemon=True)
        self._thread.start()

    def watch(self, queues: Iterable[str]) -> None:
        """Watch these too."""
        self._wanted = self._wanted.union(queues)
        if not self._watched.issuperset(self._wanted):
            with self._told:
                self._told.notify()
            self._session.interrupt()

    def rest(self) -> None:
        """Nobody waits for anything: watch no more, a moment from now."""
        self._wanted = frozenset()

    def close(self) -> None:
        """End the thread, and the session with it."""
        with self._told:
            self._closed = True
            self._told.notify()
        self._session.interrupt()
        self._thread.join(2 * _SLICE)

    def _run(self) -> None:
        # What is wrong with the store is told to whoever asks it; here it only ends the watching.
        with contextlib.suppress(UnimqError):
            while self._begun():
                if self._session.watch(sorted(self._watched), time.monotonic() + _SLICE):
                    self._wanted = self._watched = frozenset()
                    self._ring()
        self._session.close()

    def _begun(self) -> bool:
        """Wait until there is something to watch; false at the end."""
        with self._told:
            self._watched = frozenset()
            self._told.wait_for(lambda: self._wanted or self._closed)
            self._watched = self._wanted
            return not self._closed
